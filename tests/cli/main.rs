//! The program as a user meets it, with fakes of docker, ssh, kubectl and ctr
//! on PATH. The node's own script runs for real.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod config_precedence;
mod distributions;
mod docs;
mod doctor;
mod environment;
mod errors;
mod generators;
mod imports;
mod interrupt;
mod load;
mod onboarding;
mod package_selection;
mod project;
mod prune;
mod render;
mod repository;
mod status;
mod terminal;
mod up;
mod why;
mod why_docs;
