//! Programs that Debian does not have, built once from the lab's Go modules.
//!
//! Each result lies in a folder named after a hash of all that went into it,
//! and appears there whole or not at all.

use super::image;
use crate::term::{Advised, Slow};
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

const MODULES: [Module; 5] = [
    Module {
        name: "containerd",
        minutes: "1 to 8 minutes, once",
        ldflags: "-s -w -X github.com/containerd/containerd/v2/version.Version=2.2.3",
        packages: &[
            "github.com/containerd/containerd/v2/cmd/containerd",
            "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
            "github.com/containerd/containerd/v2/cmd/ctr",
        ],
    },
    Module {
        name: "kubernetes",
        minutes: "4 to 9 minutes, once",
        ldflags: "-s -w \
            -X k8s.io/component-base/version.gitVersion=v1.34.4 \
            -X k8s.io/component-base/version.gitMajor=1 \
            -X k8s.io/component-base/version.gitMinor=34 \
            -X k8s.io/client-go/pkg/version.gitVersion=v1.34.4 \
            -X k8s.io/component-base/version.gitTreeState=clean",
        packages: &["."],
    },
    Module {
        name: "helm",
        minutes: "1 to 3 minutes, once",
        ldflags: "-s -w \
            -X helm.sh/helm/v3/internal/version.version=v3.19.5 \
            -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 \
            -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=34",
        packages: &["helm.sh/helm/v3/cmd/helm"],
    },
    Module {
        name: "moby",
        minutes: "2 to 6 minutes, once",
        ldflags: "-s -w -X github.com/moby/moby/v2/dockerversion.Version=29.0.0-beta.1",
        packages: &["."],
    },
    Module { name: "pause", minutes: "seconds", ldflags: "-s -w", packages: &["."] },
];

struct Module {
    name: &'static str,
    minutes: &'static str,
    ldflags: &'static str,
    packages: &'static [&'static str],
}

/// The folders with the built programs.
pub(crate) struct Tools {
    folders: Vec<PathBuf>,
}

impl Tools {
    /// Every file that was built.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for folder in &self.folders {
            for entry in fs::read_dir(folder)? {
                files.push(entry?.path());
            }
        }
        Ok(files)
    }

    /// Differs whenever any of the programs does.
    pub(crate) fn stamp(&self) -> String {
        let folders = self.folders.iter().map(|folder| folder.to_string_lossy());
        folders.collect::<Vec<_>>().join("\n")
    }
}

/// The folder in which the repository's tasks keep what is slow to make.
pub(crate) fn tool_cache() -> Result<PathBuf> {
    let caches = match env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env::var_os("HOME").context("`HOME` is not set")?).join(".cache"),
    };
    let folder = caches.join("kdev-lab");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    Ok(folder)
}

pub(crate) fn ensure(sh: &Shell) -> Result<Tools> {
    let go = go_version(sh)?;
    let folders = MODULES.iter().map(|module| module.ensure(sh, &go)).collect::<Result<_>>()?;
    Ok(Tools { folders })
}

impl Module {
    fn ensure(&self, sh: &Shell, go: &str) -> Result<PathBuf> {
        let cache = tool_cache()?;
        let folder = cache.join(format!("{}-{}", self.name, self.key(go)?));
        if folder.exists() {
            return Ok(folder);
        }
        // Whoever builds holds the lab's lock, so this is nobody else's.
        let unfinished = cache.join(format!("{}.unfinished", self.name));
        let _ = fs::remove_dir_all(&unfinished);
        fs::create_dir_all(&unfinished)?;
        self.build(sh, &unfinished)
            .and_then(|()| Ok(fs::rename(&unfinished, &folder)?))
            .inspect_err(|_| drop(fs::remove_dir_all(&unfinished)))
            .with_context(|| format!("cannot build {}", self.name))?;
        Ok(folder)
    }

    fn build(&self, sh: &Shell, out: &Path) -> Result<()> {
        let _slow = Slow::start("Building", &format!("{} ({})", self.name, self.minutes));
        let (packages, ldflags) = (self.packages, self.ldflags);
        let source = self.source();
        let sh = sh.clone();
        sh.change_dir(source);
        let binaries = format!("{}/", out.display());
        let built = cmd!(
            sh,
            "go build -trimpath -buildvcs=false -ldflags {ldflags} -o {binaries} {packages...}"
        )
        .env("CGO_ENABLED", "0")
        .quiet()
        .ignore_status()
        .output()?;
        if !built.status.success() {
            bail!("go build: {}", String::from_utf8_lossy(&built.stderr).trim_end());
        }
        if self.name == "pause" {
            image::pause(&sh, out)?;
        }
        Ok(())
    }

    /// A hash of the sources, the flags and the compiler's version.
    fn key(&self, go: &str) -> Result<String> {
        let mut hash = Sha256::new();
        for file in ["go.mod", "go.sum", "main.go"] {
            let text = fs::read(self.source().join(file)).unwrap_or_default();
            hash.update(format!("{file} {}\n", text.len()));
            hash.update(text);
        }
        hash.update(format!("{} {} {go} {}", self.ldflags, self.packages.join(" "), image::PAUSE));
        let mut key = String::new();
        for byte in hash.finalize().iter().take(8) {
            write!(key, "{byte:02x}")?;
        }
        Ok(key)
    }

    fn source(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("lab").join(self.name)
    }
}

/// The compiler's version, where it is recent enough.
fn go_version(sh: &Shell) -> Result<String> {
    let help = "install Go 1.24 or later from https://go.dev/dl and put it on PATH";
    let version = cmd!(sh, "go env GOVERSION").quiet().ignore_stderr().read().map_err(|_| {
        Advised::error("the lab builds Kubernetes, and there is no `go` on PATH", help)
    })?;
    let minor = version.strip_prefix("go1.").and_then(|rest| rest.split(['.', 'r', 'b']).next());
    match minor.and_then(|minor| minor.parse::<u32>().ok()) {
        Some(minor) if minor < 24 => {
            Err(Advised::error(format!("`go` is {version}, and the lab needs 1.24"), help))
        }
        _ => Ok(version),
    }
}
