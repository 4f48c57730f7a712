//! The targets of the Rust toolchain, and whether programs can be linked statically.

use std::fs;
use std::path::Path;

use xshell::cmd;

use crate::cx::Cx;
use crate::init::{Result, rustflags};
use crate::process::Command;
use crate::tools::{TOOL_TIMEOUT, major_minor};

/// The first version whose cargo supports `--target=host-tuple`.
const HAS_HOST_TUPLE: (u32, u32) = (1, 91);

/// The Rust toolchain of the project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Toolchain {
    /// The version of `rustc`.
    pub(crate) version: String,
    /// The target of this machine, such as `x86_64-unknown-linux-gnu`.
    pub(crate) host: String,
    /// The installed targets.
    pub(crate) targets: Vec<String>,
    /// Whether the linker finds a static C library.
    pub(crate) has_static_libc: bool,
    /// The settings of the project, if they already build a static program.
    pub(crate) configured: Option<StaticBuild>,
    /// The argument of cargo that adds the flag for a static program to those of the project.
    pub(crate) static_argument: String,
}

impl Toolchain {
    /// Reads the toolchain that the directory selects. Returns `None` if `rustc` cannot be run.
    pub(crate) fn read(cx: &Cx, dir: &Path, workspace_root: &Path) -> Result<Option<Self>> {
        let run = |program: &str, args: &[&str]| -> Result<Option<String>> {
            let sh = cx.shell()?;
            sh.change_dir(dir);
            let command = Command::new(cmd!(sh, "{program} {args...}")).timeout(TOOL_TIMEOUT);
            match command.read(cx) {
                Ok(output) => Ok(Some(output.text())),
                Err(failure) if failure.is_interrupt() => {
                    Err(crate::process::Error::from(crate::process::Interrupted).into())
                }
                Err(_) => Ok(None),
            }
        };
        let Some(verbose) = run("rustc", &["-vV"])? else { return Ok(None) };
        let Some((version, host)) = parse_version(&verbose) else { return Ok(None) };
        let sysroot = run("rustc", &["--print", "sysroot"])?.unwrap_or_default();
        let libc = run("cc", &["-print-file-name=libc.a"])?.unwrap_or_default();
        let static_argument = rustflags::static_argument(cx, dir, &host)?;
        Ok(Some(Self {
            version,
            host,
            targets: installed_targets(Path::new(sysroot.trim())),
            // Without the file, the compiler prints only its name.
            has_static_libc: Path::new(libc.trim()).is_absolute(),
            configured: read_config(dir, workspace_root),
            static_argument,
        }))
    }

    /// Returns the arguments of `cargo build` for a static program for this machine's
    /// architecture and Linux, and the target; `None` if it cannot be built here.
    pub(crate) fn static_build(&self, needs_c_compiler: bool) -> Option<StaticBuild> {
        if self.configured.is_some() {
            return self.configured.clone();
        }
        self.unconfigured_static_build(needs_c_compiler)
    }

    /// Returns whether `builder = "cargo"` gives static programs on this machine, whichever target
    /// the project has configured.
    pub(crate) fn can_build_without_docker(&self) -> bool {
        self.unconfigured_static_build(false).is_some()
    }

    fn unconfigured_static_build(&self, needs_c_compiler: bool) -> Option<StaticBuild> {
        let (arch, rest) = self.host.split_once('-')?;
        if !rest.contains("linux") {
            return None;
        }
        let musl = format!("{arch}-unknown-linux-musl");
        let release = "--release".to_owned();
        if self.host.ends_with("-musl") {
            let target = self.host_target();
            return Some(StaticBuild { args: vec![release, format!("--target={target}")], target });
        }
        // Code in C would need a compiler for musl.
        if self.targets.contains(&musl) && !needs_c_compiler {
            let args = vec![release, format!("--target={musl}")];
            return Some(StaticBuild { args, target: musl });
        }
        if !self.host.ends_with("-gnu") || !self.has_static_libc {
            return None;
        }
        let target = self.host_target();
        // With `--target`, the flags do not apply to build scripts.
        let flags = self.static_argument.clone();
        Some(StaticBuild { args: vec![release, format!("--target={target}"), flags], target })
    }

    /// Returns the target of each machine that builds, if cargo has a name for it.
    fn host_target(&self) -> String {
        if major_minor(&self.version) >= HAS_HOST_TUPLE {
            "host-tuple".to_owned()
        } else {
            self.host.clone()
        }
    }
}

/// How cargo builds a static program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StaticBuild {
    pub(crate) args: Vec<String>,
    /// A target, or `host-tuple`.
    pub(crate) target: String,
}

impl StaticBuild {
    /// Returns the folder in the target directory; a wildcard if it depends on the machine.
    pub(crate) fn folder(&self) -> &str {
        if self.target == "host-tuple" { "*" } else { &self.target }
    }
}

/// Reads the nearest `.cargo/config.toml` of the project. Others have no file in the home directory.
fn read_config(dir: &Path, workspace_root: &Path) -> Option<StaticBuild> {
    let folders = dir.ancestors().take_while(|dir| dir.starts_with(workspace_root));
    let paths = folders.map(|dir| dir.join(".cargo/config.toml"));
    paths.filter_map(|path| fs::read_to_string(path).ok()).find_map(|text| configured(&text))
}

/// Returns the target of a configuration of cargo that builds static programs.
fn configured(text: &str) -> Option<StaticBuild> {
    let config: toml::Table = toml::from_str(text).ok()?;
    let build = config.get("build")?;
    let target = build.get("target")?.as_str()?.to_owned();
    let of_target = || config.get("target")?.get(&target)?.get("rustflags");
    // A string or a list of strings.
    let flags = of_target().or_else(|| build.get("rustflags")).map(|flags| format!("{flags:?}"));
    let is_static = target.ends_with("-musl") || flags.is_some_and(|f| f.contains("+crt-static"));
    is_static.then(|| StaticBuild { args: vec!["--release".to_owned()], target })
}

/// Reads version and host from the output of `rustc -vV`.
fn parse_version(text: &str) -> Option<(String, String)> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    Some((field("release: ")?.to_owned(), field("host: ")?.to_owned()))
}

/// Returns the targets with a standard library in the sysroot.
fn installed_targets(sysroot: &Path) -> Vec<String> {
    let entries = fs::read_dir(sysroot.join("lib/rustlib"));
    let mut targets: Vec<String> = entries
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().join("lib").is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.contains('-'))
        .collect();
    targets.sort();
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATIC_GLIBC: &str = "--config=build.rustflags=['-Ctarget-feature=+crt-static']";

    fn toolchain(version: &str, host: &str, targets: &[&str], libc: bool) -> Toolchain {
        let targets = targets.iter().map(|target| (*target).to_owned()).collect();
        let (version, host) = (version.to_owned(), host.to_owned());
        Toolchain {
            version,
            host,
            targets,
            has_static_libc: libc,
            configured: None,
            static_argument: STATIC_GLIBC.to_owned(),
        }
    }

    #[test]
    fn static_build_depends_on_targets_and_libc() {
        const GNU: &str = "x86_64-unknown-linux-gnu";
        const MUSL: &str = "x86_64-unknown-linux-musl";
        let build = |toolchain: &Toolchain, c: bool| {
            let build = toolchain.static_build(c)?;
            Some((build.args[1..].join(" "), build.folder().to_owned()))
        };
        let text = |args: &str, folder: &str| Some((args.to_owned(), folder.to_owned()));
        let glibc = text(&format!("--target=host-tuple {STATIC_GLIBC}"), "*");
        assert_eq!(build(&toolchain("1.95.0", GNU, &[GNU], true), true), glibc);
        let old = text(&format!("--target={GNU} {STATIC_GLIBC}"), GNU);
        assert_eq!(build(&toolchain("1.90.0", GNU, &[GNU], true), true), old);
        let musl = text(&format!("--target={MUSL}"), MUSL);
        let both = toolchain("1.95.0", GNU, &[GNU, MUSL], true);
        assert_eq!(build(&both, false), musl);
        assert_eq!(build(&both, true), glibc);
        assert_eq!(build(&toolchain("1.95.0", GNU, &[GNU], false), false), None);
        let alpine = toolchain("1.95.0", MUSL, &[MUSL], false);
        assert_eq!(build(&alpine, true), text("--target=host-tuple", "*"));
        assert_eq!(build(&toolchain("1.95.0", "aarch64-apple-darwin", &[MUSL], true), false), None);
    }

    #[test]
    fn settings_of_static_build_are_used() {
        let target = |text: &str| configured(text).map(|build| build.target);
        let flags = "rustflags = [\"-C\", \"target-feature=+crt-static\"]\n";
        let tuple = "[build]\ntarget = \"host-tuple\"\n";
        assert_eq!(target(&format!("{tuple}{flags}")).as_deref(), Some("host-tuple"));
        assert_eq!(target(tuple), None);
        assert_eq!(target(&format!("[build]\n{flags}")), None);
        assert_eq!(
            target(&format!("{tuple}[target.host-tuple]\n{flags}")).as_deref(),
            Some("host-tuple")
        );
        let musl = "[build]\ntarget = \"x86_64-unknown-linux-musl\"\n";
        assert_eq!(target(musl).as_deref(), Some("x86_64-unknown-linux-musl"));
        let toolchain = Toolchain { configured: configured(musl), ..Toolchain::default() };
        assert_eq!(toolchain.static_build(true).unwrap().args, ["--release"]);
    }

    #[test]
    fn version_and_host_are_read() {
        let text = "rustc 1.95.0 (5 2026-04-14)\nbinary: rustc\nhost: a-b-c\nrelease: 1.95.0\n";
        assert_eq!(parse_version(text), Some(("1.95.0".to_owned(), "a-b-c".to_owned())));
        assert_eq!(parse_version("error"), None);
    }
}
