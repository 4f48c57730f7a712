//! Deploys local Docker images to Kubernetes without a registry.
//!
//! [`up`] builds the image, loads it onto the nodes, applies the manifests and waits for the
//! rollout. `cargo kdev up` calls it, and so can an xtask:
//!
//! ```no_run
//! use kdev::{Cx, UpRequest};
//!
//! let print = |event| eprintln!("{event:?}");
//! kdev::up(&Cx::new(&print), &UpRequest::default())?;
//! # Ok::<(), kdev::Error>(())
//! ```
//!
//! The library never prints, never exits, and never reads the arguments or environment
//! variables of its process. Child processes inherit the environment. The result of each
//! stage is the input of the next one, so that nothing is applied before the image is
//! verified to be on the nodes.

#![warn(missing_docs)]

mod apply;
mod build;
mod cluster;
mod commands;
mod config;
mod cx;
mod details;
mod docker;
mod error;
mod event;
mod exit_code;
mod facts;
mod forward;
mod init;
mod inputs;
mod layers;
mod load;
mod logs;
mod manifests;
mod node;
mod parallel;
mod process;
mod project;
mod prune;
mod rollout;
mod session;
mod tools;
mod watch;

pub use apply::Error as ApplyError;
pub use apply::server_side::ApplyOptions;
pub use build::{AssembleError, ContextHint, Error as BuildError, StaleCopy, StaleCopyFix};
pub use cluster::kubeconfig::ClusterTarget;
pub use cluster::{Error as ClusterError, RejectedCredentials};
pub use commands::build::{BuildRequest, build};
pub use commands::config::{ConfigRequest, ConfigValue, config as list_settings};
pub use commands::doctor::report::{CheckGroup, CheckResult, CheckState, DoctorReport};
pub use commands::doctor::{DoctorRequest, doctor};
pub use commands::down::{DownRequest, down};
pub use commands::forward::{ForwardRequest, forward};
pub use commands::images::{ImageRow, ImagesReport, ImagesRequest, images};
pub use commands::init::{InitRequest, init};
pub use commands::inputs::{InputRow, InputsReport, list_inputs};
pub use commands::load::{LoadRequest, load};
pub use commands::logs::{LogsRequest, logs};
pub use commands::prune::{PruneRequest, prune};
pub use commands::render::{RenderRequest, Rendering, render};
pub use commands::status::builds::BuildStatus;
pub use commands::status::rows::StatusRow;
pub use commands::status::{Status, StatusRequest, status};
pub use commands::up::{UpRequest, up};
pub use commands::values::{ValueKind, ValuesRequest, list_values};
pub use commands::watch::{WatchOutput, WatchRequest, watch};
pub use commands::why::{WhyReport, WhyRequest, WorkloadReport, why};
pub use config::Error as ConfigError;
pub use config::{
    Asset, BaseImage, BuilderChoice, CargoFlags, ConfigLayer, ContainerConfig, HelmSettings,
    KeepBuilds, NodeSettings,
};
pub use cx::{BuildOutput, Cx, DockerSettings, Interrupt};
pub use details::Details;
pub use docker::{DockerHost, Engine, Error as DockerError, run_namespace_helper};
pub use error::{Diagnosed, Error, Result, ServiceError};
pub use event::{CycleOutcome, Event, JSON_VERSION, Message, PodState};
pub use exit_code::ExitCode;
pub use facts::Error as FactsError;
pub use forward::{Error as ForwardError, InvalidSpec};
pub use init::Error as InitError;
pub use init::{FileAction, InitFile, InitFinding, InitReport, ManifestFormat, WorkloadType};
pub use inputs::InputClass;
pub use kdev_core::image::reference::{Name, Reference, ReferenceError};
pub use kdev_core::kube::api_error::{Conflict, Immutable};
pub use kdev_core::kube::workload::UnblockAction;
pub use kdev_core::log::label::color_index;
pub use kdev_core::log::line::push_visible;
pub use kdev_core::text::pluralize;
pub use kdev_diagnosis::cause::Cause;
pub use kdev_diagnosis::diagnosis::{Confidence, Diagnosis};
pub use kdev_manifest::expected::FieldDrift;
pub use kdev_manifest::pull_policy::PullPolicy;
pub use kdev_manifest::report::{FieldOutcome, ImageField, Mention, PullPolicyOutcome};
pub use layers::Error as LayersError;
pub use load::Error as LoadError;
pub use logs::{Error as LogsError, LogBatch, LogLine};
pub use manifests::Error as ManifestsError;
pub use node::error::{NodeError, NodeErrorKind, SudoRule};
pub use process::{Error as ProcessError, Failure, FileError, Interrupted, Outcome, kill_children};
pub use project::{Error as ProjectError, PackageSelection};
pub use rollout::{Error as RolloutError, Failure as RolloutFailure};
pub use tools::Error as ToolError;
pub use watch::{Error as WatchError, WatchControl};
