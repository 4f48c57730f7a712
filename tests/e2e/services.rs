//! Three services of a workspace, with the manifests in one folder and programs that `cargo build`
//! has written.

use std::collections::BTreeMap;
use std::fs;
use std::process::Output;

use crate::images::OtherImages;
use crate::lab::{get, images_on, stderr_text};
use crate::test_service::{Service, deployment};

const WEB: &str = "several-web";
const API: &str = "several-api";
const JOB: &str = "several-job";
const NAMES: [&str; 3] = [WEB, API, JOB];

/// Creates a workspace with three services on one node.
fn workspace() -> Service {
    let service = Service::on_node("node-1", WEB);
    let cargo = fs::read_to_string(service.path("Cargo.toml")).unwrap();
    let shared = "[workspace.metadata.kdev]\nmanifests = [\"k8s/*.yaml\"]\ncargo-build = []\n";
    service.write(
        "Cargo.toml",
        &format!("{cargo}members = [\"{API}\", \"{JOB}\"]\nresolver = \"3\"\n{shared}"),
    );
    service.write(".dockerignore", "cache\ntarget\n!target/debug/several-*\n");
    let dockerfile = fs::read_to_string(service.path("Dockerfile")).unwrap();
    let manifest = fs::read_to_string(service.path("k8s/all.yaml")).unwrap();
    assert_eq!(deployment(WEB, "").matches("replicas: 2").count(), 1);
    for name in NAMES {
        let copy = format!("COPY target/debug/{name} /program\nENTRYPOINT");
        let text = dockerfile.replace(WEB, name).replace("ENTRYPOINT", &copy);
        let file = if name == WEB { "Dockerfile".into() } else { format!("Dockerfile.{name}") };
        service.write(&file, &text);
        let text = manifest.replace(WEB, name).replace("replicas: 2", "replicas: 1");
        service.write(&format!("k8s/{name}.yaml"), &text);
        if name != WEB {
            fs::create_dir_all(service.path(&format!("{name}/src"))).unwrap();
            let kdev = format!("[package.metadata.kdev]\ndockerfile = \"../{file}\"\n");
            let package = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n{kdev}");
            service.write(&format!("{name}/Cargo.toml"), &package);
        }
    }
    fs::remove_file(service.path("k8s/all.yaml")).unwrap();
    write_program(&service, WEB, "");
    write_program(&service, JOB, "");
    service
}

/// Writes the program of a package.
fn write_program(service: &Service, name: &str, body: &str) {
    let dir = if name == WEB { String::new() } else { format!("{name}/") };
    service.write(&format!("{dir}src/main.rs"), &format!("fn main() {{ {body} }}\n"));
}

/// Runs a command of kdev for all services, which must exit with this code.
#[track_caller]
fn kdev(service: &Service, args: &[&str], code: i32) -> Output {
    let output = service.kdev(&[args, &["--workspace"]].concat()).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{stdout}{}", stderr_text(&output));
    output
}

/// The UID and the image of the pod of each service.
fn pods(service: &Service) -> BTreeMap<String, (String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let pod = |pod: &serde_json::Value| {
        let image = text(&pod["spec"]["containers"][0]["image"]);
        (text(&pod["metadata"]["labels"]["app"]), (text(&pod["metadata"]["uid"]), image))
    };
    service.pods().iter().map(pod).collect()
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn services_of_workspace_are_deployed_together() {
    let service = workspace();
    let _images = OtherImages(&[API, JOB]);
    let namespace = ["--namespace", service.name];
    let run = |args: &[&str], code: i32| kdev(&service, &[args, &namespace].concat(), code);
    let stdout = |args: &[&str]| String::from_utf8(run(args, 0).stdout).unwrap();

    // The first service does not compile; the others are deployed.
    write_program(&service, API, "absent()");
    let stderr = stderr_text(&run(&["up"], 101));
    assert!(stderr.contains(&format!("error: {API}: ")), "{stderr}");
    let first = pods(&service);
    assert_eq!(first.keys().collect::<Vec<_>>(), [JOB, WEB], "{stderr}");

    // Only this service is new.
    write_program(&service, API, "");
    run(&["up"], 0);
    let second = pods(&service);
    assert_eq!((&second[WEB], &second[JOB]), (&first[WEB], &first[JOB]));
    assert!(second[API].1.starts_with(&format!("{API}:kdev-")), "{second:?}");

    // A change of one service replaces its pod only.
    write_program(&service, JOB, "println!(\"changed\")");
    let stderr = stderr_text(&run(&["up"], 0));
    let third = pods(&service);
    assert_eq!((&third[WEB], &third[API]), (&second[WEB], &second[API]), "{stderr}");
    assert_ne!(third[JOB].1, second[JOB].1, "{stderr}");

    let status = stdout(&["status"]);
    let rendered = String::from_utf8(kdev(&service, &["render"], 0).stdout).unwrap();
    for (name, (_, image)) in &third {
        assert!(status.contains(name.as_str()), "{status}");
        assert!(rendered.contains(&format!("image: {image}")), "{rendered}");
    }
    assert!(!status.contains("outdated"), "{status}");
    let expected = format!("no problems found in namespace `{}`\n", service.name);
    assert_eq!(stdout(&["why"]), expected);
    let checks = stdout(&["doctor", "--node", "node-1"]);
    for name in NAMES {
        assert!(checks.contains(&format!("project (package {name})\n")), "{checks}");
    }
    assert_eq!(checks.matches("node node-1").count(), 1, "{checks}");

    let stderr = stderr_text(&run(&["down", "--images"], 0));
    assert_eq!(get(service.name, &["deployments"])["items"], serde_json::json!([]), "{stderr}");
    for name in NAMES {
        assert_eq!(images_on("node-1", &format!("/{name}:")), [""; 0], "{stderr}");
    }
}
