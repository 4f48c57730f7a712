//! Tests of the program with fakes of `docker`, `ssh`, `kubectl`, and `ctr` on PATH. The script on
//! the node is the real one.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod assemble;
mod builders;
mod cargo_build;
mod charts;
mod completions;
mod config_precedence;
mod costs;
mod deletion;
mod distributions;
mod docs;
mod doctor;
mod environment;
mod errors;
mod exports;
mod fields;
mod forward;
mod generators;
mod imports;
mod init;
mod inputs;
mod interrupt;
mod json_schema;
mod kept_results;
mod load;
mod logs;
mod manifests;
mod namespaces;
mod onboard;
mod onboarding;
mod output;
mod owners;
mod package;
mod package_selection;
mod podman;
mod project;
mod prune;
mod push;
mod render;
mod repository;
mod restart;
mod screens;
mod services;
mod settings;
mod settle;
mod several;
mod shared;
mod status;
mod terminal;
mod tidy;
mod up;
mod watch;
mod why;
mod why_docs;
