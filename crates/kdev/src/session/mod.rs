//! What stays between the cycles of a watch. A single run keeps it only until its end.
//!
//! - `cargo_calls.rs`: the call of cargo for each package
//! - `images.rs`: the image of each package that the nodes have

mod cargo_calls;
pub(crate) mod images;

use crate::cx::Cx;
use crate::node::ssh::KeptSsh;
use crate::session::cargo_calls::KeptCalls;
use crate::session::images::KeptImages;

/// What stays between the cycles of a watch, or between the packages of a run.
#[derive(Default)]
pub(crate) struct Session {
    pub(crate) calls: KeptCalls,
    pub(crate) images: KeptImages,
    pub(crate) ssh: KeptSsh,
}

/// Closes the connections of a session when it is dropped.
#[must_use]
pub(crate) struct CloseAtEnd<'a>(&'a Session, &'a Cx<'a>);

impl Session {
    pub(crate) fn for_watch() -> Self {
        Self { ssh: KeptSsh::for_watch(), ..Self::default() }
    }

    /// Forgets what depends on the settings, because they have changed.
    pub(crate) fn forget_settings(&self) {
        self.calls.clear();
        self.images.clear();
    }

    pub(crate) fn close_at_end<'a>(&'a self, cx: &'a Cx) -> CloseAtEnd<'a> {
        CloseAtEnd(self, cx)
    }
}

impl Drop for CloseAtEnd<'_> {
    fn drop(&mut self) {
        self.0.ssh.close(self.1);
    }
}
