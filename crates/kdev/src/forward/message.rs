//! The changes that the main thread handles.

use std::net::SocketAddr;

use crate::cluster::pods::PodChange;
use crate::forward::error::Error;

/// A change that the main thread handles.
pub(crate) enum Message {
    Pod(PodChange),
    /// A child listens, or has ended.
    Child {
        index: usize,
        pod: String,
        address: Option<SocketAddr>,
    },
    /// A pod no longer exists.
    Gone {
        pod: String,
    },
    /// A connection was opened or closed.
    Opened {
        index: usize,
        pod: String,
    },
    Closed {
        index: usize,
        pod: String,
    },
    /// A connection was closed because no pod was ready.
    TimedOut {
        index: usize,
    },
    Failed(Error),
}
