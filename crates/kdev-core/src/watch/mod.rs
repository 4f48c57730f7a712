//! Decisions of a watch that runs a cycle after each change. Times are measured from the start of
//! the watch.
//!
//! - `need.rs`: what a cycle must do after changes of inputs
//! - `own_writes.rs`: files that each build writes
//! - `quiet.rs`: when the changes of one save are complete
//! - `retry.rs`: when a cycle that failed without a change runs again
//! - `stages.rs`: how long the stages of a cycle have taken
//! - `stops.rs`: whether a newer change may stop a build

pub mod need;
pub mod own_writes;
pub mod quiet;
pub mod retry;
pub mod stages;
pub mod stops;
