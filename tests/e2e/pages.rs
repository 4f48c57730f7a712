//! Runs the commands of pages in docs/.

use std::fs;

use crate::lab::{command, kubectl, run, state};
use crate::test_service::Service;

#[test]
#[ignore = "needs the lab: `cargo xtask test`"]
fn image_imported_by_hand_runs() {
    let service = Service::on_node("node-1", "by-hand");
    let page =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/pull-policy.md"))
            .unwrap();
    let block = |language: &str| {
        let (_, rest) = page.split_once(&format!("```{language}\n")).unwrap();
        rest.split("```").next().unwrap().replace("hello:", &format!("{}:", service.name))
    };
    // The lab has its own SSH configuration.
    let commands = block("sh");
    assert!(commands.contains("| ssh node-1 "), "{commands}");
    let ssh = format!("ssh -F {} ", state("ssh/config").display());
    let commands = commands.replace("ssh ", &ssh);
    run(command("sh").current_dir(service.dir()).args(["-euc", &commands]));

    let manifest = fs::read_to_string(service.path("k8s/all.yaml")).unwrap();
    let image = format!("image: {}:latest # as built", service.name);
    let fields = block("yaml").trim().replace('\n', "\n        ");
    assert!(manifest.contains(&image), "{manifest}");
    let apply = |manifest: &str| {
        service.write("by-hand.yaml", manifest);
        let path = service.path("by-hand.yaml");
        run(&mut kubectl(service.name, &["apply", "--filename", path.to_str().unwrap()]));
    };
    apply(&manifest.replace(&image, &fields));
    let rollout = ["rollout", "status", "deployment/by-hand", "--timeout=60s"];
    run(&mut kubectl(service.name, &rollout));
    assert!(service.pages().iter().all(|(_, page)| page == "first"), "{:?}", service.pages());
}
