//! The scripts that run on each node, as they are sent there.
//!
//! A script consists of files in `script/`: each verb has its own, and those that several
//! verbs share come before it.

use std::sync::LazyLock;

use kdev_core::shell_script::minify;

const START: &str = include_str!("script/start.sh");
const MACHINE: &str = include_str!("script/machine.sh");
const CTR: &str = include_str!("script/ctr.sh");
const ACCESS: &str = include_str!("script/access.sh");
const LOCK: &str = include_str!("script/lock.sh");

/// A script for one purpose.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verb {
    /// Checks the access to containerd.
    Probe,
    /// Imports an image.
    Load,
    /// Lists images.
    Images,
    /// Lists the builds of an image, and removes some of them.
    Prune,
    /// Prints the configuration of an image.
    Config,
    /// Describes the machine and its containerd.
    Report,
}

impl Verb {
    /// Returns the script's name among the processes of the node.
    pub(crate) fn process_name(self) -> &'static str {
        match self {
            Self::Probe => "kdev-probe",
            Self::Load => "kdev-load",
            Self::Images => "kdev-images",
            Self::Prune => "kdev-prune",
            Self::Config => "kdev-config",
            Self::Report => "kdev-report",
        }
    }

    /// Returns the script. It has no comments and no indentation, because it is most of the
    /// data of a load without changes.
    pub(crate) fn script(self) -> &'static str {
        static PROBE: LazyLock<String> = LazyLock::new(|| minify(&Verb::Probe.source()));
        static LOAD: LazyLock<String> = LazyLock::new(|| minify(&Verb::Load.source()));
        static IMAGES: LazyLock<String> = LazyLock::new(|| minify(&Verb::Images.source()));
        static PRUNE: LazyLock<String> = LazyLock::new(|| minify(&Verb::Prune.source()));
        static CONFIG: LazyLock<String> = LazyLock::new(|| minify(&Verb::Config.source()));
        static REPORT: LazyLock<String> = LazyLock::new(|| minify(&Verb::Report.source()));
        match self {
            Self::Probe => &PROBE,
            Self::Load => &LOAD,
            Self::Images => &IMAGES,
            Self::Prune => &PRUNE,
            Self::Config => &CONFIG,
            Self::Report => &REPORT,
        }
    }

    fn source(self) -> String {
        match self {
            Self::Probe => [START, CTR, ACCESS, include_str!("script/probe.sh")].concat(),
            Self::Load => [START, CTR, LOCK, include_str!("script/load.sh")].concat(),
            Self::Images => [START, CTR, include_str!("script/images.sh")].concat(),
            Self::Prune => [START, CTR, LOCK, include_str!("script/prune.sh")].concat(),
            Self::Config => [START, CTR, include_str!("script/config.sh")].concat(),
            Self::Report => {
                [START, MACHINE, CTR, ACCESS, include_str!("script/report.sh")].concat()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xshell::{Shell, cmd};

    /// Each verb, and the largest size of its script.
    const VERBS: [(Verb, usize); 6] = [
        (Verb::Probe, 2_560),
        (Verb::Load, 5_888),
        (Verb::Images, 3_328),
        (Verb::Prune, 4_352),
        (Verb::Config, 2_560),
        (Verb::Report, 3_840),
    ];

    #[test]
    fn scripts_are_small() {
        for (verb, limit) in VERBS {
            let bytes = verb.script().len();
            assert!(bytes <= limit, "{verb:?}: {bytes} bytes");
        }
    }

    #[test]
    fn scripts_are_posix_sh() {
        let sh = Shell::new().unwrap();
        let shells: [&[&str]; 4] = [&["sh"], &["dash"], &["busybox", "sh"], &["bash", "--posix"]];
        let is_installed = |shell: &&&[&str]| which::which(shell[0]).is_ok();
        for shell in shells.iter().filter(is_installed) {
            for (verb, _) in VERBS {
                // `-n` only checks the syntax.
                let (program, args, script) = (shell[0], &shell[1..], verb.script());
                cmd!(sh, "{program} {args...} -n -c {script}").quiet().run().unwrap();
            }
        }
    }

    #[test]
    fn minified_scripts_are_equivalent() {
        // bash prints a function with its own indentation and without comments.
        let sh = Shell::new().unwrap();
        let print = |script: &str| {
            let define = format!("node_script() {{\n{script}\n}}\ndeclare -f node_script");
            cmd!(sh, "bash -c {define}").quiet().read().unwrap()
        };
        for (verb, _) in VERBS {
            assert_eq!(print(verb.script()), print(&verb.source()));
        }
    }
}
