//! The program as a user meets it, with fakes of docker, ssh, kubectl and ctr
//! on PATH. The node's own script runs for real.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod account;
mod distributions;
mod doctor;
mod errors;
mod explained;
mod first_steps;
mod generator;
mod imports;
mod interrupt;
mod load;
mod precedence;
mod project;
mod render;
mod status;
mod terminal;
mod tidy;
mod up;
mod why;
