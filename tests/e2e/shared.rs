//! Two packages of a workspace with the manifests in one folder.

use std::fs;

use crate::images::OtherImages;
use crate::lab::{get, stderr_text};
use crate::test_service::{Service, deployment};

const NAME: &str = "shared-web";
const OTHER: &str = "shared-api";

/// Creates the second package, whose image differs from the first one in a label.
fn add_package(service: &Service) {
    let manifests = "[workspace.metadata.kdev]\nmanifests = [\"k8s/*.yaml\"]\n";
    let cargo = fs::read_to_string(service.path("Cargo.toml")).unwrap();
    service.write("Cargo.toml", &format!("{cargo}members = [\"api\"]\n{manifests}"));
    fs::create_dir_all(service.path("api/src")).unwrap();
    let kdev = "[package.metadata.kdev]\ndockerfile = \"../Dockerfile.api\"\n";
    let package = format!("[package]\nname = \"{OTHER}\"\nedition = \"2024\"\n{kdev}");
    service.write("api/Cargo.toml", &package);
    service.write("api/src/main.rs", "fn main() {}\n");
    let dockerfile = fs::read_to_string(service.path("Dockerfile")).unwrap();
    service.write("Dockerfile.api", &dockerfile.replace(NAME, OTHER));
    service.write("k8s/api.yaml", &deployment(OTHER, ""));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn packages_with_one_manifest_folder_are_deployed_one_by_one() {
    let service = Service::new(NAME);
    let _image = OtherImages(&[OTHER]);
    add_package(&service);
    let up = |package: &str| {
        let output = service.up(&["--package", package]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr_text(&output));
        stderr_text(&output)
    };
    let image = |name: &str| {
        let live = get(service.name, &["deployment", name]);
        live["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().to_owned()
    };
    let stderr = up(NAME);
    let help = format!("run `cargo kdev up --package {OTHER}` to deploy it");
    assert!(stderr.contains(&help), "{stderr}");
    assert!(!stderr.contains(&format!("Ready deployment/{OTHER}")), "{stderr}");
    let first = image(NAME);
    // The help deploys the other package, and keeps the build of the first one.
    let stderr = up(OTHER);
    assert!(stderr.contains(&format!("Ready deployment/{OTHER}")), "{stderr}");
    assert!(!stderr.contains(&format!("Ready deployment/{NAME}")), "{stderr}");
    assert_eq!(image(NAME), first);
    let other = image(OTHER);
    assert!(other.starts_with(&format!("{OTHER}:kdev-")), "{other}");
    service.set_page("second");
    let stderr = up(NAME);
    assert_ne!(image(NAME), first);
    assert_eq!(image(OTHER), other);
    assert!(!stderr.contains(OTHER), "{stderr}");
}
