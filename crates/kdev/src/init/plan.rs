//! Plans all files that are missing, and explains the plan.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::BuilderChoice;
use crate::init::image::{self, BuildPlace, ImageBuilder};
use crate::init::manifest::{self, ManifestFormat, Workload, WorkloadType};
use crate::init::package::Program;
use crate::init::sources::SourceFacts;
use crate::init::toolchain::Toolchain;
use crate::init::{Error, Result, onboarding, settings, signal};
use crate::process;

/// The source of cargo-kdev is only needed for the script.
const SCRIPT: &str = "scripts/onboard.sh";
/// Folders and files of version control systems that cargo supports, and Jujutsu.
const REPOSITORIES: [&str; 6] = [".git", ".jj", ".hg", ".pijul", ".fslckout", "_FOSSIL_"];

/// What `init` has found, and the files that it writes.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct InitReport {
    /// The facts about the project and this machine.
    pub findings: Vec<InitFinding>,
    /// The files, including those that exist and stay unchanged.
    pub files: Vec<InitFile>,
    /// Sentences without a final period: problems that the files do not solve.
    pub notes: Vec<String>,
    /// A handler for SIGTERM, to copy into the program that has none.
    pub handler: Option<String>,
    /// The next command.
    pub next: String,
}

/// A fact about the project or this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct InitFinding {
    /// The subject, such as `port`.
    pub subject: &'static str,
    /// The fact.
    pub value: String,
    /// Where it was found.
    pub source: String,
}

/// A file of the project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct InitFile {
    /// The path.
    pub path: PathBuf,
    /// What happens to the file.
    pub action: FileAction,
    /// The text before.
    #[serde(skip)]
    pub before: String,
    /// The text afterwards; empty for a file that stays unchanged.
    pub text: String,
}

/// What happens to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FileAction {
    /// It is created.
    Create,
    /// It is created, and can be executed.
    CreateExecutable,
    /// Lines are added at its end.
    Append,
    /// It exists and stays unchanged.
    Keep,
}

/// The facts that the plan depends on.
pub(crate) struct Facts {
    pub(crate) program: Program,
    pub(crate) sources: SourceFacts,
    pub(crate) builder: ImageBuilder,
    pub(crate) toolchain: Option<Toolchain>,
    /// The existing Dockerfile.
    pub(crate) dockerfile: Option<PathBuf>,
    /// The builder of the settings, if they select one.
    pub(crate) configured_builder: Option<BuilderChoice>,
    /// The existing manifests.
    pub(crate) manifests: Option<PathBuf>,
    /// The arguments of `cargo install` for cargo-kdev.
    pub(crate) kdev_source: Option<String>,
    /// The current context of the kubeconfig.
    pub(crate) current_context: Option<String>,
}

/// The choices of the user.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) kind: Option<WorkloadType>,
    pub(crate) port: Option<u16>,
    pub(crate) format: ManifestFormat,
    pub(crate) secrets: bool,
    /// The builder of the flag.
    pub(crate) builder: Option<BuilderChoice>,
    pub(crate) context: Option<String>,
    /// The flags that select the package, each after a space.
    pub(crate) flags: String,
}

/// Returns whether the directory is in a repository.
pub(crate) fn is_in_repository(dir: &Path) -> bool {
    dir.ancestors().any(|dir| REPOSITORIES.iter().any(|name| dir.join(name).exists()))
}

/// Returns whether the onboarding script is missing.
pub(crate) fn needs_script(workspace_root: &Path) -> bool {
    !workspace_root.join(SCRIPT).exists()
}

/// Plans the files.
pub(crate) fn plan(facts: &Facts, options: &Options) -> Result<InitReport> {
    let mut plan = Plan {
        facts,
        options,
        name: manifest::object_name(&facts.program.package),
        report: InitReport {
            findings: Vec::new(),
            files: Vec::new(),
            notes: Vec::new(),
            handler: None,
            next: format!("cargo kdev up{}", options.flags),
        },
    };
    plan.find_program();
    let port = plan.port();
    let kind = plan.kind(port.as_ref())?;
    let port = port.filter(|_| kind == WorkloadType::Service);
    let lock = read_if_present(&facts.program.workspace_root.join("Cargo.lock"))?;
    let place = plan.choose_place(lock.as_deref().unwrap_or_default());
    plan.find_tools(place.as_ref().map(|(place, _)| place));
    plan.add_manifests(kind, port.as_ref())?;
    let port = port.map(|(port, _)| port);
    let place = plan.add_image(place, port, lock.is_some())?;
    plan.add_settings(place.as_ref(), port)?;
    plan.add_script(kind == WorkloadType::Service, place.as_ref());
    plan.add_notes(kind);
    Ok(plan.report)
}

struct Plan<'a> {
    facts: &'a Facts,
    options: &'a Options,
    name: String,
    report: InitReport,
}

impl Plan<'_> {
    fn found(&mut self, subject: &'static str, value: String, source: &str) {
        self.report.findings.push(InitFinding { subject, value, source: source.to_owned() });
    }

    fn note(&mut self, text: String) {
        self.report.notes.push(text);
    }

    fn find_program(&mut self) {
        let program = &self.facts.program;
        let value = format!("package `{}`, edition {}", program.package, program.edition);
        self.found("package", value, "Cargo.toml");
        let main = program.main.strip_prefix(&program.dir).unwrap_or(&program.main);
        let others = match program.others.len() {
            0 => String::new(),
            _ => format!("; other binaries: {}", program.others.join(", ")),
        };
        self.found("binary", format!("`{}`{others}", program.binary), &main.to_string_lossy());
    }

    /// Returns the port, and its source.
    fn port(&mut self) -> Option<(u16, String)> {
        let sources = &self.facts.sources;
        let in_source = || {
            let (port, location) = sources.ports.first()?;
            Some((port.number, location.to_string()))
        };
        let in_dockerfile = || {
            let path = self.facts.dockerfile.as_ref()?;
            let (port, line) = image::exposed_port(&fs::read_to_string(path).ok()?)?;
            Some((port, format!("{}:{line}", self.relative(path).display())))
        };
        // The program reads the port from a variable, which the manifest sets.
        let in_variable = || sources.port_variable.as_ref().map(|at| (8080, at.to_string()));
        let flag = self.options.port.map(|port| (port, "--port".to_owned()));
        let port = flag.or_else(in_source).or_else(in_variable).or_else(in_dockerfile);
        if let Some((port, source)) = &port {
            self.found("port", port.to_string(), source);
        }
        let others: Vec<String> = sources
            .ports
            .iter()
            .skip(1)
            .map(|(port, at)| format!("{} ({at})", port.number))
            .collect();
        if !others.is_empty() && self.options.port.is_none() {
            let text = format!(
                "the Service has only one port; pass `--port` to select another one: {}",
                others.join(", ")
            );
            self.note(text);
        }
        port
    }

    /// Returns how the program runs.
    fn kind(&mut self, port: Option<&(u16, String)>) -> Result<WorkloadType> {
        let (kind, reason, source) = match (self.options.kind, port) {
            (Some(WorkloadType::Service), None) => return Err(Error::PortNotFound),
            (Some(kind), _) => (kind, "as selected".to_owned(), "--kind".to_owned()),
            (None, Some((_, source))) => {
                (WorkloadType::Service, "the program listens on a port".to_owned(), source.clone())
            }
            (None, None) => match &self.facts.sources.keeps_running {
                Some(at) => (
                    WorkloadType::Worker,
                    "the program keeps running, and no port was found".to_owned(),
                    at.to_string(),
                ),
                None => (
                    WorkloadType::Job,
                    "the program ends on its own, and a Deployment would restart it forever"
                        .to_owned(),
                    "no loop, wait or server in the source files".to_owned(),
                ),
            },
        };
        let value = match kind {
            WorkloadType::Service => "Deployment and Service",
            WorkloadType::Worker => "Deployment",
            WorkloadType::Job => "Job",
        };
        self.found("workload", format!("{value}: {reason}"), &source);
        Ok(kind)
    }

    /// Returns where the program is built, and the reason; `None` if a Dockerfile exists or none
    /// is needed.
    fn choose_place(&self, lock: &str) -> Option<(BuildPlace, String)> {
        let Facts { program, builder, toolchain, dockerfile, configured_builder, .. } = self.facts;
        let flag = self.options.builder.as_ref();
        if dockerfile.is_some() && flag != Some(&BuilderChoice::Cargo) {
            return None;
        }
        let choice = flag.or(configured_builder.as_ref());
        Some(BuildPlace::choose(program, builder, toolchain.as_ref(), lock, choice))
    }

    fn find_tools(&mut self, place: Option<&BuildPlace>) {
        let builder = &self.facts.builder;
        if builder.is_available || place != Some(&BuildPlace::Cargo) {
            self.found("builder", builder.description.clone(), "PATH");
        }
        if let Some(toolchain) = &self.facts.toolchain {
            let targets = toolchain.targets.join(", ");
            let value = format!("Rust {} with targets {targets}", toolchain.version);
            self.found("toolchain", value, "rustc");
        }
        match (&self.options.context, &self.facts.current_context) {
            (Some(context), _) => self.found("context", context.clone(), "--context"),
            (None, Some(context)) => self.found("context", context.clone(), "kubeconfig"),
            (None, None) => self.found("context", "none".to_owned(), "kubeconfig"),
        }
    }

    fn add_manifests(&mut self, kind: WorkloadType, port: Option<&(u16, String)>) -> Result<()> {
        if let Some(path) = &self.facts.manifests {
            self.keep(path);
            if self.options.secrets {
                self.note("the manifests exist, so no Secret was added to them".to_owned());
            }
            return Ok(());
        }
        let program = &self.facts.program;
        let secret = format!("{}-env", self.name);
        let is_chart = self.options.format == ManifestFormat::Chart;
        let secrets = self.options.secrets && !is_chart;
        let workload = Workload {
            kind,
            name: &self.name,
            image: &self.name,
            port: port.map(|(port, _)| *port),
            port_source: port.map_or("", |(_, source)| source),
            uses_api: program.uses_api,
            secret: secrets.then_some(&secret),
            facts: &self.facts.sources,
        };
        let text = workload.manifest();
        if self.options.secrets && is_chart {
            self.note("a chart cannot generate a Secret from a file, so none was added".to_owned());
        }
        let dir = program.dir.join("k8s");
        for (name, text) in manifest::files(&self.name, &text, self.options.format, secrets) {
            self.create(dir.join(name), text)?;
        }
        Ok(())
    }

    /// Adds the Dockerfile and the ignore file, and returns where the program is built.
    fn add_image(
        &mut self,
        place: Option<(BuildPlace, String)>,
        port: Option<u16>,
        locked: bool,
    ) -> Result<Option<BuildPlace>> {
        let program = &self.facts.program;
        if let Some(path) = &self.facts.dockerfile {
            // Empty if the settings select cargo, which needs none.
            if !path.as_os_str().is_empty() {
                self.keep(path);
            }
        }
        let Some((place, reason)) = place else { return Ok(None) };
        self.found("build", place.describe(&self.facts.builder), &reason);
        let Some((dockerfile, ignore_file)) = place.files(program, port, locked) else {
            return Ok(Some(place));
        };
        self.create(program.dir.join("Dockerfile"), dockerfile)?;
        // Docker reads the file in the build context.
        let ignore_path = program.workspace_root.join(".dockerignore");
        let last = ignore_file.lines().last().unwrap_or_default().to_owned();
        let existing = read_if_present(&ignore_path)?;
        if existing.as_ref().is_some_and(|text| !text.lines().any(|line| line == last)) {
            let text = format!(
                "`{}` exists; if the build of the image does not find a file, add `{last}`",
                self.relative(&ignore_path).display()
            );
            self.note(text);
        }
        self.create(ignore_path, ignore_file)?;
        Ok(Some(place))
    }

    fn add_settings(&mut self, place: Option<&BuildPlace>, port: Option<u16>) -> Result<()> {
        let program = &self.facts.program;
        let path = program.dir.join("Cargo.toml");
        let overrides = self.facts.configured_builder.is_some();
        let builder = self.options.builder.as_ref();
        let builder = builder.filter(|one| overrides || **one != BuilderChoice::Auto);
        let folder = program.path_in_workspace();
        let lines = settings::table(&self.name, place, port, builder, folder);
        if program.table.is_null() {
            let before = read(&path)?;
            let text = settings::append_table(&path, &before, &lines)?;
            self.append(path, before, text);
        } else {
            let missing = settings::missing_lines(&lines, &program.table);
            if !missing.is_empty() {
                let text = format!(
                    "the image needs `{}` in `[package.metadata.kdev]`, which exists",
                    missing.join("; ")
                );
                self.note(text);
            }
        }
        self.add_local_settings()?;
        let mut ignored = vec!["/kdev.local.toml"];
        if self.options.secrets {
            ignored.push("/k8s/.env");
        }
        let path = program.dir.join(".gitignore");
        let before = read_if_present(&path)?;
        let of_workspace = read_if_present(&program.workspace_root.join(".gitignore"))?;
        if program.dir != program.workspace_root {
            // Entries without a folder also count in the members.
            let known = of_workspace.unwrap_or_default();
            ignored.retain(|entry| {
                let name = entry.rsplit('/').next().unwrap_or_default();
                !known.lines().any(|line| line.trim() == name)
            });
        }
        let text = before.as_deref().unwrap_or_default();
        match (settings::ignore_lines(text, &ignored), before.clone()) {
            (Some(text), Some(before)) => self.append(path, before, text),
            (Some(text), None) => self.create(path, text)?,
            (None, _) => {}
        }
        Ok(())
    }

    fn add_local_settings(&mut self) -> Result<()> {
        let Some(context) = &self.options.context else { return Ok(()) };
        let path = self.facts.program.dir.join("kdev.local.toml");
        match settings::allow_context(read_if_present(&path)?.as_deref(), context) {
            Ok(Some(text)) => self.create(path, text)?,
            Ok(None) => self.keep(&path),
            Err(line) => {
                let text = format!("`kdev.local.toml` exists; set `{line}` in it");
                self.note(text);
                self.keep(&path);
            }
        }
        Ok(())
    }

    fn add_script(&mut self, has_port: bool, place: Option<&BuildPlace>) {
        let program = &self.facts.program;
        let path = program.workspace_root.join(SCRIPT);
        if path.exists() {
            self.keep(&path);
            return;
        }
        let is_member = !program.path_in_workspace().as_os_str().is_empty();
        let needs_docker = match place {
            Some(place) => *place != BuildPlace::Cargo,
            None => self.facts.configured_builder != Some(BuilderChoice::Cargo),
        };
        let source = self.facts.kdev_source.as_deref();
        let text = onboarding::script(
            source.unwrap_or_default(),
            is_member.then_some(program.package.as_str()),
            has_port,
            needs_docker,
        );
        if source.is_none() {
            let text =
                format!("the source of cargo-kdev is not known; set `KDEV_SOURCE` in `{SCRIPT}`");
            self.note(text);
        }
        self.add(path, FileAction::CreateExecutable, String::new(), text);
    }

    fn add_notes(&mut self, kind: WorkloadType) {
        let sources = &self.facts.sources;
        let is_selected = self.options.port.is_some();
        if let Some((port, at)) = sources.ports.first().filter(|(port, _)| port.is_loopback)
            && !is_selected
        {
            let text = format!(
                "{at} listens on a loopback address, which no other pod can reach; listen on \
                 `0.0.0.0:{}`",
                port.number
            );
            self.note(text);
        }
        if !sources.handles_sigterm && kind != WorkloadType::Job {
            self.report.handler = Some(signal::handler(sources.is_async).to_owned());
        }
        if self.options.context.is_none() && self.facts.current_context.is_some() {
            let context = self.facts.current_context.as_deref().unwrap_or_default();
            let text = format!(
                "`up` asks before it changes the cluster of context `{context}`, unless it is a \
                 local one; `cargo kdev init --context {}` allows it",
                kdev_core::shell::quote(context)
            );
            self.note(text);
        }
    }

    fn relative<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(&self.facts.program.dir).unwrap_or(path)
    }

    /// Adds a new file; an existing one is kept.
    fn create(&mut self, path: PathBuf, text: String) -> Result<()> {
        match path.symlink_metadata() {
            Ok(_) => self.keep(&path),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.add(path, FileAction::Create, String::new(), text);
            }
            Err(error) => return Err(process::Error::read(path)(error).into()),
        }
        Ok(())
    }

    fn append(&mut self, path: PathBuf, before: String, text: String) {
        self.add(path, FileAction::Append, before, text);
    }

    fn keep(&mut self, path: &Path) {
        self.add(path.to_owned(), FileAction::Keep, String::new(), String::new());
    }

    fn add(&mut self, path: PathBuf, action: FileAction, before: String, text: String) {
        self.report.files.push(InitFile { path, action, before, text });
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| process::Error::read(path)(error).into())
}

fn read_if_present(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(process::Error::read(path)(error).into()),
    }
}
