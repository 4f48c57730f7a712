//! Build, load, apply and watch a container image on a Kubernetes cluster
//! without a registry.
//!
//! [`up`] does all of it; it is what `cargo kdev up` calls, and what a team's
//! own xtask may call:
//!
//! ```no_run
//! use kdev::{Cx, Request};
//!
//! let print = |event| eprintln!("{event:?}");
//! kdev::up(&Cx::new(&print), &Request::default())?;
//! # Ok::<(), kdev::Error>(())
//! ```
//!
//! The library never prints, exits, or reads its process's arguments and
//! environment; its children inherit the environment, as they would from a
//! shell. Each stage's result is the next one's input, so that nothing can be
//! applied before it is proven to be on the nodes.

mod apply;
mod applyset;
mod archive;
mod bell;
mod build;
mod buildkit;
mod builds;
mod checkup;

mod cluster;
mod config;
mod container;
mod cx;
mod details;
mod diagnosis;
mod digest;
mod docker;
mod dockerfile;
mod doctor;
mod down;
mod edit;
mod engine;
mod error;
mod event;
mod exit_code;
mod facts;
mod fault;
mod finding;
mod fix;
mod gather;
mod generator;
mod hard_link;

mod host_key;
mod image;
mod image_path;
#[doc(hidden)]
pub mod inside;
mod inventory;
mod kubeconfig;
mod layers;
mod links;
mod live;
mod load;
mod load_only;
mod local;
mod manifest;
mod manifests;
mod moment;
mod node;
mod place;
mod placement;
mod plan;
mod pod;
mod process;
mod product;
mod project;
mod proof;
mod quantity;
mod refusal;
mod remains;
mod render;
mod rights;
mod rollback;
mod rollout;
mod row;
mod runtime;
mod server_side;
mod ssh;
mod status;
mod stock;
mod subject;
mod syntax;
mod taken;
mod thin;
mod tools;
mod transport;
mod untouched;
mod up;
mod value;
mod verification;
mod wanted;
mod why;
mod wire;
mod words;
mod workload;
mod yaml;

pub use apply::Error as ApplyError;
pub use build::Error as BuildError;
pub use builds::Freshness;
pub use cluster::Error as ClusterError;
pub use config::Error as ConfigError;
pub use config::{Layer, NodeSettings, PullPolicy};
pub use cx::{BuildOutput, Cx, Interrupt};
pub use details::Reason;
pub use diagnosis::{Cause, Confidence, Diagnosis};
pub use docker::{DockerHost, Error as DockerError};
pub use doctor::{DoctorRequest, doctor};
pub use down::{DownRequest, down};
pub use error::{Diagnosed, Error, Result};
pub use event::{Event, PodState, VERSION};
pub use exit_code::ExitCode;
pub use fault::{Fault, NodeError, SudoRule};
pub use finding::{Checkup, Finding, Group, State};
pub use gather::Error as FactsError;
pub use image::{Name, Reference, ReferenceError};
pub use kubeconfig::Target;
pub use layers::Error as LayersError;
pub use load::Error as LoadError;
pub use load_only::{LoadRequest, load};
pub use manifests::Error as ManifestsError;
pub use place::{Fate, Place, PolicyFate, Untouched};
pub use process::{Error as ProcessError, Failure, FileError, Interrupted, Outcome};
pub use project::{Error as ProjectError, Selection};
pub use refusal::{Conflict, Immutable};
pub use render::{RenderRequest, Rendering, render};
pub use rollout::Error as RolloutError;
pub use row::Row;
pub use server_side::Consent;
pub use status::{Status, StatusRequest, status};
pub use tools::Error as ToolError;
pub use up::{Request, up};
pub use wanted::Change;
pub use why::{Answer, Verdict, WhyRequest, why};
pub use workload::Cure;
