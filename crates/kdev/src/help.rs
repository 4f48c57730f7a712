//! What helps against each error: one action, to copy where that is possible.
//!
//! The words fit after `help: `.

use std::cmp::Ordering;

use crate::cmd::{Failure, Outcome, quoted};
use crate::error::{DockerHost, Error};
use crate::fault::NodeError;
use crate::placement;
use crate::refusal::{Conflict, Immutable};
use crate::subject::Asked;
use crate::syntax::TEMPLATE;
use crate::wanted::Change;
use crate::words::list;
use crate::workload::Cure;

impl Error {
    /// One action that helps, to copy where that is possible.
    pub fn help(&self) -> Option<String> {
        let text = match self {
            Self::Metadata(failure) => metadata_help(&failure.stderr),
            Self::WhichPackage { .. } => "name one with `--package NAME`".into(),
            Self::UnknownKey { key, nearest: Some(nearest), .. } => {
                let table =
                    key.rsplit_once('.').map_or(String::new(), |(table, _)| format!("{table}."));
                format!("did you mean `{table}{nearest}`?")
            }
            Self::UnknownKey { .. } => "remove it; the README lists the known keys".into(),
            Self::ImageName(_) => {
                "set another one: `image = \"name\"` in `[package.metadata.kdev]`".into()
            }
            Self::NoDockerfile { .. } => {
                "write one there, as the README shows, or set `dockerfile = \"path\"` in `[package.metadata.kdev]`"
                    .into()
            }
            Self::NoManifest { by: Some(command), .. } => {
                format!("write a first one with `{command}`")
            }
            Self::NoManifest { .. } => {
                "write one, or correct `manifests = [\"path/*.yaml\"]` in `[package.metadata.kdev]`"
                    .into()
            }
            Self::ImageUnused { image, nearest: Some((path, line, found)), .. } => format!(
                "write `image: {image}` in line {line} of `{}`, or set `image = \"{}\"` in `[package.metadata.kdev]`",
                path.display(),
                without_tag(found)
            ),
            Self::ImageUnused { image, found, .. } => unused_help(image, found),
            Self::ToolMissing { cure, .. } | Self::ToolOld { cure, .. } => (*cure).into(),
            Self::DockerDown { source, asked } => docker_help(&source.stderr, asked.as_ref()),
            Self::Generator(folder, failure) => generator_help(&folder.to_string_lossy(), failure),
            Self::NoContext { missing } | Self::UnknownContext { missing, .. }
                if !missing.is_empty() =>
            {
                let missing: Vec<_> = missing.iter().map(|path| path.to_string_lossy()).collect();
                let verb = if missing.len() == 1 { "does" } else { "do" };
                format!(
                    "{} {verb} not exist: name the file that has it in KUBECONFIG, or with `--kubeconfig FILE`",
                    list(&missing)
                )
            }
            Self::NoContext { .. } => {
                "name one with `--context NAME`; `kubectl config get-contexts` lists them".into()
            }
            Self::UnknownContext { known, .. } if known.is_empty() => {
                "name the file that has it with `--kubeconfig FILE`".into()
            }
            Self::UnknownContext { known, .. }
            | Self::NoNamespace { known, .. }
            | Self::UnknownNode { known, .. } => {
                format!("use one of {}", list(known))
            }
            Self::UnknownWorkload { known, .. } if known.is_empty() => {
                "name another namespace with `--namespace NAME`".into()
            }
            Self::UnknownWorkload { asked, known, .. } => workload_help(asked, known),
            Self::Record { .. } => "make it anew with `cargo kdev why --record FILE`".into(),
            Self::ContextNotAllowed { context, .. } => format!(
                "if it is meant, name it with `--context {context}`, or for good with `contexts = [\"{context}\"]` in `[package.metadata.kdev]`"
            ),
            Self::ClusterUnreachable { kubectl, .. } => {
                format!("check it with `{kubectl} get nodes`")
            }
            Self::Refused { kubectl, source, .. } => refused_help(kubectl, &source.stderr),
            Self::Conflicts { conflicts, .. } => conflicts_help(conflicts).into(),
            Self::Immutable { immutables, kubectl, .. } => immutable_help(kubectl, immutables),
            Self::LoadName { .. } | Self::NoImage { .. } => {
                "name one that `docker image ls` lists, as `NAME:TAG`".into()
            }
            Self::NotBuilt { by, .. } => format!("run `{by}`, which builds it"),
            Self::Archive { .. } => {
                "write one with `docker save --output FILE.tar NAME:TAG`".into()
            }
            Self::BadValue { place, reason, .. } => value_help(place, &reason.0),
            Self::Manifest { made_by: Some(command), line, .. } => {
                format!("see line {line} of it with `{command}`")
            }
            Self::Manifest { reason, .. } if reason.0 == TEMPLATE => {
                "name the folder of its chart in `manifests`, or a file that `helm template` has written".into()
            }
            Self::Manifest { path, line, .. } => {
                format!("change line {line} of `{}`", path.display())
            }
            Self::WrongPlatform { node_platform, .. } => {
                format!("build for the node: set DOCKER_DEFAULT_PLATFORM={node_platform}")
            }
            Self::NoNode { kubectl, reasons, .. } => no_node_help(kubectl, reasons),
            Self::Nodes(failures) => return failures.first().and_then(NodeError::help),
            Self::Explained(explained) => return explained.diagnoses.first().map(|d| d.help.clone()),
            Self::RolloutFailed { pod: Some(pod), kubectl, .. } => {
                format!("see `{kubectl} describe pod {pod}`")
            }
            Self::RolloutFailed { workload, kubectl, .. } => {
                format!("see `{kubectl} describe {workload}`")
            }
            Self::RolloutHeld { workload, cure, kubectl, .. } => held_help(kubectl, workload, *cure),
            Self::Superseded { .. } => "if this build shall run, run this again".into(),
            Self::Altered { changes, kubectl, .. } => altered_help(kubectl, changes),
            Self::Unverified { node, .. } => {
                format!("set `imagePullCredentialsVerificationPolicy: NeverVerifyPreloadedImages`, its default, in the configuration of the kubelet on node `{node}`, and restart that")
            }
            Self::RolloutTimedOut { workload, kubectl, .. } => {
                format!(
                    "see `{kubectl} describe {workload}`; if it only needs longer, give `--timeout SECONDS`"
                )
            }
            Self::Build { elsewhere: Some(target), .. } => format!(
                "the Dockerfile copies from `target/`, and cargo builds into `{}`, which docker does not see: unset CARGO_TARGET_DIR, or set `context` in `[package.metadata.kdev]`",
                target.display()
            ),
            Self::Build { source, .. } if matches!(source.outcome, Outcome::Code(_)) => {
                "see the build's own output above".into()
            }
            _ => return None,
        };
        Some(text)
    }
}

/// cargo names the file that is wrong, and as a rule the line.
fn metadata_help(stderr: &str) -> String {
    let place = stderr.lines().find_map(|line| line.trim().strip_prefix("--> "));
    let mut parts = place.unwrap_or_default().rsplitn(3, ':');
    if let (Some(_), Some(line), Some(path)) = (parts.next(), parts.next(), parts.next()) {
        return format!("correct line {line} of `{path}`");
    }
    let named = stderr.split("parse manifest at `").nth(1).and_then(|rest| rest.split('`').next());
    match named {
        Some(path) => format!("correct `{path}`"),
        None if stderr.contains("could not find `Cargo.toml`") => {
            "run it in a folder with a Cargo.toml, or name one with `--manifest-path`".to_owned()
        }
        None => "see `cargo metadata --no-deps`".to_owned(),
    }
}

fn value_help(place: &str, reason: &str) -> String {
    let line = reason.strip_prefix("TOML parse error at line ").and_then(|r| r.split(',').next());
    match line {
        Some(line) => format!("correct line {line} of {place}"),
        None => "the README lists what each key takes".to_owned(),
    }
}

fn unused_help(image: &str, found: &[String]) -> String {
    match found {
        [] => format!(
            "write `image: {image}` into a container of what makes the pods: a Deployment, a StatefulSet, …"
        ),
        [one] => format!(
            "name it in the manifest, or set `image = \"{}\"` in `[package.metadata.kdev]`",
            without_tag(one)
        ),
        _ => format!(
            "name it in the manifest, or set `image` in `[package.metadata.kdev]` to one of {}",
            list(found)
        ),
    }
}

/// What helps against what the API server says.
fn refused_help(kubectl: &str, stderr: &str) -> String {
    let says = |sign: &str| stderr.contains(sign);
    let after = |sign: &str| stderr.split(sign).nth(1).and_then(|rest| rest.split('"').next());
    match after("namespaces \"") {
        Some(name) if says("not found") => {
            let kubectl = without_namespace(kubectl);
            return format!("create it with `{kubectl} create namespace {name}`");
        }
        _ => {}
    }
    if says("failed calling webhook") || says("denied the request") {
        let hooks = "validatingwebhookconfigurations,mutatingwebhookconfigurations";
        let name = after("webhook \"").map(|name| format!(" of `{name}`")).unwrap_or_default();
        return format!("meet the rule{name}; see `{kubectl} get {hooks}`");
    }
    if says("violates PodSecurity") {
        return "give the pods a `securityContext` that the namespace's level allows".to_owned();
    }
    if says("no matches for kind") {
        return format!("install what brings the kind; see `{kubectl} api-resources`");
    }
    if says("exceeded quota") {
        return format!("see `{kubectl} describe quota`");
    }
    if says("(Forbidden)") && says("cannot ") {
        return format!("see what you may do with `{kubectl} auth can-i --list`");
    }
    if says("is invalid: ") || says("unknown field") || says("failed to create typed patch") {
        return "correct this field in the manifest".to_owned();
    }
    format!("try it with `{kubectl} apply --server-side --dry-run=server -f FILE`")
}

/// kubectl for what lives in no namespace.
fn without_namespace(kubectl: &str) -> &str {
    kubectl.rsplit_once(" --namespace ").map_or(kubectl, |(rest, _)| rest)
}

/// What lets a node take the pods, where that is the cluster's to change.
pub(crate) fn no_node_help(kubectl: &str, reasons: &[(String, String)]) -> String {
    let kubectl = without_namespace(kubectl);
    let of_label = |(node, why): &(String, String)| {
        let label = why.strip_prefix(placement::LACKS_LABEL)?.trim_matches('`');
        Some(format!("give a node the label with `{kubectl} label node {node} {}`", quoted(label)))
    };
    let cordoned = |(node, why): &(String, String)| {
        let help = format!("let pods go there again with `{kubectl} uncordon {node}`");
        (why == placement::IS_CORDONED).then_some(help)
    };
    let found = reasons.iter().find_map(cordoned).or_else(|| reasons.iter().find_map(of_label));
    found.unwrap_or_else(|| {
        "change the pods' node selector, affinity or tolerations in the manifest".to_owned()
    })
}

/// With the one first that looks most like what was asked for.
fn workload_help(asked: &str, known: &[String]) -> String {
    let name = |id: &str| id.rsplit('/').next().unwrap_or_default().to_owned();
    let likeness = |id: &str| strsim::jaro_winkler(&name(asked), &name(id));
    let nearest = known.iter().filter(|id| likeness(id) > 0.8);
    // Of a Deployment and its pods the Deployment.
    let nearest = nearest.max_by(|a, b| {
        let key = |id: &str| (likeness(id), !id.starts_with("pod/"));
        key(a).partial_cmp(&key(b)).unwrap_or(Ordering::Equal)
    });
    let is_known = Asked::parse(asked).is_some();
    let about = if is_known { "" } else { "it can be asked about pods and what makes them: " };
    let Some(nearest) = nearest else {
        return format!("{about}use one of {}, or another `--namespace NAME`", list(known));
    };
    let others: Vec<&String> = known.iter().filter(|id| *id != nearest).collect();
    match others.as_slice() {
        [] => format!("{about}did you mean `{nearest}`?"),
        others => format!("{about}did you mean `{nearest}`? If not, use one of {}", list(others)),
    }
}

/// What an autoscaler sets is taken from it only to be set again.
fn conflicts_help(conflicts: &[Conflict]) -> &'static str {
    if conflicts.iter().all(|conflict| conflict.field == ".spec.replicas") {
        "whoever scales it shall go on to do so: take `replicas` out of the manifest; or take it over with `--force-conflicts`"
    } else if conflicts.iter().all(|conflict| conflict.manager.starts_with("kubectl")) {
        "write into the manifest what kubectl has changed in the cluster, or put the manifest's back with `--force-conflicts`"
    } else {
        "if these fields shall be kdev's, take them over with `--force-conflicts`"
    }
}

fn immutable_help(kubectl: &str, immutables: &[Immutable]) -> String {
    if immutables.iter().all(Immutable::is_remakable) {
        "delete it with its pods and create it anew with `--recreate`".to_owned()
    } else {
        format!(
            "rename it, or delete it with what it holds: `{kubectl} delete {}`",
            immutables[0].id()
        )
    }
}

fn held_help(kubectl: &str, workload: &str, cure: Cure) -> String {
    match cure {
        Cure::Resume => format!("let it go on with `{kubectl} rollout resume {workload}`"),
        Cure::Unsuspend => {
            let patch = r#"--patch '{"spec":{"suspend":false}}'"#;
            format!("let it run with `{kubectl} patch {workload} {patch}`")
        }
        Cure::DeletePods => {
            format!(
                "see its pods with `{kubectl} get pods`, delete the old ones, and run this again"
            )
        }
    }
}

fn altered_help(kubectl: &str, changes: &[Change]) -> String {
    if changes.iter().all(|change| change.field == "imagePullPolicy" && change.live == "Always") {
        return "nothing that is not in a registry runs there: start the API server without it, with `--disable-admission-plugins=AlwaysPullImages`".to_owned();
    }
    format!(
        "find it with `{kubectl} get mutatingwebhookconfigurations`, and let it leave this namespace alone"
    )
}

fn generator_help(folder: &str, Failure { command, stderr, .. }: &Failure) -> String {
    if stderr.contains("helm dependency build") {
        return format!("fetch what it depends on with `helm dependency build {}`", quoted(folder));
    }
    // With it helm shows what it has made, even where that is no YAML.
    let debug = if command.starts_with("helm ") { " --debug" } else { "" };
    format!("mend the folder, and try it with `{command}{debug}`")
}

fn without_tag(image: &str) -> &str {
    crate::image::split_tag(image).0
}

fn docker_help(stderr: &str, asked: Option<&DockerHost>) -> String {
    if stderr.contains("permission denied") {
        return "add yourself to its group with `sudo usermod -aG docker $USER`, and log in again"
            .to_owned();
    }
    match asked {
        Some(DockerHost { context, address }) if context == "default" => {
            format!("DOCKER_HOST is `{address}`: unset or correct it")
        }
        Some(DockerHost { context, address }) => format!(
            "docker's context `{context}` is at `{address}`: start the daemon there, or take this machine's with `docker context use default`"
        ),
        None => "start it with `sudo systemctl start docker`, or set DOCKER_HOST to one that runs"
            .to_owned(),
    }
}
