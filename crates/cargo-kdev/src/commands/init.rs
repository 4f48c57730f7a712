//! `cargo kdev init`: flags and output. Shows the files before they are written.

use std::fmt::Write;

use clap::{Args, ValueEnum};
use kdev::{
    BuilderChoice, ClusterTarget, Cx, Error, FileAction, InitFile, InitFinding, InitReport,
    InitRequest, ManifestFormat, WorkloadType,
};
use serde::Serialize;

use crate::commands::render::write_diff;
use crate::flags::{ClusterArgs, ProjectArgs};
use crate::ui::{DONE, NOTE, Ui};

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one per flag")]
pub(crate) struct InitArgs {
    #[command(flatten)]
    project: ProjectArgs,
    /// Kube context to permit changes to, which kdev.local.toml keeps
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Kubeconfig to use
    #[arg(long, value_name = "PATH")]
    kubeconfig: Option<std::path::PathBuf>,
    /// How the program runs [default: detected]
    #[arg(long, value_name = "KIND")]
    kind: Option<KindArg>,
    /// Port that the program listens on [default: detected]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Form of the manifests
    #[arg(long, value_name = "FORMAT", default_value = "plain")]
    manifests: FormatArg,
    /// Program that builds the image: cargo, docker, buildx:NAME, podman, or auto, which detects
    /// Docker or Podman [default: cargo if it can, else detected]
    #[arg(long, value_name = "BUILDER")]
    builder: Option<BuilderChoice>,
    /// Set environment variables from a Secret, which is generated from a file
    #[arg(long)]
    secrets: bool,
    /// Write the files without a question; only --context permits changes to a cluster
    #[arg(short, long)]
    yes: bool,
    /// Write the files outside of a repository
    #[arg(long)]
    allow_no_vcs: bool,
    /// Only show the files
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KindArg {
    Service,
    Worker,
    Job,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FormatArg {
    Plain,
    Kustomize,
    Chart,
}

impl From<InitArgs> for InitRequest {
    fn from(init: InitArgs) -> Self {
        let target =
            ClusterTarget::from(ClusterArgs { context: init.context, kubeconfig: init.kubeconfig });
        Self {
            selection: init.project.into(),
            target,
            kind: init.kind.map(|kind| match kind {
                KindArg::Service => WorkloadType::Service,
                KindArg::Worker => WorkloadType::Worker,
                KindArg::Job => WorkloadType::Job,
            }),
            port: init.port,
            format: match init.manifests {
                FormatArg::Plain => ManifestFormat::Plain,
                FormatArg::Kustomize => ManifestFormat::Kustomize,
                FormatArg::Chart => ManifestFormat::Chart,
            },
            builder: init.builder,
            secrets: init.secrets,
            yes: init.yes,
            allow_no_vcs: init.allow_no_vcs,
        }
    }
}

/// The plan, and the result, in the JSON output.
#[derive(Serialize)]
struct InitLine<'a, T> {
    version: u32,
    reason: &'static str,
    #[serde(flatten)]
    content: &'a T,
}

#[derive(Serialize)]
struct InitResult {
    written: bool,
}

impl Ui {
    /// Runs `cargo kdev init`, and prints the plan and its result.
    pub(crate) fn init(&self, cx: &Cx, args: InitArgs) -> Result<(), Error> {
        let mut plan = None;
        let show = |report: &InitReport| {
            self.print_init_plan(report);
            plan = Some(report.clone());
        };
        let written = kdev::init(cx, &args.into(), show)?;
        if let Some(report) = &plan {
            self.print_init_result(report, written);
        }
        Ok(())
    }

    /// Prints the facts, and the files as a diff.
    fn print_init_plan(&self, report: &InitReport) {
        if self.json {
            self.stdout.write_json(&line("init-plan", report));
            return;
        }
        if !self.quiet {
            for InitFinding { subject, value, source, .. } in &report.findings {
                self.print_line(NOTE, "Found", &format!("{subject}: {value} ({source})"));
            }
            for file in report.files.iter().filter(|file| file.action == FileAction::Keep) {
                let path = display(file);
                self.print_line(NOTE, "Found", &format!("{path}, which stays unchanged"));
            }
        }
        self.stdout.write_styled(format_files(report));
        if self.quiet {
            return;
        }
        for note in &report.notes {
            self.print_line(NOTE, "Note", note);
        }
        if let Some(handler) = &report.handler {
            let text = "the program has no handler for SIGTERM, so each rollout kills it; to end \
                        on its own, it needs:";
            self.print_line(NOTE, "Note", text);
            let lines = handler.lines().map(|line| format!("    {line}\n"));
            self.bars.suspend(|| {
                let _ = std::io::Write::write_all(
                    &mut anstream::stderr(),
                    lines.collect::<String>().as_bytes(),
                );
            });
        }
    }

    /// Prints the files that were written, and the next command.
    fn print_init_result(&self, report: &InitReport, written: bool) {
        if self.json {
            self.stdout.write_json(&line("init-result", &InitResult { written }));
            return;
        }
        if self.quiet {
            return;
        }
        let changes: Vec<&InitFile> =
            report.files.iter().filter(|file| file.action != FileAction::Keep).collect();
        if changes.is_empty() {
            self.print_line(DONE, "Unchanged", "all files exist");
        } else if !written {
            self.print_line(NOTE, "Note", "no file was written");
            return;
        }
        for file in changes {
            let verb = if file.action == FileAction::Append { "Extended" } else { "Created" };
            self.print_line(DONE, verb, &display(file));
        }
        self.print_line(DONE, "Finished", &format!("next, run `{}`", report.next));
    }
}

fn line<'a, T>(reason: &'static str, content: &'a T) -> InitLine<'a, T> {
    InitLine { version: kdev::JSON_VERSION, reason, content }
}

/// Returns the path, relative to the current directory if possible.
fn display(file: &InitFile) -> String {
    let dir = std::env::current_dir().unwrap_or_default();
    file.path.strip_prefix(dir).unwrap_or(&file.path).display().to_string()
}

/// Formats the files as a diff.
fn format_files(report: &InitReport) -> String {
    let mut lines = String::new();
    for file in report.files.iter().filter(|file| file.action != FileAction::Keep) {
        let path = display(file);
        let before = if file.action == FileAction::Append { &path } else { "/dev/null" };
        write_diff(&mut lines, (before, &path), &file.before, &file.text);
        if file.action == FileAction::CreateExecutable {
            let _ = writeln!(lines, "(executable)");
        }
    }
    lines
}
