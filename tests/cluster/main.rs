//! The truth: real docker, ssh, containerd 1.x and 2.x and Kubernetes, in the
//! lab. `cargo xtask test` starts the lab and runs these; without it they are
//! ignored, and say so.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod account;
mod admission;
mod applies;
mod archives;
mod cuts;
mod distributions;
mod dockers;
mod doctor;
mod faults;
mod killed;
mod kinds;
mod kubelet;
mod lab;
mod nodes;
mod rollouts;
mod sample;
mod service;
mod status;
mod story;
mod thin;
mod turn;
mod why;
