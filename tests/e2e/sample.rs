//! Deploys the sample in `templates/service`, and runs the example of the library.

use std::fs;
use std::path::Path;

use crate::exclusive::{Claim, Part, Permit};
use crate::lab::{command, get, run, state, wait_for};
use crate::namespace::{self, DeleteOnDrop};
use crate::test_service::{Service, fetch};

const NAME: &str = "sample";
const GREETING: &str = "hello, cluster";
const NEW_GREETING: &str = "hello again, cluster";

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let from = entry.unwrap().path();
        let to = to.join(from.file_name().unwrap());
        match from.is_dir() {
            true if from.ends_with("target") => {}
            true => copy_dir(&from, &to),
            false => drop(fs::copy(&from, &to).unwrap()),
        }
    }
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn sample_runs_on_both_nodes_and_is_updated() {
    let _permit = Permit::acquire(NAME, Claim::both_nodes().uses(Part::Capacity));
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(NAME);
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../templates/service");
    copy_dir(&template, &dir);
    namespace::delete(NAME);
    namespace::wait_until_gone(NAME);
    namespace::create(NAME);
    let _deleted = DeleteOnDrop(NAME);
    let up = || {
        let mut up = command(env!("CARGO_BIN_EXE_cargo-kdev"));
        up.args(["kdev", "up", "--namespace", NAME, "--context", "kdev-lab"]).current_dir(&dir);
        up.arg("--kubeconfig")
            .arg(state("kubeconfig"))
            .arg("--ssh-config")
            .arg(state("ssh/config"));
        run(up.env_remove("CARGO_TARGET_DIR"));
    };
    up();
    let nodes = get(NAME, &["pods"])["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pod| pod["spec"]["nodeName"].to_string())
        .collect::<std::collections::BTreeSet<_>>();
    assert_eq!(nodes.len(), 2, "{nodes:?}");
    let address =
        get(NAME, &["service", "hello"])["spec"]["clusterIP"].as_str().unwrap().to_owned();
    let page =
        |greeting: &str| fetch(&format!("http://{address}/")).starts_with(greeting).then_some(());
    wait_for("the page", || page(GREETING));

    let source = fs::read_to_string(dir.join("src/main.rs")).unwrap();
    assert!(source.contains(GREETING));
    fs::write(dir.join("src/main.rs"), source.replace(GREETING, NEW_GREETING)).unwrap();
    up();
    wait_for("the changed page", || page(NEW_GREETING));
}

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn library_example_builds_loads_and_deploys() {
    let service = Service::new("team");
    let program = Path::new(env!("CARGO_BIN_EXE_cargo-kdev")).with_file_name("examples/team_xtask");
    let mut task = command(program.to_str().unwrap());
    task.arg("team").current_dir(service.dir()).env("KUBECONFIG", state("kubeconfig"));
    // The library reads no `KDEV_` variables, so the SSH configuration is a setting.
    let config = format!("namespace = \"team\"\nssh-config = {:?}\n", state("ssh/config"));
    service.write("kdev.local.toml", &config);
    let stdout = run(&mut task);
    assert!(stdout.starts_with("built team:kdev-"), "{stdout}");
    assert!(
        stdout.contains(" bytes to node-1\n") && stdout.contains(" bytes to node-2\n"),
        "{stdout}"
    );
    assert!(stdout.ends_with("deployment/team has 2 ready pods\n"), "{stdout}");
}
