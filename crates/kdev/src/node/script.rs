//! The script that runs on each node, as it is sent there.

use std::sync::LazyLock;

use kdev_core::shell_script::minify;

const SOURCE: &str = include_str!("script.sh");

/// The script. Each load sends it twice, so it has no comments and no indentation.
pub(crate) static SCRIPT: LazyLock<String> = LazyLock::new(|| minify(SOURCE));

#[cfg(test)]
mod tests {
    use super::*;
    use xshell::{Shell, cmd};

    /// The largest size of the script: it is most of the data of a load without changes.
    const MAX_BYTES: usize = 8_192;

    #[test]
    fn script_is_small() {
        assert!(SCRIPT.len() <= MAX_BYTES, "{} bytes", SCRIPT.len());
    }

    #[test]
    fn script_is_posix_sh() {
        let sh = Shell::new().unwrap();
        let shells: [&[&str]; 4] = [&["sh"], &["dash"], &["busybox", "sh"], &["bash", "--posix"]];
        let is_installed = |shell: &&&[&str]| which::which(shell[0]).is_ok();
        for shell in shells.iter().filter(is_installed) {
            // `-n` only checks the syntax.
            let (program, args, script) = (shell[0], &shell[1..], SCRIPT.as_str());
            cmd!(sh, "{program} {args...} -n -c {script}").quiet().run().unwrap();
        }
    }

    #[test]
    fn minified_script_is_equivalent() {
        // bash prints a function with its own indentation and without comments.
        let sh = Shell::new().unwrap();
        let print = |script: &str| {
            let define = format!("node_script() {{\n{script}\n}}\ndeclare -f node_script");
            cmd!(sh, "bash -c {define}").quiet().read().unwrap()
        };
        assert_eq!(print(&SCRIPT), print(SOURCE));
    }
}
