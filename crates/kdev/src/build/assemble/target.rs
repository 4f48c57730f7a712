//! Chooses cargo's target for the platform of the nodes.

use std::path::PathBuf;

use serde_json::json;
use xshell::cmd;

use crate::build::assemble::error::Error;
use crate::build::assemble::rustflags;
use crate::build::error::Result;
use crate::config::Config;
use crate::cx::Cx;
use crate::process::Command;
use crate::tools::{self, RUSTC, TOOL_TIMEOUT};

/// The flag of cargo.
const FLAG: &str = "--target";

/// The target for which cargo builds the program.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The user has chosen it. The program shows whether it fits.
    OfUser,
    /// Its programs are static.
    Chosen(&'static str),
    /// Its programs are static with these flags of rustc.
    WithFlags(&'static str, Vec<String>),
}

impl Target {
    /// Returns the target that the user has set, or else one that gives static programs for a
    /// platform.
    pub(super) fn choose(cx: &Cx, config: &Config, platform: &str) -> Result<Self> {
        let mut args = config.cargo_build.iter().flatten();
        if args.any(|arg| arg.split('=').next() == Some(FLAG)) {
            return Ok(Self::OfUser);
        }
        let target = static_target(platform)
            .ok_or_else(|| Error::InvalidPlatform { platform: platform.to_owned() })?;
        if is_installed(cx, config, target)? {
            return Ok(Self::Chosen(target));
        }
        if let Some(gnu) = gnu_target(platform)
            && is_installed(cx, config, gnu)?
            && let Some(flags) = rustflags::with_static_libc(cx, config, gnu)?
        {
            return Ok(Self::WithFlags(gnu, flags));
        }
        Err(Error::TargetMissing { target, platform: platform.to_owned() }.into())
    }

    /// Describes the target.
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::OfUser => "set in `cargo-build`",
            Self::Chosen(target) | Self::WithFlags(target, _) => target,
        }
    }

    /// Returns the arguments of `cargo build`.
    pub(super) fn args(&self, config: &Config) -> Vec<String> {
        let user = config.cargo_build.iter().flatten().cloned();
        match self {
            Self::OfUser => user.collect(),
            Self::Chosen(target) => {
                [FLAG.to_owned(), (*target).to_owned()].into_iter().chain(user).collect()
            }
            Self::WithFlags(target, flags) => {
                let flags = format!("target.{target}.rustflags={}", json!(flags));
                let own = [FLAG, target, "--config", &flags].map(str::to_owned);
                own.into_iter().chain(user).collect()
            }
        }
    }
}

/// Returns the platform of the target that the user has set.
pub(super) fn platform_of_user(config: &Config) -> Option<String> {
    let args = config.cargo_build.as_ref()?;
    let at = args.iter().position(|arg| arg.split('=').next() == Some(FLAG))?;
    let target = match args[at].split_once('=') {
        Some((_, target)) => target,
        None => args.get(at + 1)?,
    };
    target_platform(target).map(str::to_owned)
}

/// Returns the platform of a target.
fn target_platform(target: &str) -> Option<&'static str> {
    let architecture = target.split('-').next().filter(|_| target.contains("-linux"))?;
    Some(match architecture {
        "x86_64" => "linux/amd64",
        "aarch64" => "linux/arm64",
        "i586" | "i686" => "linux/386",
        "armv7" => "linux/arm",
        "powerpc64le" => "linux/ppc64le",
        "riscv64gc" => "linux/riscv64",
        "s390x" => "linux/s390x",
        _ => return None,
    })
}

/// Returns a target whose programs are static by default.
fn static_target(platform: &str) -> Option<&'static str> {
    Some(match platform {
        "linux/386" => "i686-unknown-linux-musl",
        "linux/amd64" => "x86_64-unknown-linux-musl",
        "linux/arm" | "linux/arm/v7" => "armv7-unknown-linux-musleabihf",
        "linux/arm64" | "linux/arm64/v8" => "aarch64-unknown-linux-musl",
        "linux/riscv64" => "riscv64gc-unknown-linux-musl",
        _ => return None,
    })
}

/// Returns the target of the same platform with the GNU C library, which is that of most machines.
/// Other machines need a linker for it.
fn gnu_target(platform: &str) -> Option<&'static str> {
    let target = match platform {
        "linux/amd64" => "x86_64-unknown-linux-gnu",
        "linux/arm64" => "aarch64-unknown-linux-gnu",
        _ => return None,
    };
    let architecture = target.split('-').next();
    (architecture == Some(std::env::consts::ARCH)).then_some(target)
}

/// Returns whether the standard library for a target is installed, in the toolchain of the
/// package.
fn is_installed(cx: &Cx, config: &Config, target: &str) -> Result<bool> {
    let rustc = RUSTC.find()?;
    let sh = cx.shell()?;
    sh.change_dir(&config.dir);
    let cmd = cmd!(sh, "{rustc} --print target-libdir --target {target}");
    let output = Command::new(cmd).timeout(TOOL_TIMEOUT).read(cx);
    let output = output.map_err(|source| {
        let action = "find the installed targets of Rust".to_owned();
        tools::Error::Command { action, source }
    })?;
    let output = output.text();
    Ok(PathBuf::from(output.trim()).is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_of_user_has_platform() {
        let table = [
            ("x86_64-unknown-linux-gnu", Some("linux/amd64")),
            ("aarch64-unknown-linux-musl", Some("linux/arm64")),
            ("armv7-unknown-linux-musleabihf", Some("linux/arm")),
            ("x86_64-pc-windows-gnu", None),
            ("custom.json", None),
        ];
        for (target, expected) in table {
            assert_eq!(target_platform(target), expected, "{target}");
        }
    }

    #[test]
    fn variants_use_target_of_architecture() {
        let table = [
            ("linux/amd64", Some("x86_64-unknown-linux-musl")),
            ("linux/arm64/v8", Some("aarch64-unknown-linux-musl")),
            ("linux/arm/v7", Some("armv7-unknown-linux-musleabihf")),
            ("linux/arm/v5", None),
            ("windows/amd64", None),
        ];
        for (platform, expected) in table {
            assert_eq!(static_target(platform), expected, "{platform}");
        }
    }
}
