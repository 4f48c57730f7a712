//! Runs the onboarding script of a project on a new Debian 12: with cargo-kdev from the packed
//! crates, up to a page that a pod in the lab answers.

use super::debian_root::{DebianRoot, PREINSTALLED};
use super::report::Section;
use crate::lab;
use crate::paths;
use crate::term::{self, format_duration};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use xshell::{Shell, cmd};

/// The namespace.
const NAME: &str = "onboard";
const TEMPLATE: &str = "templates/service";
/// The project in the new root.
const PROJECT: &str = "root/hello";
/// The crates, in both roots.
const CRATES: &str = "/root/crates";
/// The tools that the script requires.
const TOOLS: [&str; 6] = ["docker", "cargo", "cc", "git", "kubectl", "ssh"];
/// The tools that the new Debian gets from this machine. The script installs the others.
const MOUNTED: [&str; 2] = ["docker", "kubectl"];
const PATH: &str =
    "/opt/rust/bin:/opt/tools:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The script without a terminal. `--yes` agrees to the installation of packages.
const ONBOARD: &str = "exec hello/scripts/onboard.sh --yes --context kdev-lab 2>&1";
/// Runs the script with each program of PATH but one.
const WITHOUT_TOOL: &str = "
mkdir /tmp/bin
for folder in $(echo \"$PATH\" | tr : ' '); do
    for program in \"$folder\"/*; do
        [ -e \"/tmp/bin/${program##*/}\" ] || ln -s \"$program\" /tmp/bin/
    done
done
rm \"/tmp/bin/$TOOL\"
code=0
PATH=/tmp/bin hello/scripts/onboard.sh --context kdev-lab 2>&1 || code=$?
rm -r /tmp/bin
exit $code
";
/// The second run must not take longer.
const AGAIN: Duration = Duration::from_secs(3);

pub(super) fn run(sh: &Shell, section: &mut Section) -> Result<()> {
    let lab_sh = &lab::up(sh)?.shell(sh);
    let root = DebianRoot::create(sh, NAME)?;
    let crates = paths::tool_cache()?.join("onboard-crates");
    let outcome = prepare(sh, &root, &crates).and_then(|()| {
        let machine = Machine { sh: lab_sh, root: &root, mounts: mounts(lab_sh, &crates)? };
        machine.onboard(section)
    });
    let namespace = cmd!(lab_sh, "kubectl --context kdev-lab delete namespace {NAME} --wait=false");
    let removed = namespace.quiet().ignore_stdout().run().map_err(Into::into);
    section.add_removal_check("the namespace", &removed);
    let removed = root.remove().and_then(|()| Ok(fs::remove_dir_all(&crates)?));
    section.add_removal_check("the new Debian", &removed);
    outcome
}

/// Writes the project, whose script installs cargo-kdev from the folder with the packed crates.
fn prepare(sh: &Shell, root: &DebianRoot, crates: &Path) -> Result<()> {
    vendor(sh, crates)?;
    root.add_sources(sh, "root/sources")?;
    fs::rename(root.path("root/sources").join(TEMPLATE), root.path(PROJECT))?;
    fs::remove_dir_all(root.path("root/sources"))?;
    fs::create_dir_all(root.path("root/.cargo"))?;
    fs::write(
        root.path("root/.cargo/config.toml"),
        format!(
            "source.crates-io.replace-with = \"packed\"\nsource.packed.directory = \"{CRATES}\"\n"
        ),
    )?;
    let script = root.path(PROJECT).join("scripts/onboard.sh");
    let text = fs::read_to_string(&script)?;
    let source = ": \"${KDEV_SOURCE=}\"";
    ensure!(text.contains(source), "`onboard.sh` has no line `{source}`");
    let pinned = format!("--registry crates-io --version ={}", env!("CARGO_PKG_VERSION"));
    fs::write(&script, text.replace(source, &format!(": \"${{KDEV_SOURCE={pinned}}}\"")))?;
    let settings = root.path(PROJECT).join("kdev.local.toml");
    Ok(fs::write(settings, format!("namespace = \"{NAME}\"\n"))?)
}

/// Fills a folder with all crates as a registry would have them: those of this workspace from
/// their packages.
fn vendor(sh: &Shell, folder: &Path) -> Result<()> {
    let _ = fs::remove_dir_all(folder);
    let template = paths::repository().join(TEMPLATE).join("Cargo.toml");
    cmd!(sh, "cargo vendor --quiet --locked --sync {template} {folder}")
        .quiet()
        .ignore_stdout()
        .run()?;
    let target = folder.with_extension("target");
    cmd!(sh, "cargo package --quiet --workspace --exclude xtask --no-verify --no-metadata --allow-dirty --target-dir {target}")
        .quiet()
        .run()?;
    for entry in fs::read_dir(target.join("package"))? {
        let package = entry?.path();
        if package.extension().is_some_and(|extension| extension == "crate") {
            cmd!(sh, "tar --extract --gzip --file {package} --directory {folder}").quiet().run()?;
            let name = package.file_stem().context("a package without a name")?;
            let sum = cmd!(sh, "sha256sum {package}").quiet().read()?;
            let checksum = sum.split(' ').next().unwrap_or_default();
            let text = format!("{{\"files\":{{}},\"package\":\"{checksum}\"}}");
            fs::write(folder.join(name).join(".cargo-checksum.json"), text)?;
        }
    }
    Ok(fs::remove_dir_all(target)?)
}

/// Returns the folders of this machine that the new one can read.
fn mounts(sh: &Shell, crates: &Path) -> Result<Vec<(PathBuf, String)>> {
    let sysroot = cmd!(sh, "rustc --print sysroot").quiet().read()?;
    let state = lab::state_path("").display().to_string();
    Ok(vec![
        (sysroot.into(), "/opt/rust".to_owned()),
        (crates.to_owned(), CRATES.to_owned()),
        (state.clone().into(), state.trim_end_matches('/').to_owned()),
    ])
}

/// The result of a script.
struct Output {
    code: i32,
    text: String,
    duration: Duration,
}

/// The new Debian, with access to the lab.
struct Machine<'a> {
    sh: &'a Shell,
    root: &'a DebianRoot,
    mounts: Vec<(PathBuf, String)>,
}

impl Machine<'_> {
    fn run(&self, script: &str, tool: &str) -> Result<Output> {
        let variables = ["KUBECONFIG", "KDEV_SSH_CONFIG", "KDEV_LAB", "DOCKER_HOST"];
        let variables = variables.iter().filter_map(|name| Some((*name, self.sh.var(name).ok()?)));
        let started = Instant::now();
        let command = self.root.command(self.sh, &self.mounts, script)?;
        let command = command.envs(variables).env("PATH", PATH).env("TOOL", tool);
        let output = command.quiet().ignore_status().output()?;
        let code = output.status.code().context("the script was killed")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(Output { code, text, duration: started.elapsed() })
    }

    fn onboard(&self, section: &mut Section) -> Result<()> {
        self.add_tools()?;
        let namespace = cmd!(self.sh, "kubectl --context kdev-lab create namespace {NAME}");
        namespace.quiet().ignore_stdout().run()?;
        let packages = PREINSTALLED.join(", ");
        section.add_fact("work", format!("`scripts/onboard.sh --yes` of `{TEMPLATE}` on a new Debian 12 (minbase, {packages}, cargo, docker, kubectl), which installs git, ssh, and cargo-kdev from the packed crates"));
        term::status("Running", "the onboarding script on a new Debian 12 (3 to 10 minutes)");
        let first = self.run(ONBOARD, "")?;
        section.add_fact("time of the first run", format_duration(first.duration));
        add_check(section, "the script deploys the project", &first, first.code == 0);
        if first.code != 0 {
            return Ok(());
        }
        let page = self.page();
        let result = page.as_ref().map_or_else(|error| format!("{error:#}"), Clone::clone);
        section.add_check("a pod answers", result.trim(), page.is_ok());
        let again = self.run(ONBOARD, "")?;
        section.add_fact("time of the second run", format_duration(again.duration));
        let is_unchanged = again.code == 0 && again.text.contains("Unchanged");
        add_check(section, "the second run changes nothing", &again, is_unchanged);
        let result = format_duration(again.duration);
        section.add_check("it takes at most 3 s", result, again.duration <= AGAIN);
        for tool in TOOLS {
            let output = self.run(WITHOUT_TOOL, tool)?;
            let expected = format!("missing: {tool}; install it with: ");
            let is_named = output.code == 1 && output.text.contains(&expected);
            add_check(section, &format!("a missing `{tool}` is named"), &output, is_named);
        }
        Ok(())
    }

    /// Copies tools of this machine, and the settings of Docker with its plugins.
    fn add_tools(&self) -> Result<()> {
        let folder = self.root.path("opt/tools");
        fs::create_dir_all(&folder)?;
        for tool in MOUNTED {
            let program = cmd!(self.sh, "which {tool}").quiet().read()?;
            fs::copy(fs::canonicalize(program)?, folder.join(tool))?;
        }
        if let Ok(settings) = self.sh.var("DOCKER_CONFIG") {
            let home = self.root.path("root/.docker");
            cmd!(self.sh, "cp --recursive --dereference {settings} {home}").quiet().run()?;
        }
        Ok(())
    }

    /// Fetches a page from a pod.
    fn page(&self) -> Result<String> {
        let path = "jsonpath={.items[0].status.podIP}";
        let pods = cmd!(
            self.sh,
            "kubectl --context kdev-lab --namespace {NAME} get pods --selector app=hello --output {path}"
        );
        let address = pods.quiet().read()?;
        let url = format!("http://{address}:8080/");
        Ok(cmd!(self.sh, "curl --silent --fail --max-time 5 {url}").quiet().read()?)
    }
}

fn add_check(section: &mut Section, name: &str, output: &Output, passed: bool) {
    if !passed {
        term::print(&output.text);
    }
    section.add_check(name, format!("exit code {}", output.code), passed);
}
