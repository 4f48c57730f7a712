//! The rules: each checks the facts for one group of causes.

pub(crate) mod container;
pub(crate) mod creation;
pub(crate) mod image;
pub(crate) mod in_progress;
pub(crate) mod node;
pub(crate) mod quota;
pub(crate) mod scheduling;
pub(crate) mod terminating;
pub(crate) mod volume;
