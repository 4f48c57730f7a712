//! Images, Kubernetes objects and shell words, as far as no I/O is needed. Internal to
//! `cargo kdev`: nothing here is promised to stay.

pub mod image;
pub mod kube;
pub mod shell;
pub mod text;
