//! Reports where a workload can be reached after `up`.

use kdev_core::image::reference::Name;
use kdev_core::kube::object::format_id;
use kdev_manifest::{documents, endpoints, expected};

use crate::cluster::Cluster;
use crate::cx::Cx;
use crate::event::Event;
use crate::manifests::Manifest;

/// Emits the address of the first workload that has a port, and the command that forwards it.
/// `flags` select the project and the cluster.
pub(crate) fn report(
    cx: &Cx,
    cluster: &Cluster,
    manifests: &[Manifest],
    image: &Name,
    flags: &str,
) {
    let texts: Vec<String> = manifests.iter().map(|manifest| manifest.text.clone()).collect();
    let documents = texts.iter().flat_map(|text| documents::split(text));
    let objects: Vec<_> = documents.flat_map(expected::objects_in).collect();
    let workloads = expected::all(&texts, image);
    let found = workloads.iter().find_map(|one| Some((one, endpoints::find(one, &objects)?)));
    let Some((workload, endpoint)) = found else { return };
    let id = format_id(&workload.kind, &workload.name);
    let namespace = workload.namespace.as_deref().unwrap_or(&cluster.namespace);
    let suffix = if workloads.first() == Some(workload) { String::new() } else { format!("/{id}") };
    cx.emit(Event::Address {
        address: endpoint.service.map(|(name, port)| format!("{name}.{namespace}.svc:{port}")),
        workload: id,
        port: endpoint.port,
        command: format!("cargo kdev forward {}{suffix}{flags}", endpoint.port),
    });
}
