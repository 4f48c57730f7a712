//! The truth: real docker, ssh, containerd 1.x and 2.x and Kubernetes, in the
//! lab. `cargo xtask test` starts the lab and runs these; without it they are
//! ignored, and say so.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod account;
mod admission;
mod api;
mod applies;
mod archives;
mod charts;
mod cuts;
mod distributions;
mod dockers;
mod doctor;
mod exclusive;
mod faults;
#[path = "../corpus/forms.rs"]
#[expect(dead_code, reason = "the corpus has tests of its own")]
mod forms;
mod images;
#[path = "../corpus/judge.rs"]
mod judge;
mod killed;
mod kinds;
mod kubelet;
mod lab;
mod namespace;
mod nodes;
mod rendered;
mod rollouts;
mod sample;
mod service;
mod status;
mod story;
mod thin;
mod times;
mod webhook;
mod why;
