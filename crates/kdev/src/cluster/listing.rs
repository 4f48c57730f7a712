//! Lists the nodes and namespaces, and checks that namespaces can be used.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kdev_core::kube::deletion;
use kdev_core::kube::node::{Node, NodeList};
use kdev_core::kube::object::{list, text};
use serde_json::{Value, json};

use crate::cluster::error::{Error, Result};
use crate::cluster::namespaces::{Namespaces, is_namespace};
use crate::cluster::requests::SharedRequests;
use crate::cluster::{Cluster, Listed};
use crate::cx::Cx;
use crate::details::Details;
use crate::tools;

/// The nodes and namespaces that the packages of one run share, by context.
#[derive(Default)]
pub(crate) struct Listings {
    listed: Mutex<BTreeMap<String, Listed>>,
    requests: Arc<SharedRequests>,
}

impl Listings {
    /// Returns the list of a cluster; the first package fetches it.
    pub(crate) fn get(&self, cx: &Cx, cluster: &Cluster) -> Result<Listed> {
        let mut listings = self.lock();
        if let Some(listed) = listings.get(&cluster.context) {
            return Ok(listed.clone());
        }
        let listed = cluster.nodes_and_namespaces(cx)?;
        listings.insert(cluster.context.clone(), listed.clone());
        Ok(listed)
    }

    /// The requests that the packages share.
    pub(crate) fn requests(&self) -> &Arc<SharedRequests> {
        &self.requests
    }

    /// Forgets all lists, because the run has changed the clusters.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Listed>> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cluster {
    /// Lists all nodes and, if the user is allowed to, all namespaces, with one request.
    pub(crate) fn nodes_and_namespaces(&self, cx: &Cx) -> Result<Listed> {
        if let Some(listed) = &self.listed {
            return Ok(listed.clone());
        }
        let sh = cx.shell()?;
        let cmd = self.cmd(&sh, None).args(["get", "nodes,namespaces", "--output=json"]);
        let objects: Value = match self.get_json(cx, cmd, "list nodes and namespaces") {
            Err(Error::Rejected { .. }) => return Ok((self.nodes(cx)?, None)),
            objects => objects?,
        };
        Ok((select_nodes(&objects)?, Some(Namespaces::from_list(&objects))))
    }

    /// Lists all namespaces; `None` if the user is not allowed to.
    pub(crate) fn namespaces(&self, cx: &Cx) -> Result<Option<Namespaces>> {
        if let Some((_, namespaces)) = &self.listed {
            return Ok(namespaces.clone());
        }
        let sh = cx.shell()?;
        let cmd = self.cmd(&sh, None).args(["get", "namespaces", "--output=json"]);
        match self.get_json::<Value>(cx, cmd, "list namespaces") {
            Err(Error::Rejected { .. }) => Ok(None),
            objects => Ok(Some(Namespaces::from_list(&objects?))),
        }
    }

    /// Returns an error if the namespace does not exist. Users who are not allowed to list
    /// namespaces get no error.
    pub(crate) fn require_namespace(&self, cx: &Cx) -> Result<()> {
        self.require_namespace_or(cx, &[])
    }

    /// Does the same; the error suggests the namespaces to which `up` has applied the package.
    pub(crate) fn require_namespace_or(&self, cx: &Cx, applied_to: &[String]) -> Result<()> {
        match self.namespaces(cx)? {
            Some(known) if !known.has(&self.namespace) => Err(Error::NamespaceNotFound {
                context: self.context.clone(),
                namespace: self.namespace.clone(),
                known: known.names(),
                applied_to: applied_to.to_vec(),
                create: None,
            }),
            _ => Ok(()),
        }
    }

    /// Checks that objects can be created in the namespaces `used`; `created` are those that the
    /// manifests create.
    pub(crate) fn check_namespaces(
        &self,
        namespaces: &Namespaces,
        used: &BTreeSet<&str>,
        created: &BTreeSet<&str>,
    ) -> Result<()> {
        for &namespace in used {
            let is_created = created.contains(namespace);
            match namespaces.find(namespace) {
                Some(live) => self.check_not_terminating(live, is_created)?,
                None if is_created => {}
                None => {
                    return Err(Error::NamespaceNotFound {
                        context: self.context.clone(),
                        namespace: namespace.to_owned(),
                        known: namespaces.names(),
                        applied_to: Vec::new(),
                        create: Some(self.create_command(namespace)),
                    });
                }
            }
        }
        Ok(())
    }

    fn check_not_terminating(&self, live: &Value, is_created: bool) -> Result<()> {
        let since = text(live, "/metadata/deletionTimestamp");
        if since.is_empty() {
            return Ok(());
        }
        let (namespace, kubectl) = (text(live, "/metadata/name"), self.display_cluster_command());
        let wait = format!("{kubectl} wait --for=delete namespace/{namespace} --timeout=120s");
        let create = self.create_command(namespace);
        let remains = deletion::namespace_remains(live);
        Err(Error::NamespaceTerminating {
            context: self.context.clone(),
            namespace: namespace.to_owned(),
            since: since.to_owned(),
            command: if is_created { wait } else { format!("{wait} && {create}") },
            reason: (!remains.is_empty()).then(|| Details(remains.join("; "))),
        })
    }

    fn create_command(&self, namespace: &str) -> String {
        format!("{} create namespace {namespace}", self.display_cluster_command())
    }
}

/// Parses the nodes in a list of objects.
fn select_nodes(objects: &Value) -> Result<Vec<Node>> {
    let nodes: Vec<&Value> =
        list(&objects["items"]).filter(|object| !is_namespace(object)).collect();
    let list: NodeList = serde_json::from_value(json!({"items": nodes}))
        .map_err(|error| tools::Error::unexpected("kubectl", error))?;
    Ok(list.into())
}
