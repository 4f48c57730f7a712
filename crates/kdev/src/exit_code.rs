//! What the program tells a script.

/// What the process's exit code says. A failed build ends with the builder's
/// own code instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// All is done, and proven.
    Success = 0,
    /// The command line is wrong.
    Usage = 2,
    /// The project, its configuration or its manifests are wrong.
    Project = 90,
    /// A tool is missing or too old, or docker does not answer.
    Tool = 91,
    /// The context is unknown, not allowed or unreachable, or the API refused.
    Cluster = 92,
    /// A node cannot be reached or used.
    Node = 93,
    /// The image could not be loaded, or its presence not be proven.
    Load = 94,
    /// The new pods cannot become ready.
    Rollout = 95,
    /// The new pods were not ready in time.
    Timeout = 96,
    /// Interrupted by Ctrl-C or a signal.
    Interrupted = 130,
}
