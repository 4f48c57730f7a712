//! `cargo kdev forward`: forwards local ports to the newest ready pod of a workload.

use kdev_core::kube::ancestry::PodQuery;
use kdev_core::kube::forward_spec::{
    ContainerPort, ForwardSpec, LocalPort, PortRef, container_ports, resolve_port,
    unprivileged_port,
};
use kdev_core::kube::kinds;
use kdev_core::kube::object::{id, text};
use serde_json::Value;

use crate::cluster::kubeconfig::ClusterTarget;
use crate::commands::live_pods::{LiveProject, PodFilter};
use crate::config::{Config, ConfigLayer};
use crate::cx::Cx;
use crate::error::Result;
use crate::event::Event;
use crate::forward::{self, Forward, InvalidSpec, Listener};
use crate::project::PackageSelection;

/// The options of [`forward()`].
#[derive(Clone, Debug, Default)]
pub struct ForwardRequest {
    /// The packages.
    pub selection: PackageSelection,
    /// The cluster.
    pub target: ClusterTarget,
    /// The ports, as `[LOCAL:]PORT[/WORKLOAD]`; if empty, those of the settings or, without them,
    /// the TCP ports of the project's first workload.
    pub ports: Vec<String>,
    /// Settings from flags and environment variables.
    pub flags: ConfigLayer,
}

/// Forwards local ports until interrupted, which is not an error. Read-only, so no context needs
/// permission.
pub fn forward(cx: &Cx, request: &ForwardRequest) -> Result<()> {
    check_ports(&request.ports)?;
    let project = LiveProject::read(cx, &request.selection, &request.target, &request.flags)?;
    forward_live(cx, &project, &request.ports)
}

/// Forwards these ports or, without any, those of the settings or of the first workload, until
/// interrupted.
pub(crate) fn forward_live(cx: &Cx, project: &LiveProject, ports: &[String]) -> Result<()> {
    let named = parse_all(ports)?;
    let mut packages = Vec::new();
    for config in &project.configs {
        let specs = if named.is_empty() { parse_all(&config.forward)? } else { Vec::new() };
        packages.push((config, specs));
    }
    let specs = packages.iter().flat_map(|(_, specs)| specs).chain(&named);
    let queries: Vec<PodQuery> =
        specs.filter_map(|(_, spec)| PodQuery::parse(spec.workload.as_ref()?)).collect();
    let items = project.fetch(cx, &queries)?;
    let mut ports = Vec::new();
    for (text, spec) in &named {
        ports.push(resolve(cx, project, &project.configs, &items, (text, spec))?);
    }
    if named.is_empty() {
        ports.extend(configured_ports(cx, project, &packages, &items)?);
    }
    let filters: Vec<PodFilter> =
        ports.iter().map(|port| PodFilter::new(&project.cluster, port.object, &items)).collect();
    let mut forwards = Vec::new();
    for (port, filter) in ports.into_iter().zip(&filters) {
        forwards.push(Forward {
            listener: port.listener,
            port: port.port,
            workload: filter.id.clone(),
            namespace: filter.namespace.clone(),
            matches: Box::new(move |pod| filter.matches(cx, pod)),
        });
    }
    let pods = items.iter().filter(|item| item["kind"] == "Pod").cloned().collect();
    Ok(forward::run(cx, &project.cluster, &forwards, pods)?)
}

/// A port with its workload, and the local port that is open.
struct Resolved<'a> {
    listener: Listener,
    port: PortRef,
    object: &'a Value,
}

/// Checks the syntax of ports, before anything else runs.
pub(crate) fn check_ports(ports: &[String]) -> Result<()> {
    parse_all(ports).map(drop)
}

fn parse_all(texts: &[String]) -> Result<Vec<Spec>> {
    let parse = |text: &String| {
        let spec = ForwardSpec::parse(text).map_err(|reason| invalid(text, reason, EXAMPLES))?;
        Ok((text.clone(), spec))
    };
    texts.iter().map(parse).collect()
}

const EXAMPLES: &str =
    "use `PORT`, `LOCAL:PORT`, or `LOCAL:PORT/WORKLOAD`, such as `9000:8080/deployment/hello`";

fn invalid(spec: &str, reason: String, help: impl Into<String>) -> forward::Error {
    InvalidSpec { spec: spec.to_owned(), reason, help: help.into() }.into()
}

/// A port of the command line or of the settings, as written and parsed.
type Spec = (String, ForwardSpec);

/// Returns the ports of each package: those of its settings or, without them, those that its first
/// workload declares. Of several packages, a port that cannot be forwarded is left out, with a note.
fn configured_ports<'a>(
    cx: &Cx,
    project: &LiveProject,
    packages: &[(&Config, Vec<Spec>)],
    items: &'a [Value],
) -> Result<Vec<Resolved<'a>>> {
    let (mut ports, mut first_error) = (Vec::new(), None);
    for (config, specs) in packages {
        let package = std::slice::from_ref(*config);
        let resolve = |(text, spec): &Spec| resolve(cx, project, package, items, (text, spec));
        let found: Vec<Result<Resolved>> = match specs.as_slice() {
            [] => match default_ports(cx, project, package, items) {
                Ok(found) => found.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            },
            specs => specs.iter().map(resolve).collect(),
        };
        for port in found {
            match port {
                Ok(port) => ports.push(port),
                Err(error) if packages.len() == 1 || error.is_interrupt() => return Err(error),
                Err(error) => {
                    let what = if specs.is_empty() { "no port is" } else { "a port is not" };
                    let text = format!("{what} forwarded: {error}");
                    cx.for_service(&config.package).emit(Event::Note { text });
                    first_error.get_or_insert(error);
                }
            }
        }
    }
    match first_error {
        Some(error) if ports.is_empty() => Err(error),
        _ => Ok(ports),
    }
}

/// Finds the workload of a port, and opens the local port. `packages` are those of the workload if
/// the port does not name it.
fn resolve<'a>(
    cx: &Cx,
    project: &LiveProject,
    packages: &[Config],
    items: &'a [Value],
    (text, spec): (&str, &ForwardSpec),
) -> Result<Resolved<'a>> {
    let object = match &spec.workload {
        Some(workload) => project.find(cx, workload, PodQuery::parse(workload).as_ref(), items)?,
        None => workload_with_port(cx, project, packages, items, (text, &spec.port))?,
    };
    let ports = declared_ports(object);
    let number = resolve_port(&spec.port, &ports, &id(object)).map_err(|reason| {
        invalid(text, reason, "use the number of a TCP port on which the program listens")
    })?;
    let local = match spec.local {
        LocalPort::Same => number,
        LocalPort::Any => 0,
        LocalPort::Number(local) => local,
    };
    let suffix = spec.workload.as_ref().map(|name| format!("/{name}")).unwrap_or_default();
    let listener = Listener::open(local).map_err(|source| forward::Error::Listen {
        port: local,
        alternative: format!("{}:{}{suffix}", alternative(local), spec.port),
        source,
    })?;
    Ok(Resolved { listener, port: spec.port.clone(), object })
}

/// Returns a free local port to suggest.
fn alternative(local: u16) -> u16 {
    let free = Listener::open_near(local).ok().and_then(|listener| listener.port());
    free.unwrap_or_else(|| unprivileged_port(local))
}

/// Returns the TCP ports of the project's first workload, each at the same local port or the next
/// one that is free.
fn default_ports<'a>(
    cx: &Cx,
    project: &LiveProject,
    package: &[Config],
    items: &'a [Value],
) -> Result<Vec<Resolved<'a>>> {
    let object = first_workload(cx, project, package, items)?;
    let (tcp, others): (Vec<_>, Vec<_>) =
        declared_ports(object).into_iter().partition(ContainerPort::is_tcp);
    for port in &others {
        let text = format!(
            "{} port {} is not forwarded, because only TCP can be",
            port.protocol, port.number
        );
        cx.emit(Event::Note { text });
    }
    if tcp.is_empty() {
        let reason = "it declares no TCP port".to_owned();
        let help = "pass the port on which the program listens, such as `cargo kdev forward 8080`";
        return Err(invalid(&id(object), reason, help).into());
    }
    let open = |port: ContainerPort| {
        let number = port.number;
        let listener = Listener::open_near(number).map_err(|source| forward::Error::Listen {
            port: number,
            alternative: format!("{}:{number}", alternative(number)),
            source,
        })?;
        if let Some(local) = listener.port().filter(|local| *local != number) {
            let text = format!("port {number} of this machine cannot be used; using {local}");
            cx.emit(Event::Note { text });
        }
        Ok(Resolved { listener, port: PortRef::Number(number), object })
    };
    tcp.into_iter().map(open).collect()
}

/// Returns the first workload of the packages. Of several packages, only one may declare the port.
fn workload_with_port<'a>(
    cx: &Cx,
    project: &LiveProject,
    packages: &[Config],
    items: &'a [Value],
    (text, port): (&str, &PortRef),
) -> Result<&'a Value> {
    if packages.len() == 1 {
        return first_workload(cx, project, packages, items);
    }
    project.require_applied(cx, items)?;
    let mut firsts: Vec<&Value> = Vec::new();
    for package in packages {
        let first = project.workloads_of(package).find_map(|one| project.live(one, items));
        firsts
            .extend(first.filter(|first| firsts.iter().all(|known| !std::ptr::eq(*known, *first))));
    }
    let declares = |object: &&&Value| {
        declared_ports(object).iter().any(|declared| match port {
            PortRef::Number(number) => declared.number == *number,
            PortRef::Name(name) => declared.name == *name,
        })
    };
    let mut declaring = firsts.iter().filter(declares);
    match (declaring.next(), declaring.next()) {
        (Some(only), None) => Ok(only),
        (first, _) => {
            let reason = match first {
                Some(_) => "several workloads of the selected packages declare it",
                None => "no workload of the selected packages declares it",
            };
            let reason = reason.to_owned();
            let example =
                first.or(firsts.first()).map_or("deployment/hello".to_owned(), |it| id(it));
            Err(invalid(text, reason, format!("pass the workload, such as `{text}/{example}`"))
                .into())
        }
    }
}

fn first_workload<'a>(
    cx: &Cx,
    project: &LiveProject,
    packages: &[Config],
    items: &'a [Value],
) -> Result<&'a Value> {
    project.require_applied(cx, items)?;
    let mut workloads = packages.iter().flat_map(|package| project.workloads_of(package));
    workloads.find_map(|workload| project.live(workload, items)).ok_or_else(|| {
        let reason = "no manifest has a workload with the image of the project".to_owned();
        invalid("PORT", reason, "pass the workload, such as `8080/deployment/hello`").into()
    })
}

/// Returns the ports in the pod template of a workload.
fn declared_ports(object: &Value) -> Vec<ContainerPort> {
    let kind = kinds::BUILT_IN.find(text(object, "/kind"));
    let specs = kind.into_iter().flat_map(|kind| kind.pod_specs);
    let spec = |path: &&[&str]| path.iter().try_fold(object, |value, key| value.get(*key));
    specs.filter_map(spec).flat_map(container_ports).collect()
}
