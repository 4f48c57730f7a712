//! Projects whose identity is not certain: renamed packages, and machines without a machine ID.

use std::fs;
use std::process::{Command, Output};

use kdev_core::kube::owner;

use crate::lab::{command, get, kubectl, run, run_help, stderr_text};
use crate::owners::{Copy, config_map, objects, workload};
use crate::test_service::Service;

/// Changes the name of the package.
fn rename(project: &Copy, before: &str, after: &str) {
    let path = project.dir.join("Cargo.toml");
    let text = fs::read_to_string(&path).unwrap();
    let (before, after) = (format!("\nname = \"{before}\""), format!("\nname = \"{after}\""));
    assert!(text.contains(&before), "{text}");
    fs::write(path, text.replace(&before, &after)).unwrap();
}

/// Creates a project whose image has the name of the service, whatever its package is named.
fn project_with_image<'a>(service: &'a Service, manifest: &str) -> Copy<'a> {
    let project = Copy::in_folder(service, "project");
    let cargo = project.dir.join("Cargo.toml");
    let text = fs::read_to_string(&cargo).unwrap();
    let image = format!("[package.metadata.kdev]\nimage = \"{}\"\n", service.name);
    fs::write(cargo, format!("{text}{image}")).unwrap();
    project.write(manifest);
    project
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn renamed_package_takes_over_its_objects() {
    let name = "renamed";
    let service = Service::on_node("node-1", name);
    let manifest = workload(name, name);
    let project = project_with_image(&service, &(manifest.clone() + &config_map("extra", name)));
    let project = project.commit();
    project.ok(&["up"]);
    rename(&project, name, "shop");
    let stderr = project.down();
    let note = "Note this project has applied package `renamed` (`";
    assert!(stderr.contains(note) && !stderr.contains("Deleted"), "{stderr}");
    // Another package could have applied an object that is not in the manifests.
    project.write(&manifest);
    let stderr = project.ok(&["up", "--prune"]);
    let note = "Note `configmap/extra` is not in the manifests, and package `renamed` of this project recorded it in `configmap/kdev-renamed-";
    assert!(stderr.contains(note) && !stderr.contains("Deleted"), "{stderr}");
    // Follow the advice.
    let (_, advice) = stderr.split_once("; run `").unwrap();
    run_help(&format!("  help: run `{advice}"));
    let stderr = project.ok(&["up"]);
    assert!(stderr.contains("Deleted configmap/kdev-renamed-"), "{stderr}");
    let stderr = project.down();
    assert!(stderr.contains("Deleted cronjob.batch/renamed from kdev-lab"), "{stderr}");
    assert!(objects(name).is_empty(), "{:?}", objects(name));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn objects_of_renamed_package_are_deleted_under_its_name() {
    let name = "renamed-back";
    let service = Service::on_node("node-1", name);
    let manifest = workload(name, name);
    let project = project_with_image(&service, &(manifest.clone() + &config_map("extra", name)));
    project.ok(&["up"]);
    rename(&project, name, "shop");
    project.write(&manifest).ok(&["up"]);
    let stderr = project.down();
    let note = "Note `cronjob.batch/renamed-back` stays because package `renamed-back` (`";
    assert!(stderr.contains(note), "{stderr}");
    let advice = "if package `renamed-back` was renamed, set `name = \"renamed-back\"` in `Cargo.toml` and run `cargo kdev down`";
    assert!(stderr.contains(advice), "{stderr}");
    // Follow the advice.
    rename(&project, "shop", name);
    let stderr = project.down();
    assert!(stderr.contains("Deleted configmap/extra, cronjob.batch/renamed-back"), "{stderr}");
    assert!(objects(name).is_empty(), "{:?}", objects(name));
}

/// A machine without a machine ID, with a folder for state.
struct Machine<'a> {
    project: &'a Copy<'a>,
    state: &'a str,
}

impl Machine<'_> {
    fn run(&self, args: &[&str]) -> Output {
        let service = self.project.service;
        let kdev = service.kdev(&[args, &["--namespace", service.name]].concat());
        self.without_machine_id(&kdev).output().unwrap()
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{}", stderr_text(&output));
        stderr_text(&output)
    }

    fn without_machine_id(&self, kdev: &Command) -> Command {
        let script = "mount --bind /dev/null /etc/machine-id && exec \"$@\"";
        let mut hidden = command("unshare");
        hidden.args(["--mount", "sh", "-c", script, "sh"]);
        hidden.arg(kdev.get_program()).args(kdev.get_args()).current_dir(&self.project.dir);
        hidden.envs(kdev.get_envs().filter_map(|(name, value)| Some((name, value?))));
        hidden.env("XDG_STATE_HOME", self.project.service.path(self.state));
        hidden
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn machines_without_machine_id_are_distinguished() {
    let name = "machine-id";
    let service = Service::on_node("node-1", name);
    let project = Copy::in_folder(&service, "project");
    project.write(&workload(name, name));
    let [first, second] = ["a", "b"].map(|state| Machine { project: &project, state });
    first.ok(&["up"]);
    assert!(first.ok(&["up"]).contains("Unchanged"));
    // Both have the same host name, and a folder with the same path.
    let stderr = second.ok(&["down"]);
    let note = "Note another project has applied package `machine-id` (`";
    assert!(stderr.contains(note) && !stderr.contains("Deleted"), "{stderr}");

    // What an older kdev would have recorded.
    let record = objects(name).into_iter().find(|id| id.starts_with("configmap/")).unwrap();
    let host = get(name, &[&record])["metadata"]["annotations"]["kdev/host"].clone();
    let machine = format!("kdev/machine={}", owner::machine(host.as_str().unwrap(), ""));
    run(&mut kubectl(name, &["annotate", "--overwrite", &record, &machine]));
    let stderr = second.ok(&["down"]);
    let note = "Note a machine with this name has applied package `machine-id` (`";
    assert!(stderr.contains(note) && !stderr.contains("Deleted"), "{stderr}");
    // Follow the advice.
    let stderr = second.ok(&["up"]);
    assert!(stderr.contains("Deleted configmap/kdev-machine-id-"), "{stderr}");
    let stderr = second.ok(&["down"]);
    assert!(stderr.contains("Deleted cronjob.batch/machine-id from kdev-lab"), "{stderr}");
    assert!(objects(name).is_empty(), "{:?}", objects(name));
}
