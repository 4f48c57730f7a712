//! The service that is changed: it answers with a marker of its source, and one of its manifest.

use crate::bench::inner_loop::NODE;
use crate::bench::methods::Bench;
use anyhow::Result;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;
use xshell::cmd;

const SOURCE: &str = r#"use std::io::{Read, Write};

const MARKER: &str = "@MARKER@";

fn main() {
    let variable = std::env::var("MARKER").unwrap_or_default();
    println!("{MARKER} {variable}");
    let listener = std::net::TcpListener::bind("0.0.0.0:8080").unwrap();
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let _ = stream.read(&mut [0; 1024]);
        let _ = write!(stream, "HTTP/1.0 200 OK\r\n\r\n{MARKER} {variable}\n");
    }
}
"#;

/// A package with its Dockerfile and its manifest.
pub(super) struct Service {
    pub(super) folder: PathBuf,
    name: String,
    /// The number of the last marker.
    number: usize,
}

/// A file that was saved.
pub(super) struct Save {
    /// The moment before the rename.
    pub(super) start: Instant,
    /// What the new program answers.
    pub(super) marker: String,
}

impl Service {
    /// Writes a package with this name, which is also that of its image and its Deployment.
    pub(super) fn create(bench: &Bench, name: &str) -> Result<Self> {
        let folder = bench.folder.join(name);
        for sub in ["src", "k8s", ".cargo"] {
            fs::create_dir_all(folder.join(sub))?;
        }
        let cargo = format!(
            "[package]\nname = \"{name}\"\nedition = \"2024\"\n[profile.dev]\nstrip = true\n\
             [package.metadata.kdev]\ncargo-build = []\n[workspace]\n"
        );
        let program = format!("target/debug/{name}");
        let dockerfile =
            format!("FROM scratch\nCOPY {program} /{name}\nENTRYPOINT [\"/{name}\"]\n");
        let flags = "[build]\nrustflags = [\"-Ctarget-feature=+crt-static\"]\n";
        for (file, text) in [
            ("Cargo.toml", cargo),
            (".cargo/config.toml", flags.to_owned()),
            ("Dockerfile", dockerfile),
            (".dockerignore", format!("*\n!{program}\n!live\n")),
            ("src/main.rs", SOURCE.to_owned()),
        ] {
            fs::write(folder.join(file), text)?;
        }
        let manifest = folder.join("Cargo.toml");
        let lock = cmd!(bench.sh, "cargo generate-lockfile --offline --manifest-path {manifest}");
        lock.quiet().ignore_stderr().run()?;
        let mut service = Self { folder, name: name.to_owned(), number: 0 };
        service.save_manifest()?;
        Ok(service)
    }

    /// Saves the source with a fresh marker.
    pub(super) fn save_source(&mut self) -> Result<Save> {
        let marker = self.next_marker("code");
        self.rename_over("src/main.rs", &SOURCE.replace("@MARKER@", &marker), marker)
    }

    /// Saves the manifest with a fresh marker.
    pub(super) fn save_manifest(&mut self) -> Result<Save> {
        let marker = self.next_marker("manifest");
        let text = manifest(&self.name, &self.name, "IfNotPresent", &marker);
        self.rename_over("k8s/all.yaml", &text, marker)
    }

    /// Saves the source and the manifest as they are.
    pub(super) fn save_unchanged(&self) -> Result<()> {
        for file in ["src/main.rs", "k8s/all.yaml"] {
            let text = fs::read_to_string(self.folder.join(file))?;
            self.rename_over(file, &text, String::new())?;
        }
        Ok(())
    }

    fn next_marker(&mut self, prefix: &str) -> String {
        self.number += 1;
        format!("{prefix}-{}-{}", std::process::id(), self.number)
    }

    /// Replaces a file as editors do.
    fn rename_over(&self, file: &str, text: &str, marker: String) -> Result<Save> {
        let (path, new) = (self.folder.join(file), self.folder.join(format!("{file}.new")));
        fs::write(&new, text)?;
        let start = Instant::now();
        fs::rename(new, path)?;
        Ok(Save { start, marker })
    }

    /// Runs `cargo build`. Returns the path of the program in the folder.
    pub(super) fn build(&self, bench: &Bench) -> Result<PathBuf> {
        let manifest = self.folder.join("Cargo.toml");
        let mut build: std::process::Command =
            cmd!(bench.sh, "cargo build --quiet --manifest-path {manifest}").into();
        let status = build.current_dir(&self.folder).env_remove("CARGO_TARGET_DIR").status()?;
        anyhow::ensure!(status.success(), "`cargo build` failed with {status}");
        Ok(Path::new("target/debug").join(&self.name))
    }
}

/// Returns a Deployment with one pod, whose fields delay no rollout.
pub(super) fn manifest(name: &str, image: &str, policy: &str, marker: &str) -> String {
    let node = NODE.name;
    format!(
        "apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  strategy: {{rollingUpdate: {{maxSurge: 100%, maxUnavailable: 0}}}}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      nodeSelector: {{kubernetes.io/hostname: {node}}}
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: {image}
        imagePullPolicy: {policy}
        ports: [{{containerPort: 8080}}]
        env: [{{name: MARKER, value: {marker}}}]
        readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
"
    )
}
