//! The manifests that `init` writes, each setting with its reason.

use std::fmt::Write;

use serde::Serialize;

use crate::init::sources::{Location, SourceFacts};
use crate::init::template::fill;

const DEPLOYMENT: &str = include_str!("files/deployment.yaml");
const SERVICE: &str = include_str!("files/service.yaml");
const JOB: &str = include_str!("files/job.yaml");
const KUSTOMIZATION: &str = include_str!("files/kustomization.yaml");
const GENERATOR: &str = include_str!("files/generator.yaml");
const CHART: &str = include_str!("files/Chart.yaml");
const VALUES: &str = include_str!("files/values.yaml");
const ENV: &str = include_str!("files/env");
/// The first port that a process without privileges may use by default.
const FIRST_UNPRIVILEGED_PORT: u16 = 1024;
/// The maximum length of a name.
const MAX_NAME: usize = 63;

/// How the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum WorkloadType {
    /// A Deployment and a Service.
    Service,
    /// A Deployment without a port.
    Worker,
    /// A Job.
    Job,
}

/// The form of the manifests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ManifestFormat {
    /// One file with all objects.
    #[default]
    Plain,
    /// A kustomization of this file.
    Kustomize,
    /// A Helm chart.
    Chart,
}

/// The facts that the manifest depends on.
pub(crate) struct Workload<'a> {
    pub(crate) kind: WorkloadType,
    /// The name of the objects.
    pub(crate) name: &'a str,
    pub(crate) image: &'a str,
    pub(crate) port: Option<u16>,
    /// The source of the port.
    pub(crate) port_source: &'a str,
    pub(crate) uses_api: bool,
    /// The Secret that sets environment variables.
    pub(crate) secret: Option<&'a str>,
    pub(crate) facts: &'a SourceFacts,
}

/// Returns the files of the manifests, relative to their folder. With secrets, a kustomization
/// generates the Secret from a file that git ignores.
pub(crate) fn files(
    name: &str,
    manifest: &str,
    format: ManifestFormat,
    secrets: bool,
) -> Vec<(String, String)> {
    let mut files = Vec::new();
    if format == ManifestFormat::Chart {
        files.push(("Chart.yaml".to_owned(), fill(CHART, &[("name", name)])));
        files.push(("values.yaml".to_owned(), fill(VALUES, &[("name", name)])));
        let template =
            manifest.replace(&format!("image: {name} #"), "image: {{ .Values.image }} #");
        files.push((format!("templates/{name}.yaml"), template));
        return files;
    }
    files.push((format!("{name}.yaml"), manifest.to_owned()));
    if format == ManifestFormat::Kustomize || secrets {
        let generator = if secrets { GENERATOR } else { "" };
        let generator = fill(generator, &[("name", name)]);
        let values = [("name", name), ("generator", generator.as_str())];
        files.push(("kustomization.yaml".to_owned(), fill(KUSTOMIZATION, &values)));
    }
    if secrets {
        files.push((".env".to_owned(), ENV.to_owned()));
        files.push((".env.example".to_owned(), ENV.to_owned()));
    }
    files
}

/// Returns the name of the objects for a package.
pub(crate) fn object_name(package: &str) -> String {
    let name = package.to_lowercase().replace('_', "-");
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    // The name of a Service starts with a letter.
    let name = name.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
    let name = name[..name.len().min(MAX_NAME)].trim_end_matches('-');
    if name.is_empty() { "app".to_owned() } else { name.to_owned() }
}

impl Workload<'_> {
    /// Returns the text of the manifest.
    pub(crate) fn manifest(&self) -> String {
        let values = [
            ("name", self.name.to_owned()),
            ("image", self.image.to_owned()),
            ("token", self.token()),
            ("grace", self.grace()),
            ("pod-security", self.pod_security()),
            ("ports", self.ports()),
            ("env", self.env()),
            ("readiness", self.readiness()),
            ("container-security", CONTAINER_SECURITY.to_owned()),
            ("requests", REQUESTS.to_owned()),
            ("mounts", self.mounts()),
            ("volumes", self.volumes()),
        ];
        let values: Vec<(&str, &str)> =
            values.iter().map(|(key, value)| (*key, value.as_str())).collect();
        match self.kind {
            WorkloadType::Job => fill(JOB, &values),
            WorkloadType::Worker => fill(DEPLOYMENT, &values),
            WorkloadType::Service => fill(&format!("{DEPLOYMENT}{SERVICE}"), &values),
        }
    }

    fn token(&self) -> String {
        if self.uses_api {
            return String::new();
        }
        "automountServiceAccountToken: false # the program does not use the API of Kubernetes"
            .to_owned()
    }

    fn grace(&self) -> String {
        if self.facts.handles_sigterm {
            return String::new();
        }
        "terminationGracePeriodSeconds: 1 # the program has no handler for SIGTERM, so it would \
         run for 30 s"
            .to_owned()
    }

    fn pod_security(&self) -> String {
        let mut text = POD_SECURITY.to_owned();
        if self.port.is_some_and(|port| port < FIRST_UNPRIVILEGED_PORT) {
            text += "\n  sysctls: # permits a port below 1024 without root\n    \
                     - name: net.ipv4.ip_unprivileged_port_start\n      value: \"0\"";
        }
        text
    }

    fn ports(&self) -> String {
        let Some(port) = self.port else { return String::new() };
        format!("ports:\n  - name: http\n    containerPort: {port} # {}", file(self.port_source))
    }

    fn env(&self) -> String {
        let mut text = String::new();
        if let (Some(port), Some(source)) = (self.port, &self.facts.port_variable) {
            let source = source.path.display();
            let _ = writeln!(text, "  - name: PORT # {source}\n    value: \"{port}\"");
        }
        for (name, field) in &self.facts.pod_fields {
            let _ = writeln!(
                text,
                "  - name: {name}\n    valueFrom:\n      fieldRef:\n        fieldPath: {field}"
            );
        }
        if !text.is_empty() {
            text.insert_str(0, "env:\n");
        }
        if let Some(secret) = self.secret {
            let _ = writeln!(text, "envFrom:\n  - secretRef:\n      name: {secret}");
        }
        text
    }

    /// Returns the readiness probe. A program that parses HTTP itself may fail if a client sends
    /// nothing, as a TCP probe does. Whether a framework has a page at `/` is unknown.
    fn readiness(&self) -> String {
        let source = |location: &Location| format!(" # {}", location.path.display());
        let (path, source) = match &self.facts.health_path {
            _ if self.port.is_none() => return String::new(),
            Some((path, location)) => (Some(*path), source(location)),
            None if self.facts.writes_http => (Some("/"), String::new()),
            None => (None, String::new()),
        };
        let check = match path {
            Some(path) => format!("  httpGet:\n    path: {path}{source}\n    port: http\n"),
            None => "  tcpSocket:\n    port: http\n".to_owned(),
        };
        let period = "periodSeconds: 1 # the default of 10 s delays each rollout";
        format!("readinessProbe:\n{check}  {period}")
    }

    fn mounts(&self) -> String {
        if !self.facts.uses_tmp {
            return String::new();
        }
        "volumeMounts:\n  - name: tmp\n    mountPath: /tmp".to_owned()
    }

    fn volumes(&self) -> String {
        if !self.facts.uses_tmp {
            return String::new();
        }
        "volumes:\n  - name: tmp # the program writes temporary files\n    emptyDir: {}".to_owned()
    }
}

/// Returns the file of a source such as `src/main.rs:3`. The number of the line would soon be wrong.
fn file(source: &str) -> &str {
    source.rsplit_once(':').map_or(source, |(file, _)| file)
}

const POD_SECURITY: &str = "\
securityContext:
  runAsNonRoot: true # a process that leaves the container is not root on the node
  runAsUser: 65532 # no user of the node has this ID
  runAsGroup: 65532
  seccompProfile:
    type: RuntimeDefault # blocks system calls that programs rarely need";
const CONTAINER_SECURITY: &str = "\
securityContext:
  allowPrivilegeEscalation: false # no program in the image can become root
  readOnlyRootFilesystem: true # the program in the image cannot be replaced
  capabilities:
    drop: [ALL] # the program needs no privileges";
const REQUESTS: &str = "\
resources:
  requests: # the scheduler reserves this much; more is used if the node has it
    cpu: 10m
    memory: 32Mi";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::ports::Port;

    fn facts() -> SourceFacts {
        SourceFacts::default()
    }

    fn manifest(kind: WorkloadType, port: Option<u16>, facts: &SourceFacts) -> String {
        let workload = Workload {
            kind,
            name: "web",
            image: "shop/web",
            port,
            port_source: "src/main.rs:3",
            uses_api: false,
            secret: None,
            facts,
        };
        workload.manifest()
    }

    /// Parses all objects, and checks that no placeholder is left.
    fn objects(text: &str) -> Vec<serde_json::Value> {
        assert!(!text.contains("{{"), "{text}");
        let documents = serde_yaml::Deserializer::from_str(text);
        documents.map(|one| serde::Deserialize::deserialize(one).unwrap()).collect()
    }

    #[test]
    fn service_starts_fast_and_is_restricted() {
        let text = manifest(WorkloadType::Service, Some(8080), &facts());
        let objects = objects(&text);
        let [deployment, service] = objects.as_slice() else { panic!("{text}") };
        let at = |path: &str| deployment.pointer(path).unwrap_or_else(|| panic!("{path}: {text}"));
        assert_eq!(at("/spec/strategy/rollingUpdate/maxSurge"), "100%");
        assert_eq!(at("/spec/strategy/rollingUpdate/maxUnavailable"), 0);
        let pod = "/spec/template/spec";
        assert_eq!(at(&format!("{pod}/automountServiceAccountToken")), false);
        assert_eq!(at(&format!("{pod}/terminationGracePeriodSeconds")), 1);
        assert_eq!(at(&format!("{pod}/securityContext/runAsNonRoot")), true);
        let container = format!("{pod}/containers/0");
        assert_eq!(at(&format!("{container}/image")), "shop/web");
        assert_eq!(at(&format!("{container}/securityContext/readOnlyRootFilesystem")), true);
        assert_eq!(at(&format!("{container}/readinessProbe/periodSeconds")), 1);
        assert_eq!(at(&format!("{container}/readinessProbe/tcpSocket/port")), "http");
        assert_eq!(at(&format!("{container}/ports/0/containerPort")), 8080);
        assert_eq!(at(&format!("{container}/resources/requests/cpu")), "10m");
        assert_eq!(service["spec"]["selector"]["app"], "web");
        assert!(!text.contains("sysctls") && !text.contains("volumes"), "{text}");
    }

    #[test]
    fn facts_of_source_change_manifest() {
        let at = Location { path: "src/main.rs".into(), line: 1 };
        let port = Port { number: 80, is_loopback: false, line: 1 };
        let facts = SourceFacts {
            ports: vec![(port, at.clone())],
            port_variable: Some(at.clone()),
            health_path: Some(("/healthz", at)),
            handles_sigterm: true,
            uses_tmp: true,
            pod_fields: vec![("POD_NAME", "metadata.name")],
            ..SourceFacts::default()
        };
        let objects = objects(&manifest(WorkloadType::Service, Some(80), &facts));
        let pod = &objects[0]["spec"]["template"]["spec"];
        assert_eq!(pod.get("terminationGracePeriodSeconds"), None);
        let sysctl = &pod["securityContext"]["sysctls"][0]["name"];
        assert_eq!(sysctl, "net.ipv4.ip_unprivileged_port_start");
        let container = &pod["containers"][0];
        assert_eq!(container["env"][0]["value"], "80");
        assert_eq!(container["env"][1]["valueFrom"]["fieldRef"]["fieldPath"], "metadata.name");
        assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/healthz");
        assert_eq!(container["volumeMounts"][0]["mountPath"], "/tmp");
        assert_eq!(pod["volumes"][0]["name"], "tmp");
    }

    #[test]
    fn worker_has_no_port_and_job_no_restart() {
        let worker = manifest(WorkloadType::Worker, None, &facts());
        let objects_of_worker = objects(&worker);
        assert_eq!(objects_of_worker.len(), 1);
        assert!(!worker.contains("port") && !worker.contains("readinessProbe"), "{worker}");
        let job = objects(&manifest(WorkloadType::Job, None, &facts()));
        assert_eq!(job[0]["kind"], "Job");
        assert_eq!(job[0]["spec"]["template"]["spec"]["restartPolicy"], "Never");
    }

    #[test]
    fn formats_have_separate_files() {
        let text = manifest(WorkloadType::Worker, None, &facts()).replace("shop/web", "web");
        let names = |format, secrets| {
            let files = files("web", &text, format, secrets);
            files.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(ManifestFormat::Plain, false), "web.yaml");
        assert_eq!(names(ManifestFormat::Kustomize, false), "web.yaml kustomization.yaml");
        let secrets = "web.yaml kustomization.yaml .env .env.example";
        assert_eq!(names(ManifestFormat::Plain, true), secrets);
        assert_eq!(
            names(ManifestFormat::Chart, false),
            "Chart.yaml values.yaml templates/web.yaml"
        );
        let chart = files("web", &text, ManifestFormat::Chart, false);
        assert!(chart[2].1.contains("image: {{ .Values.image }} #"), "{}", chart[2].1);
    }

    #[test]
    fn object_names_are_valid() {
        let long = "a".repeat(70);
        let table = [
            ("hello", "hello"),
            ("My_App", "my-app"),
            ("_x", "x"),
            ("a-", "a"),
            ("日本", "app"),
            (long.as_str(), &long[..63]),
        ];
        for (package, expected) in table {
            assert_eq!(object_name(package), expected, "{package}");
        }
    }
}
