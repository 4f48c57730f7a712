//! The disk on which a program had no space left.

use crate::process::{Failure, Outcome};

/// The message of programs that cannot write (`ENOSPC`).
const NO_SPACE: &str = "no space left on device";

/// The disk of a program that stores images.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FullDisk {
    /// Whose disk it is.
    pub(crate) owner: &'static str,
    usage_command: &'static str,
}

const PODMAN: FullDisk = FullDisk { owner: "Podman", usage_command: "podman system df" };

/// Returns the disk that has made docker or podman fail.
pub(crate) fn full_disk(failure: &Failure) -> Option<FullDisk> {
    let is_full = matches!(failure.outcome, Outcome::Code(_)) && failure.stderr.contains(NO_SPACE);
    match failure.program() {
        "docker" if is_full => Some(FullDisk::DOCKER),
        "podman" if is_full => Some(PODMAN),
        _ => None,
    }
}

impl FullDisk {
    pub(crate) const DOCKER: Self =
        Self { owner: "the Docker daemon", usage_command: "docker system df" };

    /// Returns how to fix it.
    pub(crate) fn help(self) -> String {
        format!("free space on the disk of {}; {}", self.owner, self.usage_help())
    }

    /// Returns how to find out what uses the space.
    pub(crate) fn usage_help(self) -> String {
        format!("run `{}` to see what uses it", self.usage_command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disk_is_that_of_program() {
        let owner = |command: &str, outcome, stderr: &str| {
            let failure = Failure { command: command.into(), outcome, stderr: stderr.into() };
            full_disk(&failure).map(|disk| disk.owner)
        };
        let full = "Error: write /var/lib/x: no space left on device";
        assert_eq!(owner("docker save a", Outcome::Code(1), full), Some("the Docker daemon"));
        assert_eq!(owner("/usr/bin/podman save a", Outcome::Code(125), full), Some("Podman"));
        assert_eq!(owner("docker save a", Outcome::Code(1), "Error: no such image"), None);
        // It only repeats what it has read.
        assert_eq!(owner("docker save a", Outcome::Interrupted, full), None);
        assert_eq!(owner("cat", Outcome::Code(1), full), None);
    }
}
