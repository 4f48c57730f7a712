//! Waits for changes of the inputs of packages.
//!
//! - `changes.rs`: waits until inputs have changed, by events and by a comparison every 2 s
//! - `control.rs`: requests of the user
//! - `events.rs`: events of the file system
//! - `lock.rs`: one watch per package
//! - `service.rs`: a package with its inputs

pub(crate) mod changes;
pub(crate) mod control;
mod error;
mod events;
pub(crate) mod lock;
pub(crate) mod service;

pub use control::WatchControl;
pub use error::Error;
pub(crate) use error::Result;
