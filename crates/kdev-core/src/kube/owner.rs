//! The owner of an apply set: how a project is identified, and where the set was applied from.
//! A package name is not enough, because two repositories can have a package of the same name.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::path::normalized_path;

/// Annotation of a record: the files and globs of the manifests, relative to the directory, so that
/// they are the same in each clone.
pub(crate) const MANIFESTS: &str = "kdev/manifests";

/// How a project is identified, from the weakest to the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The machine and the folder of the package, if there is no usable git repository.
    Folder,
    /// The address of the repository, because a shallow clone does not have the root commit.
    ShallowClone,
    /// The root commit, the address, and the path of the package in the repository.
    Repository,
    /// The key `project-id` of the configuration.
    Key,
}

const SOURCES: [(Source, &str); 4] = [
    (Source::Folder, "folder"),
    (Source::ShallowClone, "shallow-clone"),
    (Source::Repository, "repository"),
    (Source::Key, "project-id"),
];

/// Identifies a project, on every machine that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub source: Source,
    text: String,
}

impl Identity {
    /// Identifies the project by the configuration.
    pub fn from_key(key: &str) -> Self {
        Self { source: Source::Key, text: format!("key\n{key}") }
    }

    /// Identifies the project by the root commit of its repository, and by the address, which
    /// distinguishes forks of a template. The host is not part of it: the same repository can
    /// have aliases in SSH's configuration, and mirrors.
    pub fn from_repository(root: &str, address: &Address, path: &str) -> Self {
        let (Address::Remote { path: address, .. } | Address::Local(address)) = address;
        Self { source: Source::Repository, text: format!("root\n{root}\n{address}\n{path}") }
    }

    /// Identifies the project by the address of its repository alone.
    pub fn from_shallow_clone(address: &Address, path: &str) -> Self {
        Self { source: Source::ShallowClone, text: format!("address\n{address}\n{path}") }
    }

    /// Identifies the project by its folder on this machine.
    pub fn from_folder(machine: &str, directory: &str) -> Self {
        Self { source: Source::Folder, text: format!("folder\n{machine}\n{directory}") }
    }

    /// Returns ten digits that differ between projects, between the packages of a project, and
    /// between namespaces.
    pub(crate) fn digits(&self, package: &str, namespace: &str) -> String {
        let text = format!("{}\n{package}\n{namespace}", self.text);
        hex(&Sha256::digest(text.as_bytes()), 10)
    }
}

/// The address of a git repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Remote {
        host: String,
        /// Such as `org/app`.
        path: String,
    },
    /// A path on a machine.
    Local(String),
}

impl Address {
    /// Parses the URL of a git remote (`man git-fetch`, "GIT URLS"). Credentials and the port are
    /// removed.
    pub fn parse(url: &str) -> Self {
        let url = url.trim();
        if let Some(path) = url.strip_prefix("file://") {
            return Self::local(path);
        }
        let located = match url.split_once("://") {
            Some((_, rest)) => rest.split_once('/'),
            // `host:path`, unless a slash comes before the colon.
            None => url.split_once(':').filter(|(host, _)| !host.contains('/')),
        };
        let Some((host, path)) = located else { return Self::local(url) };
        let host = host.rsplit('@').next().unwrap_or_default();
        let host = host.split(':').next().unwrap_or_default().to_lowercase();
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let path = path.trim_matches('/').trim_end_matches(".git").trim_end_matches('/');
        Self::Remote { host, path: path.to_lowercase() }
    }

    /// Returns the address, if it is not a path on a machine.
    pub fn remote(&self) -> Option<String> {
        matches!(self, Self::Remote { .. }).then(|| self.to_string())
    }

    /// Returns the address of a repository on this machine, without the `.git` folder.
    pub fn local(path: &str) -> Self {
        let path = path.trim_end_matches('/').trim_end_matches("/.git");
        Self::Local(path.to_owned())
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Remote { host, path } => write!(f, "{host}/{path}"),
            Self::Local(path) => write!(f, "{path}"),
        }
    }
}

/// Returns a name of a machine that differs between machines of the same host name. The machine
/// ID is confidential (`man machine-id`), so its digest is used.
pub fn machine(host: &str, machine_id: &str) -> String {
    hex(&Sha256::digest(format!("kdev\n{host}\n{}", machine_id.trim()).as_bytes()), 12)
}

fn hex(bytes: &[u8], digits: usize) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).take(digits).collect()
}

/// A package in a folder of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub package: String,
    pub identity: Identity,
    /// The name from [`machine`].
    pub machine: String,
    /// The name that earlier versions recorded, if the machine has no machine ID. It has only the
    /// host name, so several machines can have the same one.
    pub earlier_machine: Option<String>,
    pub host: String,
    pub directory: String,
    /// The files and globs of the manifests, if the settings name them, relative to the directory.
    pub manifests: Vec<String>,
    /// The address of the repository.
    pub repository: Option<String>,
    /// Why the project is not identified by its repository.
    pub fallback_cause: Option<String>,
}

impl Owner {
    /// Returns the annotations that record where a set was applied from, and when.
    pub fn annotations(&self, user: &str, time: &str) -> Map<String, Value> {
        let source = SOURCES.iter().find(|(source, _)| *source == self.identity.source);
        let mut annotations = json!({PACKAGE: self.package, DIRECTORY: self.directory,
            HOST: self.host, MACHINE: self.machine, USER: user, TIME: time,
            IDENTITY: source.map(|(_, name)| *name)});
        if let Some(repository) = &self.repository {
            annotations[REPOSITORY] = json!(repository);
        }
        annotations.as_object().cloned().unwrap_or_default()
    }

    /// Whether a set was applied from this very folder, when the project had another identity,
    /// which was not stronger.
    pub fn is_successor_of(&self, origin: &Origin) -> bool {
        let is_same_folder = origin.machine == self.machine
            && origin.directory == self.directory
            && origin.package == self.package;
        is_same_folder && origin.source.is_some_and(|source| source <= self.identity.source)
    }

    /// Sets the manifests, as absolute paths.
    pub fn set_manifests(&mut self, paths: impl Iterator<Item = impl AsRef<str>>) {
        self.manifests = paths.map(|path| relative_path(&self.directory, path.as_ref())).collect();
    }

    /// Whether a set was applied from the same files on this machine, as another package of the
    /// workspace.
    pub fn has_manifests_of(&self, origin: &Origin) -> bool {
        let theirs = absolute_paths(&origin.directory, &origin.manifests);
        let is_here = origin.machine == self.machine
            || self.earlier_machine.as_ref() == Some(&origin.machine);
        is_here
            && !self.manifests.is_empty()
            && absolute_paths(&self.directory, &self.manifests) == theirs
    }
}

fn absolute_paths(directory: &str, paths: &[String]) -> BTreeSet<String> {
    paths.iter().map(|path| normalized_path(&format!("{directory}/{path}"))).collect()
}

/// Returns the path from a directory to a file. Both are absolute.
fn relative_path(directory: &str, file: &str) -> String {
    let (directory, file) = (normalized_path(directory), normalized_path(file));
    let (from, to): (Vec<&str>, Vec<&str>) =
        (directory.split('/').collect(), file.split('/').collect());
    let common = from.iter().zip(&to).take_while(|(from, to)| from == to).count();
    let up = std::iter::repeat_n("..", from.len() - common);
    up.chain(to[common..].iter().copied()).collect::<Vec<_>>().join("/")
}

const PACKAGE: &str = "kdev/package";
const DIRECTORY: &str = "kdev/directory";
const HOST: &str = "kdev/host";
const MACHINE: &str = "kdev/machine";
const USER: &str = "kdev/user";
const TIME: &str = "kdev/time";
const IDENTITY: &str = "kdev/identity";
const REPOSITORY: &str = "kdev/repository";

/// Where a recorded set was applied from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    pub package: String,
    pub(crate) source: Option<Source>,
    pub(crate) machine: String,
    host: String,
    pub(crate) directory: String,
    user: String,
    time: String,
    repository: String,
    manifests: Vec<String>,
}

impl Origin {
    /// Reads the annotations of a record. Those of an older kdev have none.
    pub fn read(record: &Value) -> Option<Self> {
        let annotations = &record["metadata"]["annotations"];
        let text = |key: &str| annotations[key].as_str().unwrap_or_default().to_owned();
        let source = SOURCES.iter().find(|(_, name)| annotations[IDENTITY] == *name);
        annotations[MACHINE].as_str()?;
        Some(Self {
            package: text(PACKAGE),
            source: source.map(|(source, _)| *source),
            machine: text(MACHINE),
            host: text(HOST),
            directory: text(DIRECTORY),
            user: text(USER),
            time: text(TIME),
            repository: text(REPOSITORY),
            manifests: text(MANIFESTS).lines().map(str::to_owned).collect(),
        })
    }

    /// Describes the origin in a message.
    pub fn describe(&self) -> String {
        let Self { package, host, directory, user, time, repository, .. } = self;
        let repository = match repository.as_str() {
            "" => String::new(),
            address => format!(" of `{address}`"),
        };
        format!("package `{package}`{repository} (`{user}` on `{host}`, `{directory}`, {time})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_compared_without_credentials_and_scheme() {
        let table = [
            ("https://github.com/Org/App.git", "github.com/org/app"),
            ("https://jane:secret@github.com/org/app", "github.com/org/app"),
            ("https://github.com:443/org/app/", "github.com/org/app"),
            ("https://host/org/app?token=secret", "host/org/app"),
            ("ssh://git@github.com:22/org/app.git", "github.com/org/app"),
            ("git@github.com:org/app.git", "github.com/org/app"),
            ("github-work:org/app.git\n", "github-work/org/app"),
            ("/srv/git/app.git", "/srv/git/app.git"),
            ("file:///srv/git/app.git", "/srv/git/app.git"),
            ("/home/jane/app/.git", "/home/jane/app"),
            ("../a:b", "../a:b"),
        ];
        for (url, expected) in table {
            assert_eq!(Address::parse(url).to_string(), expected, "{url}");
        }
    }

    fn repository(root: &str, url: &str, path: &str) -> Identity {
        Identity::from_repository(root, &Address::parse(url), path)
    }

    #[test]
    fn identity_is_that_of_the_project() {
        let ours = repository("r", "git@github.com:org/app", "crates/app");
        let digits = |identity: &Identity| identity.digits("app", "n");
        let same = [
            repository("r", "https://github.com/org/app.git", "crates/app"),
            // An alias in SSH's configuration.
            repository("r", "work:org/app.git", "crates/app"),
        ];
        for other in same {
            assert_eq!(digits(&ours), digits(&other));
        }
        let others = [
            repository("s", "git@github.com:org/app", "crates/app"),
            repository("r", "git@github.com:org/app", "crates/other"),
            // A fork of a template.
            repository("r", "git@github.com:jane/app", "crates/app"),
            repository("r", "/home/jane/app", "crates/app"),
            Identity::from_shallow_clone(&Address::parse("git@github.com:org/app"), "crates/app"),
            Identity::from_folder("laptop", "/home/jane/app"),
            Identity::from_folder("desktop", "/home/jane/app"),
            Identity::from_key("app"),
        ];
        for (index, other) in others.iter().enumerate() {
            assert_ne!(digits(&ours), digits(other), "{other:?}");
            assert!(others[..index].iter().all(|one| digits(one) != digits(other)), "{other:?}");
        }
        assert_ne!(ours.digits("app", "n"), ours.digits("app", "m"));
        assert_ne!(ours.digits("app", "n"), ours.digits("api", "n"));
    }

    #[test]
    fn machines_of_same_host_name_differ() {
        assert_ne!(machine("dev", "a"), machine("dev", "b"));
        assert_ne!(machine("dev", "a"), machine("laptop", "a"));
        assert_eq!(machine("dev", "a"), machine("dev", "a\n"));
    }

    fn owner(identity: Identity) -> Owner {
        let text = str::to_owned;
        Owner {
            package: text("app"),
            identity,
            machine: text("0123"),
            earlier_machine: None,
            host: text("laptop"),
            directory: text("/home/jane/app"),
            manifests: Vec::new(),
            repository: Some(text("github.com/org/app")),
            fallback_cause: None,
        }
    }

    #[test]
    fn origin_is_recorded_and_described() {
        let owner = owner(Identity::from_key("shop"));
        let annotations = owner.annotations("jane", "2026-11-28T01:30:00Z");
        let record = json!({"metadata": {"annotations": annotations}});
        let origin = Origin::read(&record).unwrap();
        let expected = "package `app` of `github.com/org/app` (`jane` on `laptop`, `/home/jane/app`, 2026-11-28T01:30:00Z)";
        assert_eq!(origin.describe(), expected);
        assert_eq!(Origin::read(&json!({"metadata": {"annotations": {"a": "b"}}})), None);
    }

    #[test]
    fn packages_with_same_manifests_are_recognized_on_one_machine() {
        let package = |directory: &str, manifests: &[&str]| Owner {
            directory: directory.to_owned(),
            manifests: manifests.iter().map(|path| (*path).to_owned()).collect(),
            ..owner(Identity::from_key("shop"))
        };
        let origin = |owner: &Owner| {
            let mut annotations = owner.annotations("j", "t");
            annotations.insert(MANIFESTS.to_owned(), json!(owner.manifests.join("\n")));
            Origin::read(&json!({"metadata": {"annotations": annotations}})).unwrap()
        };
        let worker = package("/w/worker", &["../k8s/*.yaml", "../rbac.yaml"]);
        let same = package("/w/crates/api", &["../../rbac.yaml", "../../k8s/*.yaml"]);
        assert!(worker.has_manifests_of(&origin(&same)));
        let others = [
            Owner { machine: "4567".into(), ..same.clone() },
            package("/w/crates/api", &["../k8s/*.yaml", "../rbac.yaml"]),
            package("/w/crates/api", &["../../k8s/*.yaml"]),
            package("/w/worker", &[]),
        ];
        for other in others {
            assert!(!worker.has_manifests_of(&origin(&other)), "{other:?}");
            assert!(!other.has_manifests_of(&origin(&worker)), "{other:?}");
        }
        let named_by_host = Owner { machine: "host".into(), ..same.clone() };
        let with_id = Owner { earlier_machine: Some("host".into()), ..worker.clone() };
        assert!(with_id.has_manifests_of(&origin(&named_by_host)));
        // Both have their default folders.
        assert!(!package("/w/a", &[]).has_manifests_of(&origin(&package("/w/a", &[]))));
    }

    #[test]
    fn relative_path_leads_from_directory_to_file() {
        let table = [
            ("/w/api", "/w/api/k8s/a.yaml", "k8s/a.yaml"),
            ("/w/api", "/w/api/../k8s/*.yaml", "../k8s/*.yaml"),
            ("/w/api", "/etc/a.yaml", "../../etc/a.yaml"),
        ];
        for (directory, file, expected) in table {
            assert_eq!(relative_path(directory, file), expected);
        }
    }

    #[test]
    fn record_of_same_folder_is_taken_over_by_stronger_identity() {
        let folder = || Identity::from_folder("0123", "/home/jane/app");
        let git = || repository("r", "git@github.com:org/app", "");
        let moved = || repository("r", "git@github.com:new/app", "");
        let key = || Identity::from_key("shop");
        let table = [
            (folder(), git(), true),
            (git(), moved(), true),
            (git(), key(), true),
            (key(), git(), false),
            (git(), folder(), false),
        ];
        for (before, now, expected) in table {
            let (before, now) = (owner(before), owner(now));
            let record =
                |owner: &Owner| json!({"metadata": {"annotations": owner.annotations("j", "t")}});
            let origin = Origin::read(&record(&before)).unwrap();
            assert_eq!(now.is_successor_of(&origin), expected, "{before:?} {now:?}");
            let elsewhere = [
                Owner { machine: "4567".into(), ..before.clone() },
                Owner { directory: "/home/jane/copy".into(), ..before.clone() },
                Owner { package: "api".into(), ..before.clone() },
            ];
            for other in elsewhere {
                let origin = Origin::read(&record(&other)).unwrap();
                assert!(!now.is_successor_of(&origin), "{other:?}");
            }
        }
    }
}
