//! The environment variables with which programs use the lab.

use super::paths::{self, state};
use super::{docker, docker_client, kubeconfig};
use std::env;
use xshell::Shell;

/// A running lab.
pub(crate) struct Lab {
    starts_docker: bool,
    has_only_kubectl: bool,
}

impl Lab {
    /// Checks which programs this machine has without the lab.
    pub(crate) fn detect() -> Self {
        let kubectl = state("bin/kubectl");
        let has_other =
            which::which_all("kubectl").is_ok_and(|mut found| found.any(|path| path != kubectl));
        Self { starts_docker: docker::is_started_by_lab(), has_only_kubectl: !has_other }
    }

    /// Returns the variables and their values. The client keeps the configuration of the user
    /// for a daemon that the lab has not started.
    pub(crate) fn env(&self, sh: &Shell) -> Vec<(String, String)> {
        let mut variables = vec![
            ("KUBECONFIG", paths::kubeconfig().display().to_string()),
            ("KDEV_SSH_CONFIG", paths::ssh_config().display().to_string()),
            ("KDEV_CONTEXT", kubeconfig::CONTEXT.to_owned()),
            ("KDEV_LAB", paths::STATE.to_owned()),
        ];
        let own_path = env::var("PATH").unwrap_or_default();
        let mut path = own_path.clone();
        if self.starts_docker {
            variables.push(("DOCKER_HOST", docker::host()));
            variables.extend(docker_client::variables(sh));
            path = docker_client::search_path(sh, path);
        }
        if self.has_only_kubectl {
            path = paths::with_lab_programs(path);
        }
        if path != own_path {
            variables.push(("PATH", path));
        }
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Returns a copy of a shell with the variables.
    pub(crate) fn shell(&self, sh: &Shell) -> Shell {
        let sh = sh.clone();
        for (name, value) in self.env(&sh) {
            sh.set_var(name, value);
        }
        sh
    }
}
