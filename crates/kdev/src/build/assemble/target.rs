//! Chooses cargo's target for the platform of the nodes.

use std::path::PathBuf;

use kdev_core::rust_target;
use xshell::cmd;

use crate::build::assemble::error::Error;
use crate::build::assemble::rustflags;
use crate::build::error::Result;
use crate::config::{BaseImage, Config};
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
    /// Its programs are static, or run on the base.
    Chosen(&'static str),
    /// Its programs are static with these flags of rustc, a value of TOML.
    WithFlags(&'static str, String),
}

impl Target {
    /// Returns the target that the user has set, or else one that gives static programs for a
    /// platform, which run on each base. Without such a target, a base can have the C library.
    pub(super) fn choose(cx: &Cx, config: &Config, platform: &str) -> Result<Self> {
        match count_of_user(config) {
            0 => {}
            1 => return Ok(Self::OfUser),
            _ => return Err(Error::SeveralTargets.into()),
        }
        let target = rust_target::static_target(platform)
            .ok_or_else(|| Error::InvalidPlatform { platform: platform.to_owned() })?;
        if is_installed(cx, config, target)? {
            return Ok(Self::Chosen(target));
        }
        if let Some(gnu) = gnu_target(platform)
            && is_installed(cx, config, gnu)?
        {
            if config.container.base != BaseImage::Scratch {
                return Ok(Self::Chosen(gnu));
            }
            if let Some(flags) = rustflags::with_static_libc(cx, config, gnu)? {
                return Ok(Self::WithFlags(gnu, flags));
            }
        }
        Err(Error::TargetMissing { target, platform: platform.to_owned() }.into())
    }

    /// Returns whether the user has set the target.
    pub(super) fn is_of_user(config: &Config) -> bool {
        count_of_user(config) > 0
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
                let flags = format!("target.{target}.rustflags={flags}");
                let own = [FLAG, target, "--config", &flags].map(str::to_owned);
                own.into_iter().chain(user).collect()
            }
        }
    }
}

/// Returns how many targets the user has set.
fn count_of_user(config: &Config) -> usize {
    let args = config.cargo_build.iter().flatten();
    args.filter(|arg| arg.split('=').next() == Some(FLAG)).count()
}

/// Returns the platform of the target that the user has set.
pub(super) fn platform_of_user(config: &Config) -> Option<String> {
    let target = target_in(config.cargo_build.as_ref()?)?;
    rust_target::platform(target).map(str::to_owned)
}

/// Returns the target in the arguments of cargo.
pub(super) fn target_in(args: &[String]) -> Option<&str> {
    let at = args.iter().position(|arg| arg.split('=').next() == Some(FLAG))?;
    match args[at].split_once('=') {
        Some((_, target)) => Some(target),
        None => args.get(at + 1).map(String::as_str),
    }
}

/// Returns the target with the GNU C library if it is that of this machine. Others need a linker.
fn gnu_target(platform: &str) -> Option<&'static str> {
    rust_target::gnu_target(platform).filter(|_| platform == rust_target::host_platform())
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
