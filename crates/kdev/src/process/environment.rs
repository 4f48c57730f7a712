//! The variables with which a user changes the behavior of a program. kdev sets or removes
//! those that would change the meaning of a command of kdev.

use std::path::Path;
use std::process::Command;

/// Program, variable, and its value; `None` removes it. All other variables are passed on.
const SETTINGS: [(&str, &str, Option<&str>); 6] = [
    // With it, a build does not store its image.
    ("docker", "BUILDX_NO_DEFAULT_LOAD", None),
    // Hints of plugins after a build.
    ("docker", "DOCKER_CLI_HINTS", Some("false")),
    // Debug output hides the error.
    ("helm", "HELM_DEBUG", None),
    // Defaults such as `--dry-run` or `--interactive`
    // (<https://kubernetes.io/docs/reference/kubectl/kuberc/>).
    ("kubectl", "KUBERC", Some("off")),
    ("kubectl", "KUBECTL_KUBERC", Some("false")),
    // `kubectl diff` runs a `grep`, and that of BSD adds these options.
    ("kubectl", "GREP_OPTIONS", None),
];

/// Applies the settings for the program of a command.
pub(crate) fn apply(command: &mut Command) {
    let name = Path::new(command.get_program()).file_name().map(ToOwned::to_owned);
    for (_, variable, value) in SETTINGS.iter().filter(|(program, ..)| name == Some(program.into()))
    {
        match value {
            Some(value) => command.env(variable, value),
            None => command.env_remove(variable),
        };
    }
}

#[cfg(test)]
mod tests {
    use xshell::{Shell, cmd};

    use super::*;

    #[test]
    fn settings_apply_to_program_in_any_folder() {
        let sh = Shell::new().unwrap();
        let kuberc =
            [("GREP_OPTIONS", None), ("KUBECTL_KUBERC", Some("false")), ("KUBERC", Some("off"))];
        let table = [
            (cmd!(sh, "kubectl version"), &kuberc[..]),
            (cmd!(sh, "/opt/bin/kubectl version").env("KUBERC", "mine"), &kuberc),
            (
                cmd!(sh, "docker build"),
                &[("BUILDX_NO_DEFAULT_LOAD", None), ("DOCKER_CLI_HINTS", Some("false"))],
            ),
            (cmd!(sh, "helm template"), &[("HELM_DEBUG", None)]),
            (cmd!(sh, "cargo build"), &[]),
            (cmd!(sh, "sh kubectl"), &[]),
        ];
        for (cmd, expected) in table {
            let display = cmd.to_string();
            let mut command = Command::from(cmd);
            apply(&mut command);
            let changed = command.get_envs().map(|(name, value)| {
                (name.to_str().unwrap(), value.map(|value| value.to_str().unwrap()))
            });
            // The order of a command's variables is alphabetical.
            assert_eq!(changed.collect::<Vec<_>>(), expected, "{display}");
        }
    }
}
