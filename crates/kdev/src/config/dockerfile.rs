//! Finds the Dockerfile, which Podman also reads from a `Containerfile`.

use std::path::{Path, PathBuf};

use crate::config::builder::BuilderChoice;
use crate::config::error::{Error, Result};
use crate::project::Project;

const DOCKERFILE: &str = "Dockerfile";
const CONTAINERFILE: &str = "Containerfile";

/// Returns the configured Dockerfile, or the package's, or the workspace's.
pub(crate) fn find(
    project: &Project,
    configured: Option<&Path>,
    builder: &BuilderChoice,
) -> Result<PathBuf> {
    let dirs = [&project.dir, &project.workspace_root];
    let candidates: Vec<PathBuf> = match (configured, builder) {
        // It needs none.
        (_, BuilderChoice::Cargo) => return Ok(PathBuf::new()),
        (Some(path), _) => vec![path.to_owned()],
        // In one directory, Podman prefers the `Containerfile`.
        (None, BuilderChoice::Podman) => dirs
            .iter()
            .flat_map(|dir| [CONTAINERFILE, DOCKERFILE].map(|name| dir.join(name)))
            .collect(),
        // The builder is detected later; most likely it is Docker.
        (None, BuilderChoice::Auto) => [DOCKERFILE, CONTAINERFILE]
            .iter()
            .flat_map(|name| dirs.map(|dir| dir.join(name)))
            .collect(),
        (None, _) => dirs.map(|dir| dir.join(DOCKERFILE)).to_vec(),
    };
    let found = candidates.iter().find(|path| path.is_file()).cloned();
    found.ok_or_else(|| match (configured, builder) {
        (None, BuilderChoice::Podman) => Error::ContainerfileNotFound { dir: project.dir.clone() },
        _ => Error::DockerfileNotFound { path: candidates[0].clone() },
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn dockerfile_is_that_of_builder() {
        let (auto, docker, podman) =
            (BuilderChoice::Auto, BuilderChoice::Docker, BuilderChoice::Podman);
        // The files, the builder, and the selected file.
        let table: [(&[&str], &BuilderChoice, &str); 12] = [
            (&["p/Dockerfile", "p/Containerfile"], &podman, "p/Containerfile"),
            (&["p/Dockerfile", "p/Containerfile"], &docker, "p/Dockerfile"),
            (&["p/Dockerfile", "p/Containerfile"], &auto, "p/Dockerfile"),
            (&["p/Containerfile"], &podman, "p/Containerfile"),
            (&["p/Containerfile"], &auto, "p/Containerfile"),
            (&["p/Containerfile"], &docker, "Dockerfile not found at `p/Dockerfile`"),
            (&["p/Dockerfile", "Containerfile"], &podman, "p/Dockerfile"),
            (&["Dockerfile", "Containerfile"], &podman, "Containerfile"),
            (&["Dockerfile", "p/Containerfile"], &podman, "p/Containerfile"),
            (&["Dockerfile", "p/Containerfile"], &auto, "Dockerfile"),
            (&[], &podman, "neither `Containerfile` nor `Dockerfile` found in `p`"),
            (&[], &auto, "Dockerfile not found at `p/Dockerfile`"),
        ];
        for (files, builder, expected) in table {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("p")).unwrap();
            for file in files {
                fs::write(dir.path().join(file), "").unwrap();
            }
            let mut project = Project::placeholder();
            (project.dir, project.workspace_root) = (dir.path().join("p"), dir.path().to_owned());
            let found = find(&project, None, builder);
            let found =
                found.map_or_else(|error| error.to_string(), |path| path.display().to_string());
            let root = format!("{}/", dir.path().display());
            assert_eq!(found.replace(&root, ""), expected, "{files:?} {builder}");
            let configured = dir.path().join("none");
            assert!(find(&project, Some(&configured), builder).is_err());
        }
    }
}
