//! `cargo xtask demo`: starts the lab and deploys the sample service, on a new machine, too.

use crate::jobs::{Jobs, Step};
use crate::lab::{self, Lab};
use crate::paths;
use crate::term::{self, ErrorWithHelp, SlowTask};
use anyhow::{Context, Result, ensure};
use std::env;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};
use xshell::{Cmd, Shell, cmd};

const NAMESPACE: &str = "default";
/// The time in which the Service must have found its pods.
const SERVICE_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn run() -> Result<()> {
    let sh = Shell::new()?;
    let (lab, kdev) = prepare()?;
    let sh = lab.shell(&sh);
    up(&sh, &kdev)?;
    show_pods(&sh)?;
    show_page(&sh)?;
    term::status("Done", "change a line of templates/service/src/main.rs and run it again");
    Ok(())
}

/// Starts the lab and builds both projects at the same time.
fn prepare() -> Result<(Lab, PathBuf)> {
    let (mut lab, mut kdev) = (None, None);
    let start: Step<'_> = Box::new(|jobs| {
        lab = Some(lab::up_with_jobs(&Shell::new()?, jobs)?);
        Ok(())
    });
    let build: Step<'_> = Box::new(|jobs| {
        kdev = Some(build(jobs)?);
        // `cargo kdev up` reports a failure of this build, with its fix.
        let _ = build_sample(jobs);
        Ok(())
    });
    Jobs::default().run_all(vec![start, build])?;
    lab.zip(kdev).context("a step did not return a result")
}

/// Builds the program of this checkout and returns its path.
pub(crate) fn build(jobs: &Jobs) -> Result<PathBuf> {
    let sh = Shell::new()?;
    sh.change_dir(paths::repository());
    let build =
        cmd!(sh, "setpriv --pdeathsig TERM nice -n 19 cargo build --locked --package cargo-kdev");
    run_cargo(jobs, "cargo kdev", build)?;
    // The target folder of this program, too.
    let folder = env::current_exe()?.parent().context("no target folder")?.to_owned();
    Ok(folder.join("cargo-kdev"))
}

/// Builds the sample service for the first time, as `cargo kdev up` does.
fn build_sample(jobs: &Jobs) -> Result<()> {
    if sample().join("target").exists() {
        return Ok(());
    }
    let sh = Shell::new()?;
    sh.change_dir(sample());
    let build = cmd!(
        sh,
        "setpriv --pdeathsig TERM nice -n 19 cargo build --locked --package hello --release"
    );
    run_cargo(jobs, "the sample service", build.env_remove("CARGO_TARGET_DIR"))
}

fn run_cargo(jobs: &Jobs, name: &str, build: Cmd<'_>) -> Result<()> {
    let _slow = SlowTask::start("Building", name);
    let is_progress = |line: &str| line.starts_with("   Compiling ");
    jobs.run("cargo build", build, is_progress).map(drop)
}

fn sample() -> PathBuf {
    paths::repository().join("templates/service")
}

fn up(sh: &Shell, kdev: &Path) -> Result<()> {
    term::status("Running", "`cargo kdev up` in templates/service");
    let sh = sh.clone();
    sh.change_dir(sample());
    // The Dockerfile copies the program from the default target folder.
    let up = cmd!(sh, "{kdev} kdev up --namespace {NAMESPACE}").env_remove("CARGO_TARGET_DIR");
    up.quiet()
        .run()
        .map_err(|_| ErrorWithHelp::error("`cargo kdev up` failed", "fix the error above"))
}

fn show_pods(sh: &Shell) -> Result<()> {
    // Only the columns that matter, because lines of `--output wide` wrap in narrow terminals.
    let columns = "POD:.metadata.name,NODE:.spec.nodeName,STATUS:.status.phase,\
        IMAGE:.spec.containers[0].image,POLICY:.spec.containers[0].imagePullPolicy";
    let pods = format!("get pods --selector app=hello --output custom-columns={columns}");
    term::status("Running", "`kubectl get pods --selector app=hello`");
    let table = cmd!(sh, "kubectl --namespace {NAMESPACE}").args(pods.split(' ')).quiet().read()?;
    term::print(&table);
    for node in ["node-1", "node-2"] {
        ensure!(table.contains(node), "no pod is running on {node}");
    }
    Ok(())
}

/// Fetches the page from this machine through the Service.
fn show_page(sh: &Shell) -> Result<()> {
    let format = "jsonpath={.spec.clusterIP}";
    let get = cmd!(sh, "kubectl get service hello --namespace {NAMESPACE} --output {format}");
    let url = format!("http://{}/", get.quiet().read()?);
    term::status("Running", format!("`curl {url}`"));
    let start = Instant::now();
    loop {
        let page = cmd!(sh, "curl --silent --show-error --fail --max-time 5 {url}");
        match page.quiet().ignore_stderr().read() {
            Ok(page) => {
                term::print(&page);
                return Ok(());
            }
            Err(error) if start.elapsed() > SERVICE_TIMEOUT => return Err(error.into()),
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}
