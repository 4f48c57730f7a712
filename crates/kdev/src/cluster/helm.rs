//! How `helm` selects the same cluster as `kubectl`.

use std::ffi::OsString;

use crate::cluster::Cluster;
use crate::cluster::error::Result;
use crate::cluster::kubeconfig::{self, ClusterTarget, KubeconfigView};
use crate::cx::Cx;

impl Cluster {
    /// Returns the flags with which `helm` selects this context and namespace.
    pub(crate) fn helm_flags(&self) -> Vec<OsString> {
        let named = ["--kube-context", &self.context, "--namespace", &self.namespace];
        let mut flags: Vec<OsString> = named.map(OsString::from).into();
        if let Some(path) = &self.kubeconfig {
            flags.extend(["--kubeconfig".into(), path.into()]);
        }
        flags
    }

    /// Returns whether `helm` connects to the same server. The `kubectl` of a distribution can
    /// read another default kubeconfig, with a context of the same name. If `helm` does not
    /// find the context, it fails itself.
    pub(crate) fn is_same_for_helm(&self, cx: &Cx, target: &ClusterTarget) -> Result<bool> {
        if self.kubeconfig.is_some() || kubeconfig::is_plain_kubectl(&self.kubectl) {
            return Ok(true);
        }
        let server = |view: &KubeconfigView| {
            let entry = view.contexts().into_iter().find(|entry| entry.name == self.context)?;
            Some(view.server(&entry.context.cluster))
        };
        let used = kubeconfig::view_with_kubectl(cx, &self.kubectl, None)?;
        let found = kubeconfig::read_selected(target).as_ref().and_then(server);
        Ok(found.is_none() || found == server(&used))
    }
}
