//! Renders charts with `helm`: against the cluster for `up`, otherwise offline.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use flate2::read::GzDecoder;
use kdev_core::kube::object::format_id;
use kdev_core::text::list;
use kdev_manifest::chart::{ChartFeatures, VaryingObject, varying_objects};
use kdev_manifest::definitions::definitions;
use xshell::{Cmd, cmd};

use crate::cluster::kubeconfig::ClusterTarget;
use crate::cluster::{Cluster, KUBECTL_TIMEOUT};
use crate::config::{Config, HelmSettings, RELEASE_LIMIT};
use crate::cx::Cx;
use crate::event::Event;
use crate::manifests::error::{Error, Result};
use crate::manifests::source::Manifest;
use crate::parallel::run_both;
use crate::process::{Command, Failure};
use crate::tools::{self, HELM, HELM_WITH_LOOKUP};

/// Limits one rendering; dependencies can be remote.
pub(super) const RENDER_TIMEOUT: Duration = Duration::from_secs(120);
/// The variables with which `helm` would use another cluster, user, or namespace than kdev.
const CLUSTER_VARIABLES: [&str; 9] = [
    "HELM_KUBEAPISERVER",
    "HELM_KUBEASGROUPS",
    "HELM_KUBEASUSER",
    "HELM_KUBECAFILE",
    "HELM_KUBECONTEXT",
    "HELM_KUBEINSECURE_SKIP_TLS_VERIFY",
    "HELM_KUBETLS_SERVER_NAME",
    "HELM_KUBETOKEN",
    "HELM_NAMESPACE",
];
/// Larger files of a chart are data.
const FILE_LIMIT: u64 = 16 << 20;
/// Charts are less deep; links can form a cycle.
const DEPTH_LIMIT: usize = 20;
/// More fields than this are not listed in a note.
const LISTED_LIMIT: usize = 3;

/// The cluster for which charts are rendered.
#[derive(Clone, Copy)]
pub(crate) enum RenderTarget<'a> {
    /// None: `lookup` returns nothing.
    Offline(&'a ClusterTarget),
    /// This one, which the user selected in this way: `lookup` returns live objects.
    Cluster(&'a Cluster, &'a ClusterTarget),
}

/// Renders a chart.
pub(super) fn render(
    cx: &Cx,
    folder: &Path,
    config: &Config,
    target: RenderTarget,
) -> Result<Manifest> {
    let mut features = ChartFeatures::default();
    scan(folder, DEPTH_LIMIT, &mut features);
    for file in config.helm.values.iter().flatten() {
        if !file.is_file() {
            return Err(Error::ValuesNotFound(file.clone()));
        }
        scan(file, 0, &mut features);
    }
    let chart = Chart { cx, folder, config, target, features };
    let flags = chart.cluster_flags()?;
    let first = match target {
        RenderTarget::Cluster(cluster, _) if chart.features.may_vary => {
            let (first, second) = run_both(|| chart.run(&flags), || chart.run(&flags));
            let first = first?;
            if let Ok(second) = second {
                note_varying(cx, cluster, &first.text, &second.text);
            }
            first
        }
        _ => chart.run(&flags)?,
    };
    Ok(first)
}

struct Chart<'a> {
    cx: &'a Cx<'a>,
    folder: &'a Path,
    config: &'a Config,
    target: RenderTarget<'a>,
    features: ChartFeatures,
}

impl Chart<'_> {
    /// Returns the flags that make the output depend on the cluster.
    fn cluster_flags(&self) -> Result<Vec<String>> {
        let RenderTarget::Cluster(cluster, target) = self.target else { return Ok(Vec::new()) };
        let mut flags = Vec::new();
        if self.features.uses_lookup {
            if !cluster.is_same_for_helm(self.cx, target)? {
                return Err(Error::OtherKubeconfig { context: cluster.context.clone() });
            }
            flags.push("--dry-run=server".to_owned());
        }
        // Without `--validate`, which requires that Helm has installed the live objects, Helm
        // assumes its own Kubernetes version, and only adds APIs to those that it knows.
        if self.features.uses_capabilities {
            flags.extend(capability_flags(self.cx, cluster, &self.features.api_versions)?);
        }
        Ok(flags)
    }

    fn run(&self, flags: &[String]) -> Result<Manifest> {
        let command = self.command(flags)?;
        let mut generated_by = command.to_string();
        let output = match command.read(self.cx) {
            // Helm 4 requires that it has installed the live objects itself, or this flag.
            Err(failure)
                if failure.stderr.contains("cannot be imported into the current release") =>
            {
                let flags = [flags, &["--take-ownership".to_owned()]].concat();
                let command = self.command(&flags)?;
                generated_by = command.to_string();
                command.read(self.cx)
            }
            output => output,
        };
        let output = output.map_err(|failure| self.error(failure))?;
        let text = String::from_utf8(output.stdout)
            .map_err(|error| tools::Error::unexpected(HELM.name, error))?;
        Ok(Manifest {
            path: self.folder.to_owned(),
            text,
            generated_by: Some(generated_by),
            uses_lookup: self.features.uses_lookup,
        })
    }

    fn error(&self, source: Failure) -> Error {
        // Before 3.13, `--dry-run` had no value.
        if source.stderr.contains("invalid argument \"server\" for \"--dry-run\"")
            && let Err(error) = HELM_WITH_LOOKUP.check_version(self.cx)
        {
            return error.into();
        }
        let folder = self.folder.to_owned();
        match self.target {
            RenderTarget::Cluster(cluster, _) if source.stderr.contains("error calling lookup") => {
                Error::Lookup { folder, kubectl: cluster.display_command(None), source }
            }
            _ => Error::Render(folder, source),
        }
    }

    fn command(&self, flags: &[String]) -> Result<Command> {
        let (sh, program) = (self.cx.shell()?, HELM.find()?);
        let (folder, settings) = (self.folder, &self.config.helm);
        let release = settings.release.clone();
        let release = release.unwrap_or_else(|| release_name(&self.config.package));
        // Test hooks are only for `helm test`.
        let mut cmd = cmd!(sh, "{program} template {release} {folder} --skip-tests");
        for variable in CLUSTER_VARIABLES {
            cmd = cmd.env_remove(variable);
        }
        let cmd = match (self.target, &self.config.namespace) {
            (RenderTarget::Cluster(cluster, _), _) => cmd.args(cluster.helm_flags()),
            (_, Some(namespace)) => cmd.arg("--namespace").arg(namespace),
            (RenderTarget::Offline(target), None) => with_context(cmd, target),
        };
        let cmd = cmd.args(flags).args(value_flags(settings));
        Ok(Command::new(cmd).timeout(RENDER_TIMEOUT))
    }
}

/// Returns the flags that the settings add.
fn value_flags(settings: &HelmSettings) -> Vec<OsString> {
    let mut flags: Vec<OsString> = Vec::new();
    for file in settings.values.iter().flatten() {
        flags.extend(["--values".into(), file.into()]);
    }
    for text in settings.set.iter().flatten() {
        flags.extend(["--set".into(), text.into()]);
    }
    for version in settings.api_versions.iter().flatten() {
        flags.extend(["--api-versions".into(), version.into()]);
    }
    flags
}

/// Passes the context to `helm`, which then uses its namespace, as kdev does.
fn with_context<'a>(mut cmd: Cmd<'a>, target: &ClusterTarget) -> Cmd<'a> {
    if let Some(kubeconfig) = &target.kubeconfig {
        cmd = cmd.arg("--kubeconfig").arg(kubeconfig);
    }
    match target.explicit_context() {
        Some(context) => cmd.arg("--kube-context").arg(context),
        None => cmd,
    }
}

/// Converts the package's name to a valid name of a release: lowercase letters, digits, and
/// hyphens, without a hyphen at either end.
fn release_name(package: &str) -> String {
    let convert = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String =
        package.chars().map(convert).skip_while(|c| *c == '-').take(RELEASE_LIMIT).collect();
    name.trim_end_matches('-').to_owned()
}

/// Adds the features of all files of a chart, also of packaged dependencies. `helm` reports
/// files that cannot be read.
fn scan(path: &Path, depth: usize, features: &mut ChartFeatures) {
    let is_small = fs::metadata(path).is_ok_and(|data| data.is_file() && data.len() <= FILE_LIMIT);
    if is_small {
        let mut bytes = fs::read(path).unwrap_or_default();
        if path.extension().is_some_and(|extension| extension == "tgz") {
            let mut unpacked = Vec::new();
            // The texts of a tar archive are not encoded.
            let _ = GzDecoder::new(&bytes[..]).take(FILE_LIMIT).read_to_end(&mut unpacked);
            bytes = unpacked;
        }
        features.add_file(&String::from_utf8_lossy(&bytes));
    } else if depth > 0 {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            scan(&entry.path(), depth - 1, features);
        }
    }
}

/// Returns the flags for the Kubernetes version, and for those of the API versions that the
/// cluster has.
fn capability_flags(
    cx: &Cx,
    cluster: &Cluster,
    candidates: &BTreeSet<String>,
) -> Result<Vec<String>> {
    let get = |args: &[&str]| {
        let sh = cx.shell()?;
        let command = Command::new(cluster.cmd(&sh, None).args(args)).timeout(KUBECTL_TIMEOUT);
        let failed = |failure| cluster.request_error(failure, "read the versions of the cluster");
        Ok::<_, Error>(command.read(cx).map_err(failed)?.text())
    };
    let (version, apis) = run_both(|| get(&["get", "--raw=/version"]), || get(&["api-versions"]));
    let version: serde_json::Value = serde_json::from_str(&version?)
        .map_err(|error| tools::Error::unexpected("kubectl", error))?;
    let mut flags = Vec::new();
    if let Some(version) = version["gitVersion"].as_str() {
        flags.push(format!("--kube-version={version}"));
    }
    let apis = apis?;
    // A version with a kind, such as `apps/v1/Deployment`.
    let has_kind = |api: &&String| api.rsplit('/').next().is_some_and(starts_uppercase);
    let kinds = if candidates.iter().any(|api| has_kind(&api)) {
        get(&["api-resources", "--no-headers"])?
    } else {
        String::new()
    };
    let known: BTreeSet<String> =
        apis.lines().map(str::to_owned).chain(kinds.lines().filter_map(version_and_kind)).collect();
    let found: Vec<&str> = candidates.intersection(&known).map(String::as_str).collect();
    if !found.is_empty() {
        flags.push(format!("--api-versions={}", found.join(",")));
    }
    Ok(flags)
}

fn starts_uppercase(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase())
}

/// Parses a line of `kubectl api-resources`: name, short names if any, API version, whether it
/// is namespaced, and kind.
fn version_and_kind(line: &str) -> Option<String> {
    let mut columns = line.split_whitespace().rev();
    let (kind, _, version) = (columns.next()?, columns.next()?, columns.next()?);
    Some(format!("{version}/{kind}"))
}

/// Reports the objects that each rendering changes. An object that does not exist yet may be
/// kept from now on: the chart may look it up.
fn note_varying(cx: &Cx, cluster: &Cluster, first: &str, second: &str) {
    // An error is reported when the text is read.
    let (Ok(first), Ok(second)) = (definitions(first), definitions(second)) else { return };
    let objects = varying_objects(&first, &second);
    let live = if objects.is_empty() { BTreeSet::new() } else { live_ids(cx, cluster, &objects) };
    for object in &objects {
        if object.fields.is_empty() || live.contains(&kubectl_id(object)) {
            cx.emit(Event::Note { text: varying_note(object) });
        }
    }
}

fn varying_note(VaryingObject { kind, name, fields, .. }: &VaryingObject) -> String {
    let id = format_id(kind, name);
    let mut listed: Vec<&str> = fields.iter().map(String::as_str).collect();
    listed.dedup();
    let more = if listed.len() > LISTED_LIMIT { ", and other fields" } else { "" };
    let (verb, them) = if listed.len() == 1 { ("differs", "it") } else { ("differ", "them") };
    listed.truncate(LISTED_LIMIT);
    match listed.as_slice() {
        [] => format!(
            "{id} has another name each time the chart is rendered, so each `up` creates another object"
        ),
        listed => format!(
            "{id}: {}{more} {verb} each time the chart is rendered, so each `up` changes {them}; use `lookup` in the template to keep the live value",
            list(listed)
        ),
    }
}

/// Returns the objects that exist in the cluster; none if it cannot be read.
fn live_ids(cx: &Cx, cluster: &Cluster, objects: &[VaryingObject]) -> BTreeSet<String> {
    let namespaces: BTreeSet<Option<&str>> =
        objects.iter().map(|object| object.namespace.as_deref()).collect();
    let mut found = BTreeSet::new();
    for namespace in namespaces {
        let ids = objects.iter().filter(|object| object.namespace.as_deref() == namespace);
        let ids: Vec<String> = ids.map(kubectl_id).collect();
        let Ok(sh) = cx.shell() else { continue };
        let cmd = cluster.cmd(&sh, namespace).arg("get").args(&ids);
        let cmd = cmd.args(["--ignore-not-found", "--output=name"]);
        if let Ok(output) = Command::new(cmd).timeout(KUBECTL_TIMEOUT).read(cx) {
            found.extend(output.text().lines().map(str::to_owned));
        }
    }
    found
}

/// Returns the object as `kubectl get --output=name` prints it.
fn kubectl_id(object: &VaryingObject) -> String {
    let VaryingObject { group, kind, name, .. } = object;
    let dot = if group.is_empty() { "" } else { "." };
    format!("{}{dot}{group}/{name}", kind.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_name_is_valid_for_any_package() {
        assert_eq!(release_name("My_App"), "my-app");
        assert_eq!(release_name("_app_"), "app");
        assert_eq!(release_name(&"a-".repeat(40)).len(), 53);
        assert_eq!(release_name(&format!("b{}", "a-".repeat(40))).len(), 52);
        assert_eq!(release_name("größe"), "gr--e");
    }

    #[test]
    fn api_resources_are_parsed_with_and_without_short_names() {
        let table = [
            ("deployments   deploy   apps/v1   true   Deployment", "apps/v1/Deployment"),
            ("bindings               v1        true   Binding", "v1/Binding"),
        ];
        for (line, expected) in table {
            assert_eq!(version_and_kind(line).as_deref(), Some(expected));
        }
    }
}
