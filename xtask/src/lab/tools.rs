//! The programs that the lab builds because Debian has no packages of them.

use super::image;
use anyhow::Result;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Flags of the compiler, the same for all tools, so that they share compiled packages in
/// Go's build cache.
///
/// Debug information takes a sixth of the compilation time. Inlining takes a third of the time
/// for the API types, which are large, generated, and rarely executed.
pub(crate) const COMPILE: [&str; 4] = [
    "-trimpath",
    "-buildvcs=false",
    "-gcflags=all=-dwarf=false",
    "-gcflags=k8s.io/api/...=-dwarf=false -l",
];

/// The step that needs a program.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// `lab up`
    Cluster,
    /// The e2e tests and the benchmarks
    Tests,
}

/// All tools.
pub(crate) const TOOLS: [Tool; 5] = [
    Tool {
        name: "cluster",
        title: "Kubernetes and containerd",
        part: Part::Cluster,
        module: "cluster",
        ldflags: "-s -w \
            -X k8s.io/component-base/version.gitVersion=v1.34.4 \
            -X k8s.io/component-base/version.gitMajor=1 \
            -X k8s.io/component-base/version.gitMinor=34 \
            -X k8s.io/client-go/pkg/version.gitVersion=v1.34.4 \
            -X k8s.io/component-base/version.gitTreeState=clean \
            -X github.com/containerd/containerd/v2/version.Version=2.2.3",
        packages: &[
            "./kubernetes",
            "./pause",
            "github.com/containerd/containerd/v2/cmd/containerd",
            "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
            "github.com/containerd/containerd/v2/cmd/ctr",
        ],
    },
    Tool {
        name: "helm",
        title: "Helm",
        part: Part::Tests,
        module: "cluster",
        ldflags: "-s -w \
            -X helm.sh/helm/v3/internal/version.version=v3.19.5 \
            -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 \
            -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=34",
        packages: &["helm.sh/helm/v3/cmd/helm"],
    },
    Tool {
        name: "moby",
        title: "Docker 29",
        part: Part::Tests,
        module: "moby",
        ldflags: "-s -w -X github.com/moby/moby/v2/dockerversion.Version=29.0.0-beta.1",
        packages: &["."],
    },
    Tool {
        name: "buildkit",
        title: "BuildKit",
        part: Part::Tests,
        module: "moby",
        ldflags: "-s -w -X github.com/moby/buildkit/version.Version=v0.25.1",
        packages: &[
            "github.com/moby/buildkit/cmd/buildkitd",
            "github.com/moby/buildkit/cmd/buildctl",
            "github.com/moby/buildkit/frontend/dockerfile/cmd/dockerfile-frontend",
        ],
    },
    Tool {
        name: "buildx",
        title: "Docker Buildx",
        part: Part::Tests,
        module: "buildx",
        ldflags: "-s -w -X github.com/docker/buildx/version.Version=v0.29.1",
        packages: &["."],
    },
];

/// Programs that are built together from a Go module below `xtask/lab`.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    /// The name in the live line
    pub(crate) title: &'static str,
    pub(crate) part: Part,
    /// Tools of one module share their dependencies in Go's build cache.
    pub(crate) module: &'static str,
    pub(crate) ldflags: &'static str,
    pub(crate) packages: &'static [&'static str],
}

impl Tool {
    /// Returns the name of the folder in the cache. It changes with the sources, the flags and
    /// the version of the compiler.
    pub(crate) fn folder_name(&self, go: &str) -> Result<String> {
        let mut hash = Sha256::new();
        let source = self.source();
        for file in files(&source)? {
            let text = fs::read(&file)?;
            let name = file.strip_prefix(&source)?.display();
            hash.update(format!("{name} {}\n", text.len()));
            hash.update(text);
        }
        let flags = [COMPILE.join(" "), self.ldflags.to_owned(), self.packages.join(" ")];
        hash.update(format!("{} {go} {}", flags.join(" "), image::PAUSE));
        let mut folder = format!("{}-", self.name);
        for byte in hash.finalize().iter().take(8) {
            write!(folder, "{byte:02x}")?;
        }
        Ok(folder)
    }

    pub(crate) fn source(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("lab").join(self.module)
    }
}

/// Returns the files of a folder and of the folders in it, always in the same order.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.append(&mut self::files(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
