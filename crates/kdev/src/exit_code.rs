//! Exit codes of the program.

/// The exit code of the process. If the build fails, the exit code of the build tool is used
/// instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Success.
    Success = 0,
    /// The command line is invalid.
    Usage = 2,
    /// The project, its configuration or a manifest is invalid.
    Project = 90,
    /// A required tool is missing or too old, or Docker or Podman is unreachable.
    Tool = 91,
    /// The cluster is unreachable, the context is unknown or not allowed, or the API server
    /// rejected a request.
    Cluster = 92,
    /// A node cannot be reached or used.
    Node = 93,
    /// The image could not be loaded onto a node, or its presence could not be verified.
    Load = 94,
    /// The rollout failed.
    Rollout = 95,
    /// The rollout timed out.
    Timeout = 96,
    /// Standard output could not be written.
    Output = 97,
    /// The run was interrupted by Ctrl-C or a signal.
    Interrupted = 130,
}
