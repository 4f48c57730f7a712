//! The properties of a daemon and of its builder that decide how an image is read from them.
//!
//! Some of them cost the start of a program, so they are kept in the cache directory until the
//! daemon or the settings of the client change, or a build fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use kdev_core::image::digest;
use serde::{Deserialize, Serialize};

use crate::cx::{Cx, DockerSettings};
use crate::docker::builder::Builder;
use crate::process::json_file;

/// The name that Docker Desktop reports as its operating system.
const DESKTOP: &str = "Docker Desktop";
/// The first version of the client that builds with buildx by default.
pub(crate) const BUILDS_WITH_BUILDX: (u32, u32) = (23, 0);

/// How long a daemon that could not push to this machine is not asked again.
const SECONDS_OF_REFUSAL: i64 = 24 * 60 * 60;

/// The properties of a daemon and of its builder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DockerFacts {
    /// The address of the daemon as a URL, such as `unix:///var/run/docker.sock`.
    pub(crate) address: String,
    /// Whether the daemon runs in the network namespace of a user.
    pub(crate) is_rootless: bool,
    /// Whether the daemon runs in the virtual machine of Docker Desktop.
    pub(crate) is_desktop: bool,
    /// The directory in which the daemon stores images, on its machine.
    #[serde(default)]
    pub(crate) data_dir: Option<PathBuf>,
    /// When the daemon could not push to this machine, in seconds since 1970.
    #[serde(default)]
    pub(crate) refused_push_at: Option<i64>,
    /// The builder that `docker build` uses; `None` for the legacy builder.
    pub(crate) builder: Option<Builder>,
}

/// How the changed layers of a build get to this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayerSource {
    /// Docker pushes them, where necessary through a forwarded port.
    Push,
    /// BuildKit exports them during the build.
    Layout,
    /// Docker exports the whole image.
    Archive,
}

impl DockerFacts {
    /// Returns how the changed layers of a build get from Docker to this machine: the way that
    /// costs the least.
    pub(crate) fn layer_source(&self) -> LayerSource {
        // A port is forwarded over SSH, or opened in the network namespace of the daemon.
        let is_carried = self.address.starts_with("ssh://") || self.is_rootless;
        if self.is_near() {
            LayerSource::Push
        } else if self.can_export_layout() {
            LayerSource::Layout
        } else if is_carried && !self.has_refused_push() {
            LayerSource::Push
        } else {
            LayerSource::Archive
        }
    }

    /// Returns whether the loopback interface of the daemon is the one of this machine.
    pub(crate) fn is_near(&self) -> bool {
        // On other systems, the daemon runs in a virtual machine.
        cfg!(target_os = "linux")
            && self.address.starts_with("unix://")
            && !self.is_rootless
            && !self.is_desktop
            && !self.has_refused_push()
    }

    /// Returns whether the daemon could not push to this machine lately. The cause may be gone
    /// after a day.
    pub(crate) fn has_refused_push(&self) -> bool {
        let age = self.refused_push_at.map(|time| now() - time);
        age.is_some_and(|age| (0..SECONDS_OF_REFUSAL).contains(&age))
    }

    /// Returns the facts with a push that the daemon could not do.
    pub(crate) fn with_refused_push(self) -> Self {
        Self { refused_push_at: Some(now()), ..self }
    }

    /// Returns whether a build can write an image layout into a directory of this machine.
    pub(crate) fn can_export_layout(&self) -> bool {
        self.builder.as_ref().is_some_and(Builder::can_export_layout)
    }

    /// Returns whether the builder keeps the results of builds, instead of storing them in
    /// Docker.
    pub(crate) fn keeps_results(&self) -> bool {
        self.builder.as_ref().is_some_and(Builder::keeps_results)
    }

    /// Returns the driver of the builder; `None` for the legacy builder.
    pub(crate) fn driver(&self) -> Option<&str> {
        self.builder.as_ref().map(|builder| builder.driver.as_str())
    }
}

/// The output of `docker info`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct DaemonInfo {
    #[serde(rename = "ID")]
    id: Option<String>,
    operating_system: Option<String>,
    security_options: Option<Vec<String>>,
    driver_status: Option<serde_json::Value>,
    driver: Option<String>,
    docker_root_dir: Option<PathBuf>,
}

impl DaemonInfo {
    /// The format of `docker info` with these fields.
    pub(crate) const FORMAT: &str = r#"{"ID":{{json .ID}},"OperatingSystem":{{json .OperatingSystem}},"SecurityOptions":{{json .SecurityOptions}},"DriverStatus":{{json .DriverStatus}},"Driver":{{json .Driver}},"DockerRootDir":{{json .DockerRootDir}}}"#;

    /// Returns whether the daemon uses the containerd image store.
    pub(crate) fn has_containerd_store(&self) -> bool {
        let status = self.driver_status.as_ref().map(ToString::to_string).unwrap_or_default();
        status.contains("io.containerd.snapshotter")
    }

    /// Returns the name of the storage driver.
    pub(crate) fn driver(&self) -> &str {
        self.driver.as_deref().unwrap_or("unknown driver")
    }

    pub(crate) fn is_desktop(&self) -> bool {
        self.operating_system.as_deref() == Some(DESKTOP)
    }

    pub(crate) fn is_rootless(&self) -> bool {
        let mut options = self.security_options.iter().flatten();
        options.any(|option| option.split(',').any(|one| one == "name=rootless"))
    }

    /// Returns the directory in which the daemon stores images.
    pub(crate) fn data_dir(&self) -> Option<PathBuf> {
        self.docker_root_dir.clone()
    }

    /// Identifies the daemon and its image store.
    pub(crate) fn fingerprint(&self) -> String {
        let id = self.id.as_deref().unwrap_or_default();
        format!("{id} {}", self.has_containerd_store())
    }
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// Returns the builder that `docker build` uses, unless it is selected in buildx: the one that
/// is named, else the one of the variable, else the daemon of the context.
pub(crate) fn builder_name<'a>(
    settings: &'a DockerSettings,
    named: Option<&'a str>,
    context: &'a str,
) -> Option<&'a str> {
    let explicit = named.or_else(|| settings.variable("BUILDX_BUILDER"));
    explicit.or_else(|| (!has_buildx_alias(settings)).then_some(context))
}

/// Returns whether the user has selected a builder instead of the daemon of the context.
pub(crate) fn selects_builder(settings: &DockerSettings, named: Option<&str>) -> bool {
    let is_explicit = named.is_some() || settings.variable("BUILDX_BUILDER").is_some();
    is_explicit || has_buildx_alias(settings)
}

/// Returns whether `docker build` is an alias of `docker buildx build`, as `docker buildx
/// install` sets it. Only then it uses the builder that `docker buildx use` has selected.
fn has_buildx_alias(settings: &DockerSettings) -> bool {
    let file = settings.config_dir.as_ref().map(|dir| dir.join("config.json"));
    let text = file.and_then(|file| fs::read(file).ok()).unwrap_or_default();
    let config: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    config["aliases"]["builder"] == "buildx"
}

/// Returns whether `docker build` uses buildx if it is installed.
pub(crate) fn uses_buildx(settings: &DockerSettings, client: (u32, u32)) -> bool {
    match settings.variable("DOCKER_BUILDKIT") {
        Some("0" | "false") => false,
        Some(_) => true,
        None => client >= BUILDS_WITH_BUILDX || has_buildx_alias(settings),
    }
}

/// The directories of the plugins of all users.
const PLUGIN_DIRS: [&str; 4] = [
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
];

/// Facts in the cache directory.
#[derive(Serialize, Deserialize)]
struct Kept {
    fingerprint: String,
    /// Whether the facts must be read again, although nothing is known to have changed.
    #[serde(default)]
    is_stale: bool,
    facts: DockerFacts,
}

/// The place of the facts about one daemon and builder in the cache directory.
pub(crate) struct FactsCache {
    path: PathBuf,
    fingerprint: String,
}

impl FactsCache {
    /// `daemon` identifies the daemon and its version, and `named` is the builder that the
    /// settings of kdev name.
    pub(crate) fn new(cx: &Cx, daemon: &str, named: Option<&str>) -> Option<Self> {
        let settings = cx.docker_settings();
        let key = format!("{:?} {named:?}", settings.variables);
        let name = digest::sha256(key.as_bytes()).replace(':', "-");
        let fingerprint = format!("{daemon} {}", fingerprint_files(settings));
        let fingerprint = digest::sha256(fingerprint.as_bytes());
        let path = cx.cache_dir()?.join("docker").join(format!("{name}.json"));
        Some(Self { path, fingerprint })
    }

    /// Returns the facts, unless the daemon or a setting has changed.
    pub(crate) fn get(&self) -> Option<DockerFacts> {
        self.read().filter(|kept| !kept.is_stale).map(|kept| kept.facts)
    }

    /// Returns when the daemon could not push to this machine, even if the facts are stale.
    pub(crate) fn refused_push_at(&self) -> Option<i64> {
        self.read()?.facts.refused_push_at
    }

    fn read(&self) -> Option<Kept> {
        let kept: Kept = json_file::read(&self.path)?;
        Some(kept).filter(|kept| kept.fingerprint == self.fingerprint)
    }

    /// Keeps the facts. Errors are ignored: the next run asks again.
    pub(crate) fn put(&self, facts: &DockerFacts) {
        self.write(facts.clone(), false);
    }

    fn write(&self, facts: DockerFacts, is_stale: bool) {
        let kept = Kept { fingerprint: self.fingerprint.clone(), is_stale, facts };
        let _ = json_file::write_limited(&self.path, &kept);
    }

    /// Records that the daemon could not push to this machine, also without other facts.
    pub(crate) fn refuse_push(&self) {
        let kept = self.read().map(|kept| (kept.facts, kept.is_stale));
        let (facts, is_stale) = kept.unwrap_or_else(|| (DockerFacts::default(), true));
        self.write(facts.with_refused_push(), is_stale);
    }

    /// Marks the facts as stale, so that the next run asks again.
    pub(crate) fn forget(&self) {
        if let Some(kept) = self.read() {
            self.write(kept.facts, true);
        }
    }
}

/// Returns the contents of the client's files that select a daemon and a builder, and the times
/// of buildx.
fn fingerprint_files(settings: &DockerSettings) -> String {
    let config = settings.config_dir.iter();
    let mut files: Vec<PathBuf> = config.clone().map(|dir| dir.join("config.json")).collect();
    let contexts = config.flat_map(|dir| list(&dir.join("contexts/meta")));
    files.extend(contexts.map(|dir| dir.join("meta.json")));
    if let Some(dir) = settings.buildx_dir() {
        files.extend(list(&dir.join("instances")));
        if has_buildx_alias(settings) {
            files.extend(list(&dir.join("defaults")));
            files.extend(Some(dir.join("current")).filter(|file| names_builder(file)));
        }
    }
    let digest = |file: &PathBuf| digest::sha256(&fs::read(file).unwrap_or_default());
    let digests: String = files.iter().map(digest).collect();
    let plugins = settings.config_dir.iter().map(|dir| dir.join("cli-plugins"));
    let plugins = plugins.chain(PLUGIN_DIRS.map(PathBuf::from));
    let times = plugins.map(|dir| fs::metadata(dir.join("docker-buildx"))?.modified());
    let times: Vec<Option<SystemTime>> = times.map(Result::ok).collect();
    format!("{digests} {times:?}")
}

/// Returns whether the file `current` of buildx names a builder. Each build writes the address of
/// its daemon to this file, which is no setting.
fn names_builder(current: &Path) -> bool {
    let text = fs::read(current).unwrap_or_default();
    let json: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    json["Name"].as_str().is_some_and(|name| !name.is_empty())
}

/// Returns the paths in a directory, sorted.
fn list(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn info_identifies_store_desktop_and_rootless() {
        // The output of Docker 29 and 20.10, of rootless Docker, and of Docker Desktop.
        let table = [
            (
                r#"{"ID":"e0cb","OperatingSystem":"Debian GNU/Linux 12 (bookworm)","SecurityOptions":["name=seccomp,profile=builtin"],"DriverStatus":[["driver-type","io.containerd.snapshotter.v1"]],"Driver":"overlayfs"}"#,
                (true, false, false),
            ),
            (
                r#"{"ID":"LQCN","OperatingSystem":"Debian GNU/Linux 12 (bookworm)","SecurityOptions":["name=seccomp,profile=default"],"DriverStatus":[["Backing Filesystem","extfs"]],"Driver":"overlay2"}"#,
                (false, false, false),
            ),
            (
                r#"{"OperatingSystem":"Ubuntu 24.04.3 LTS","SecurityOptions":["name=seccomp,profile=builtin","name=rootless","name=cgroupns"],"DriverStatus":null}"#,
                (false, false, true),
            ),
            (
                r#"{"OperatingSystem":"Docker Desktop","SecurityOptions":null,"DriverStatus":[["driver-type","io.containerd.snapshotter.v1"]]}"#,
                (true, true, false),
            ),
            ("{}", (false, false, false)),
        ];
        for (json, expected) in table {
            let info: DaemonInfo = serde_json::from_str(json).unwrap();
            let found = (info.has_containerd_store(), info.is_desktop(), info.is_rootless());
            assert_eq!(found, expected, "{json}");
        }
    }

    #[test]
    fn only_local_daemon_is_near() {
        let near =
            DockerFacts { address: "unix:///run/docker.sock".to_owned(), ..Default::default() };
        assert!(near.is_near());
        for address in ["ssh://dev@host", "tcp://127.0.0.1:2376", ""] {
            let facts = DockerFacts { address: address.to_owned(), ..near.clone() };
            assert!(!facts.is_near(), "{address}");
        }
        assert!(!DockerFacts { is_rootless: true, ..near.clone() }.is_near());
        assert!(!DockerFacts { is_desktop: true, ..near.clone() }.is_near());
        assert!(!near.with_refused_push().is_near());
    }

    #[test]
    fn layer_source_is_cheapest_one() {
        let builder = |driver: &str, version, store: &str| {
            let output = format!(
                "Name: b\nDriver: {driver}\n\nNodes:\nName: b0\nBuildKit version: {version}\n{store}"
            );
            Builder::parse(&output)
        };
        let containerd = "Labels:\n org.mobyproject.buildkit.worker.snapshotter: overlayfs\n";
        let (local, ssh, tcp) = ("unix:///run/docker.sock", "ssh://host", "tcp://host:2376");
        let table = [
            (local, builder("docker", "v0.25.1", containerd), LayerSource::Push),
            (local, None, LayerSource::Push),
            (ssh, builder("docker", "v0.25.1", containerd), LayerSource::Layout),
            (ssh, builder("docker", "v0.25.1", ""), LayerSource::Push),
            (ssh, None, LayerSource::Push),
            (tcp, builder("docker", "v0.25.1", containerd), LayerSource::Layout),
            (tcp, builder("docker", "v0.12.0", containerd), LayerSource::Archive),
            (tcp, None, LayerSource::Archive),
        ];
        for (address, builder, expected) in table {
            let facts = DockerFacts { address: address.into(), builder, ..Default::default() };
            assert_eq!(facts.layer_source(), expected, "{facts:?}");
        }
        let desktop = DockerFacts { address: local.into(), is_desktop: true, ..Default::default() };
        assert_eq!(desktop.layer_source(), LayerSource::Archive);
        let rootless =
            DockerFacts { address: local.into(), is_rootless: true, ..Default::default() };
        assert_eq!(rootless.layer_source(), LayerSource::Push);
        let refused = DockerFacts { address: ssh.into(), ..Default::default() }.with_refused_push();
        assert_eq!(refused.layer_source(), LayerSource::Archive);
    }

    #[test]
    fn refused_push_counts_for_a_day() {
        let refused =
            |age: i64| DockerFacts { refused_push_at: Some(now() - age), ..DockerFacts::default() };
        let day = SECONDS_OF_REFUSAL;
        // A time in the future is that of a clock that was wrong.
        let table = [(0, true), (day - 60, true), (day + 1, false), (-60, false)];
        for (age, expected) in table {
            assert_eq!(refused(age).has_refused_push(), expected, "{age}");
        }
        assert!(!DockerFacts::default().has_refused_push());
    }

    fn settings(variables: &[(&str, &str)], dir: &Path) -> DockerSettings {
        let variable = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let variables: BTreeMap<_, _> = variables.iter().map(variable).collect();
        DockerSettings { variables, config_dir: Some(dir.to_owned()) }
    }

    #[test]
    fn builder_follows_client_settings() {
        let dir = tempfile::tempdir().unwrap();
        let of = |variables: &[(&str, &str)], named| {
            let settings = settings(variables, dir.path());
            let name = builder_name(&settings, named, "ctx").map(str::to_owned);
            (name, uses_buildx(&settings, (28, 2)), uses_buildx(&settings, (20, 10)))
        };
        let name = |name: &str| Some(name.to_owned());
        assert_eq!(of(&[], None), (name("ctx"), true, false));
        assert_eq!(of(&[("BUILDX_BUILDER", "env")], None), (name("env"), true, false));
        assert_eq!(of(&[("BUILDX_BUILDER", "")], None), (name("ctx"), true, false));
        assert_eq!(of(&[("BUILDX_BUILDER", "env")], Some("own")), (name("own"), true, false));
        assert_eq!(of(&[("DOCKER_BUILDKIT", "0")], None), (name("ctx"), false, false));
        assert_eq!(of(&[("DOCKER_BUILDKIT", "1")], None), (name("ctx"), true, true));
        // `docker buildx install`
        fs::write(dir.path().join("config.json"), r#"{"aliases":{"builder":"buildx"}}"#).unwrap();
        assert_eq!(of(&[], None), (None, true, true));
    }

    #[test]
    fn kept_facts_end_with_change_of_daemon_or_settings() {
        let dir = tempfile::tempdir().unwrap();
        let emit = |_| {};
        let cache = |daemon: &str, variables: &[(&str, &str)], named| {
            let settings = settings(variables, &dir.path().join("docker-config"));
            let cx = Cx::new(&emit).with_cache_dir(dir.path()).with_docker_settings(settings);
            FactsCache::new(&cx, daemon, named).unwrap()
        };
        let facts = DockerFacts { address: "ssh://host".to_owned(), ..Default::default() };
        cache("1", &[], None).put(&facts);
        assert_eq!(cache("1", &[], None).get().as_ref(), Some(&facts));
        assert_eq!(cache("2", &[], None).get(), None);
        assert_eq!(cache("1", &[("DOCKER_HOST", "tcp://h")], None).get(), None);
        assert_eq!(cache("1", &[], Some("far")).get(), None);
        let alias = r#"{"aliases":{"builder":"buildx"}}"#;
        for (file, text, is_setting) in [
            // Without the alias, `docker build` does not use the builder of this file.
            ("buildx/current", r#"{"Key":"unix:///a","Name":"far"}"#, false),
            ("buildx/current", "{}", false),
            ("config.json", alias, true),
            ("buildx/current", r#"{"Key":"unix:///a","Name":""}"#, false),
            ("buildx/current", r#"{"Key":"unix:///a","Name":"far"}"#, true),
            ("buildx/defaults/a", "{}", true),
            ("buildx/instances/far", "{}", true),
            ("contexts/meta/a/meta.json", "{}", true),
            ("cli-plugins/docker-buildx", "{}", true),
        ] {
            let path = dir.path().join("docker-config").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            assert_eq!(cache("1", &[], None).get().is_none(), is_setting, "{file}");
            cache("1", &[], None).put(&facts);
            assert_eq!(cache("1", &[], None).get().as_ref(), Some(&facts));
        }
        cache("1", &[], None).refuse_push();
        assert_eq!(cache("1", &[], None).get().map(|kept| kept.address), Some(facts.address));
        cache("1", &[], None).forget();
        assert_eq!(cache("1", &[], None).get(), None);
        assert!(cache("1", &[], None).refused_push_at().is_some());
        assert_eq!(cache("2", &[], None).refused_push_at(), None);
        // The facts are not complete, or stale.
        for kept in ["2", "1"] {
            cache(kept, &[], None).refuse_push();
            assert_eq!(cache(kept, &[], None).get(), None);
            assert!(cache(kept, &[], None).refused_push_at().is_some());
        }
    }
}
