//! The commands, each of which combines several stages.

pub(crate) mod address;
pub(crate) mod build;
pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod forward;
pub(crate) mod images;
pub(crate) mod init;
pub(crate) mod inputs;
pub(crate) mod live_pods;
pub(crate) mod load;
pub(crate) mod logs;
mod order;
pub(crate) mod prune;
pub(crate) mod render;
mod several;
pub(crate) mod status;
pub(crate) mod up;
pub(crate) mod values;
pub(crate) mod watch;
pub(crate) mod why;
