//! Types and functions for images, programs, Kubernetes objects and shell commands that need no
//! I/O. Internal to `cargo kdev`, without a promise of stability.

pub mod dockerignore;
pub mod image;
pub mod kube;
pub mod log;
pub mod order;
pub mod path;
pub mod program;
pub mod rust_target;
pub mod shell;
pub mod shell_script;
pub mod text;
pub mod watch;
