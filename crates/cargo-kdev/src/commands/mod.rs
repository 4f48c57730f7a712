//! The commands: the flags of each, the request to the library, and the output.

pub(crate) mod build;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod forward;
pub(crate) mod images;
pub(crate) mod init;
pub(crate) mod inputs;
pub(crate) mod load;
pub(crate) mod logs;
pub(crate) mod man;
pub(crate) mod prune;
pub(crate) mod render;
pub(crate) mod status;
pub(crate) mod up;
pub(crate) mod watch;
pub(crate) mod why;
