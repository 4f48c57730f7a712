//! End-to-end tests of `cargo kdev` with Docker, OpenSSH, containerd 1.x and 2.x and
//! Kubernetes, in the lab. `cargo xtask test` starts the lab and runs them; `cargo test`
//! ignores them.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod admission;
mod api;
mod apply_errors;
mod apply_order;
mod archives;
mod assemble;
mod attestations;
mod bases;
mod buildkit;
mod cargo_build;
mod charts;
mod connection_loss;
mod costs;
mod daemons;
mod different_nodes;
mod distributions;
mod docker_variants;
mod doctor;
mod down;
mod exclusive;
mod failure_report;
mod far_docker;
mod fault_injection;
mod fields;
mod follow;
mod full_disk;
mod here_documents;
mod identity;
mod ignore_patterns;
mod image_store;
mod images;
mod init;
mod inner_loop;
mod inputs;
mod kept_results;
#[path = "../../crates/kdev-manifest/tests/corpus/kubectl.rs"]
mod kubectl;
mod kubelet;
mod lab;
mod layout_export;
mod namespace;
mod nodes;
mod owner_references;
mod owners;
mod pages;
mod partial_load;
mod podman;
mod process_kill;
mod prune;
mod relay;
mod rendered;
mod restart;
mod rollout;
mod sample;
mod services;
mod shared;
mod status;
mod test_service;
mod tidy;
mod times;
mod undo;
#[path = "../../crates/kdev-manifest/tests/corpus/variants.rs"]
#[expect(dead_code, reason = "only the tests of the corpus use everything")]
mod variants;
mod watch;
mod webhook;
mod why;
mod workload_kinds;
