//! `cargo xtask demo`: the main job, from nothing, on the sample service.

use crate::lab;
use crate::term::{self, Advised};
use anyhow::{Context, Result, ensure};
use std::env;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};
use xshell::{Shell, cmd};

/// Where the service is, in the cluster.
const NAMESPACE: &str = "default";
/// How long the Service may take to find its pods.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn run() -> Result<()> {
    let sh = Shell::new()?;
    let lab = lab::up(&sh)?;
    for (name, value) in lab.env() {
        sh.set_var(name, value);
    }
    let kdev = build(&sh)?;
    up(&sh, &kdev)?;
    show_pods(&sh)?;
    show_page(&sh)?;
    term::status("Done", "change a line of templates/service/src/main.rs and run it again");
    Ok(())
}

/// The program of this checkout.
pub(crate) fn build(sh: &Shell) -> Result<PathBuf> {
    cmd!(sh, "cargo build --quiet --package cargo-kdev").quiet().run()?;
    // cargo puts it beside this very program.
    let folder = env::current_exe()?.parent().context("no target folder")?.to_owned();
    Ok(folder.join("cargo-kdev"))
}

fn up(sh: &Shell, kdev: &Path) -> Result<()> {
    let sample = crate::root().join("templates/service");
    term::status("Running", "`cargo kdev up` in templates/service");
    let sh = sh.clone();
    sh.change_dir(sample);
    // The sample's own target folder is what its Dockerfile copies from.
    let up = cmd!(sh, "{kdev} kdev up --namespace {NAMESPACE}").env_remove("CARGO_TARGET_DIR");
    up.quiet().run().map_err(|_| Advised::error("the demo has failed", "see the error above"))
}

fn show_pods(sh: &Shell) -> Result<()> {
    // The columns that matter here; `--output wide` breaks on narrow screens.
    let columns = "POD:.metadata.name,NODE:.spec.nodeName,STATUS:.status.phase,\
        IMAGE:.spec.containers[0].image,POLICY:.spec.containers[0].imagePullPolicy";
    let pods = format!("get pods --selector app=hello --output custom-columns={columns}");
    term::status("Running", "`kubectl get pods --selector app=hello`");
    let table = cmd!(sh, "kubectl --namespace {NAMESPACE}").args(pods.split(' ')).quiet().read()?;
    term::print(&table);
    for node in ["node-1", "node-2"] {
        ensure!(table.contains(node), "no pod runs on {node}");
    }
    Ok(())
}

/// Through the Service, from this host.
fn show_page(sh: &Shell) -> Result<()> {
    let format = "jsonpath={.spec.clusterIP}";
    let get = cmd!(sh, "kubectl get service hello --namespace {NAMESPACE} --output {format}");
    let url = format!("http://{}/", get.quiet().read()?);
    term::status("Running", format!("`curl {url}`"));
    let begun = Instant::now();
    loop {
        let page = cmd!(sh, "curl --silent --show-error --fail --max-time 5 {url}");
        match page.quiet().ignore_stderr().read() {
            Ok(page) => {
                term::print(&page);
                return Ok(());
            }
            Err(error) if begun.elapsed() > PATIENCE => return Err(error.into()),
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}
