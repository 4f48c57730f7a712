//! The logs of containers.
//!
//! - `cursor.rs`: which lines were already shown when a log is read again
//! - `label.rs`: the parts of pod names that differ
//! - `line.rs`: a line with its timestamp
//! - `run.rs`: the runs of a container that have a log

pub mod cursor;
pub mod label;
pub mod line;
pub mod run;
