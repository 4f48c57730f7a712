//! `cargo kdev completions`: the scripts for shells, and the hidden command `complete` that they
//! call.

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::path::PathBuf;

use clap::builder::StyledStr;
use clap::{Args, Command, ValueEnum};
use clap_complete::engine::{self, ArgValueCompleter, CompletionCandidate};
use kdev::{Cx, PackageSelection, ValueKind, ValuesRequest};

use crate::flags::ClusterArgs;
use crate::ui::Ui;

const BASH: &str = include_str!("completions/cargo-kdev.bash");
const ZSH: &str = include_str!("completions/cargo-kdev.zsh");
const FISH: &str = include_str!("completions/cargo-kdev.fish");

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, Args)]
pub(crate) struct CompleteArgs {
    /// The words after `cargo kdev`; the last one is completed
    #[arg(last = true)]
    words: Vec<OsString>,
}

impl Ui {
    /// Prints the script for a shell.
    pub(crate) fn print_completions(&self, args: &CompletionsArgs) {
        self.stdout.write(match args.shell {
            Shell::Bash => BASH,
            Shell::Zsh => ZSH,
            Shell::Fish => FISH,
        });
    }

    /// Prints the candidates for the last word, one per line: the word, and its description after
    /// a tab.
    pub(crate) fn print_candidates(&self, args: CompleteArgs, kdev: Command) {
        let mut text = String::new();
        for candidate in candidates(args.words, kdev) {
            let value = candidate.get_value().to_string_lossy();
            let help = candidate.get_help().map(StyledStr::to_string).unwrap_or_default();
            let help = help.lines().next().unwrap_or_default();
            let tab = if help.is_empty() { "" } else { "\t" };
            let _ = writeln!(text, "{value}{tab}{help}");
        }
        self.stdout.write(&text);
    }
}

/// Returns the candidates for the last word, and none after an error.
fn candidates(words: Vec<OsString>, kdev: Command) -> Vec<CompletionCandidate> {
    let context = flag_value(&words, "--context");
    let namespace = flag_value(&words, "--namespace").or_else(|| flag_value(&words, "-n"));
    let kubeconfig = flag_value(&words, "--kubeconfig").map(PathBuf::from);
    let manifest_path = flag_value(&words, "--manifest-path").map(PathBuf::from);
    let complete = move |kind: ValueKind| {
        let (context, kubeconfig) = (context.clone(), kubeconfig.clone());
        let (manifest_path, namespace) = (manifest_path.clone(), namespace.clone());
        ArgValueCompleter::new(move |current: &OsStr| {
            let (context, kubeconfig) = (context.clone(), kubeconfig.clone());
            let manifest_path = manifest_path.clone();
            let request = ValuesRequest {
                selection: PackageSelection { manifest_path, ..PackageSelection::default() },
                target: ClusterArgs { context, kubeconfig }.into(),
                namespace: namespace.clone(),
            };
            let ignore_event = |_| ();
            let values = kdev::list_values(&Cx::new(&ignore_event), kind, &request);
            let current = current.to_string_lossy();
            let values = values.into_iter().filter(|value| value.starts_with(current.as_ref()));
            values.map(CompletionCandidate::new).collect()
        })
    };
    let mut command = with_values(kdev, &complete);
    let index = words.len();
    let dir = std::env::current_dir().ok();
    let program = OsString::from("cargo-kdev");
    let args: Vec<OsString> = std::iter::once(program).chain(words).collect();
    let candidates =
        engine::complete(&mut command, args, index, dir.as_deref()).unwrap_or_default();
    let mut candidates: Vec<CompletionCandidate> =
        candidates.into_iter().filter(|one| !one.is_hide_set()).collect();
    candidates.dedup_by(|one, other| one.get_value() == other.get_value());
    candidates
}

/// Adds the values that depend on the project and the cluster.
fn with_values(command: Command, complete: &impl Fn(ValueKind) -> ArgValueCompleter) -> Command {
    const VALUES: [(&str, ValueKind); 7] = [
        ("context", ValueKind::Context),
        ("exclude", ValueKind::Package),
        ("namespace", ValueKind::Namespace),
        ("nodes", ValueKind::Node),
        ("package", ValueKind::Package),
        ("packages", ValueKind::Package),
        ("query", ValueKind::Pod),
    ];
    let has = |command: &Command, id: &str| command.get_arguments().any(|arg| arg.get_id() == id);
    command.mut_subcommands(|subcommand| {
        let known = VALUES.into_iter().filter(|(id, _)| has(&subcommand, id));
        let known: Vec<(&str, ValueKind)> = known.collect();
        known.into_iter().fold(subcommand, |subcommand, (id, kind)| {
            subcommand.mut_arg(id, |arg| arg.add(complete(kind)))
        })
    })
}

/// Returns the value of a flag in the words before the last one.
fn flag_value(words: &[OsString], flag: &str) -> Option<String> {
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    let (_, before) = words.split_last()?;
    before.iter().enumerate().find_map(|(at, word)| {
        match word.strip_prefix(flag)?.strip_prefix('=') {
            Some(value) => Some(value.to_owned()),
            None if *word == flag => before.get(at + 1).map(|value| (*value).to_owned()),
            None => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_of_flag_is_found() {
        let words: Vec<OsString> =
            ["up", "--context", "a", "--namespace=b", "--kubeconfig"].map(OsString::from).into();
        assert_eq!(flag_value(&words, "--context").as_deref(), Some("a"));
        assert_eq!(flag_value(&words, "--namespace").as_deref(), Some("b"));
        assert_eq!(flag_value(&words, "--kubeconfig"), None);
        assert_eq!(flag_value(&words[..2], "--context"), None);
    }
}
