//! Reads the contexts and servers from the kubeconfigs.
//!
//! kdev reads the files itself if their paths are known, which saves a start of `kubectl`.
//! In all other cases it runs `kubectl config view`.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::cluster::credentials::{Credentials, UserEntry};
use crate::cluster::error::{Error, Result};
use crate::cluster::kubectl::{self, KUBECTL_TIMEOUT};
use crate::cx::Cx;
use crate::parallel::run_both;
use crate::process::Command;
use crate::tools;

/// The context and the kubeconfig that the user selected.
#[derive(Clone, Debug, Default)]
pub struct ClusterTarget {
    /// The context to use. Passing a context also allows changes to it.
    pub context: Option<String>,
    /// The kubeconfig to use instead of the default ones.
    pub kubeconfig: Option<PathBuf>,
    /// The files that `kubectl` reads by default, from `KUBECONFIG` or in the home
    /// directory. If empty, `kubectl config view` is run instead of reading them.
    pub default_paths: Vec<PathBuf>,
}

impl ClusterTarget {
    /// Returns the context that the user passed.
    pub(crate) fn explicit_context(&self) -> Option<String> {
        self.context.clone().filter(|name| !name.is_empty())
    }

    /// Returns the selected kubeconfig, or the default ones.
    pub(crate) fn files(&self) -> &[PathBuf] {
        self.kubeconfig.as_ref().map_or(self.default_paths.as_slice(), std::slice::from_ref)
    }

    /// Returns the kubeconfigs that do not exist.
    pub(crate) fn missing_files(&self) -> Vec<PathBuf> {
        self.files().iter().filter(|path| !path.exists()).cloned().collect()
    }
}

/// The path of `kubectl`, and the content of the kubeconfig.
pub(crate) struct Kubeconfig {
    pub(crate) kubectl: PathBuf,
    pub(crate) path: Option<PathBuf>,
    pub(crate) view: KubeconfigView,
}

impl Kubeconfig {
    /// Checks the version of `kubectl` and reads the kubeconfig, without connecting to a
    /// cluster.
    pub(crate) fn read(cx: &Cx, target: &ClusterTarget) -> Result<Self> {
        let kubectl = tools::KUBECTL.find()?;
        let path = target.kubeconfig.as_ref();
        let view = || match read_files(&kubectl, target) {
            Some(view) => Ok(view),
            None => view_with_kubectl(cx, &kubectl, path),
        };
        let (version, view) = run_both(|| tools::check_kubectl(cx, &kubectl), view);
        version?;
        Ok(Self { view: view?, path: path.cloned(), kubectl })
    }
}

/// Reads the files, or returns `None` if `kubectl` might read other files or interpret
/// them differently.
fn read_files(kubectl: &Path, target: &ClusterTarget) -> Option<KubeconfigView> {
    if is_plain_kubectl(kubectl) { read_selected(target) } else { None }
}

/// Returns whether a program is `kubectl` itself. That of k3s or MicroK8s uses different
/// default files.
pub(super) fn is_plain_kubectl(kubectl: &Path) -> bool {
    let program = kubectl.canonicalize().ok();
    let name = program.as_deref().and_then(Path::file_name);
    name.is_some_and(|name| name.to_string_lossy().starts_with("kubectl"))
}

/// Reads the selected file, or the default ones.
pub(crate) fn read_selected(target: &ClusterTarget) -> Option<KubeconfigView> {
    let paths = target.files();
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).ok()?;
        let view = serde_yaml::from_str::<KubeconfigView>(&text).ok()?;
        Some(view.with_file(path))
    };
    let mut views = Vec::new();
    for path in paths.iter().filter(|path| path.exists()) {
        views.push(read(path)?);
    }
    let view = views.into_iter().reduce(KubeconfigView::merge)?;
    (!view.contexts().is_empty()).then_some(view)
}

pub(super) fn view_with_kubectl(
    cx: &Cx,
    kubectl: &Path,
    kubeconfig: Option<&PathBuf>,
) -> Result<KubeconfigView> {
    let sh = cx.shell()?;
    let cmd = kubectl::kubectl_command(&sh, kubectl, kubeconfig).args([
        "config",
        "view",
        "--output=json",
    ]);
    let failed = |source| Error::Command { action: "read the kubeconfig", source };
    let output = Command::new(cmd).timeout(KUBECTL_TIMEOUT).read(cx).map_err(failed)?;
    kubectl::parse_json(&output.stdout)
}

/// The content of a kubeconfig, or the output of `kubectl config view`, in which empty
/// lists are null.
#[derive(Default, Deserialize)]
pub(crate) struct KubeconfigView {
    contexts: Option<Vec<ContextEntry>>,
    clusters: Option<Vec<ClusterEntry>>,
    users: Option<Vec<UserEntry>>,
    #[serde(rename = "current-context", default)]
    current_context: Option<String>,
}

#[derive(Clone, Deserialize)]
pub(crate) struct ContextEntry {
    pub(crate) name: String,
    pub(crate) context: ContextBody,
}

#[derive(Clone, Deserialize)]
pub(crate) struct ContextBody {
    pub(crate) cluster: String,
    pub(crate) namespace: Option<String>,
    #[serde(default)]
    pub(crate) user: String,
}

#[derive(Clone, Deserialize)]
pub(crate) struct ClusterEntry {
    name: String,
    cluster: ClusterBody,
}

#[derive(Clone, Deserialize)]
pub(crate) struct ClusterBody {
    #[serde(default)]
    server: String,
}

impl KubeconfigView {
    pub(crate) fn current_context(&self) -> Option<String> {
        self.current_context.clone().filter(|name| !name.is_empty())
    }

    pub(crate) fn contexts(&self) -> Vec<ContextEntry> {
        self.contexts.clone().unwrap_or_default()
    }

    pub(crate) fn server(&self, cluster: &str) -> String {
        let found = self.clusters.iter().flatten().find(|c| c.name == cluster);
        found.map_or_else(|| "unknown".to_owned(), |c| c.cluster.server.clone())
    }

    /// Returns the credentials of a user.
    pub(crate) fn credentials(&self, user: &str) -> Credentials {
        let entry = self.users.iter().flatten().find(|entry| entry.name == user).cloned();
        Credentials { user: user.to_owned(), entry }
    }

    /// Sets the file of the users, relative to which their paths are.
    fn with_file(mut self, path: &Path) -> Self {
        self.users.iter_mut().flatten().for_each(|user| user.file = Some(path.to_owned()));
        self
    }

    /// Merges another file as `kubectl` does: the first file that sets a value wins.
    fn merge(mut self, next: Self) -> Self {
        self.current_context = self.current_context().or(next.current_context);
        self.contexts.get_or_insert_default().extend(next.contexts.into_iter().flatten());
        self.clusters.get_or_insert_default().extend(next.clusters.into_iter().flatten());
        self.users.get_or_insert_default().extend(next.users.into_iter().flatten());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(text: &str) -> KubeconfigView {
        serde_yaml::from_str(text).unwrap()
    }

    #[test]
    fn merged_kubeconfigs_prefer_first_file() {
        let first = "contexts: [{name: a, context: {cluster: x, namespace: n}}]\nclusters: null\n";
        let second = "current-context: b\ncontexts:\n- {name: a, context: {cluster: y}}\n- {name: b, context: {cluster: y}}\nclusters: [{name: y, cluster: {server: 's'}}]\n";
        let merged = view(first).merge(view(second));
        assert_eq!(merged.current_context().as_deref(), Some("b"));
        let a = merged.contexts().into_iter().find(|c| c.name == "a").unwrap();
        assert_eq!((a.context.cluster.as_str(), a.context.namespace.as_deref()), ("x", Some("n")));
        assert_eq!((merged.server("y").as_str(), merged.server("x").as_str()), ("s", "unknown"));
        assert_eq!(
            view(second).merge(view("current-context: a\n")).current_context().as_deref(),
            Some("b")
        );
    }
}
