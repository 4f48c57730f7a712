//! The table of the programs that the lab builds because Debian does not have them.

use super::image;
use anyhow::Result;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// The step that needs a program.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// `lab up`
    Cluster,
    /// The cluster tests and the benchmarks
    Tests,
}

/// All tools; a new one is one more entry.
pub(crate) const TOOLS: [Tool; 5] = [
    Tool {
        name: "containerd",
        title: "containerd",
        part: Part::Cluster,
        ldflags: "-s -w -X github.com/containerd/containerd/v2/version.Version=2.2.3",
        packages: &[
            "github.com/containerd/containerd/v2/cmd/containerd",
            "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
            "github.com/containerd/containerd/v2/cmd/ctr",
        ],
    },
    Tool {
        name: "kubernetes",
        title: "Kubernetes",
        part: Part::Cluster,
        ldflags: "-s -w \
            -X k8s.io/component-base/version.gitVersion=v1.34.4 \
            -X k8s.io/component-base/version.gitMajor=1 \
            -X k8s.io/component-base/version.gitMinor=34 \
            -X k8s.io/client-go/pkg/version.gitVersion=v1.34.4 \
            -X k8s.io/component-base/version.gitTreeState=clean",
        packages: &["."],
    },
    Tool { name: "pause", title: "pause", part: Part::Cluster, ldflags: "-s -w", packages: &["."] },
    Tool {
        name: "helm",
        title: "Helm",
        part: Part::Tests,
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
        ldflags: "-s -w -X github.com/moby/moby/v2/dockerversion.Version=29.0.0-beta.1",
        packages: &["."],
    },
];

/// A Go module below `xtask/lab`, and the programs that are built from it.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    /// Its name in the live line
    pub(crate) title: &'static str,
    pub(crate) part: Part,
    pub(crate) ldflags: &'static str,
    pub(crate) packages: &'static [&'static str],
}

impl Tool {
    /// The name of its folder in the cache: it changes with the sources, the flags
    /// and the compiler's version.
    pub(crate) fn folder(&self, go: &str) -> Result<String> {
        let mut hash = Sha256::new();
        for file in ["go.mod", "go.sum", "main.go"] {
            let text = fs::read(self.source().join(file)).unwrap_or_default();
            hash.update(format!("{file} {}\n", text.len()));
            hash.update(text);
        }
        hash.update(format!("{} {} {go} {}", self.ldflags, self.packages.join(" "), image::PAUSE));
        let mut folder = format!("{}-", self.name);
        for byte in hash.finalize().iter().take(8) {
            write!(folder, "{byte:02x}")?;
        }
        Ok(folder)
    }

    pub(crate) fn source(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("lab").join(self.name)
    }
}
