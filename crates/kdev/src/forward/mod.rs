//! Forwards local ports to the newest ready pod of a workload.
//!
//! The listeners stay open all the time. Each connection goes to a `kubectl port-forward` child
//! for one pod; connections wait while no pod is ready.
//!
//! - `choice.rs`: which pod receives new connections
//! - `listener.rs`: listens on the loopback addresses
//! - `message.rs`: the changes that the main thread handles
//! - `relay.rs`: copies the data of one connection
//! - `route.rs`: the current target of new connections
//! - `tunnel.rs`: the child that forwards to one pod

mod choice;
mod error;
mod listener;
mod message;
mod relay;
mod route;
mod tunnel;

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, Scope};
use std::time::Duration;

use kdev_core::kube::ancestry::{is_running, is_serving};
use kdev_core::kube::forward_spec::{PortRef, container_ports, resolve_port};
use kdev_core::kube::object::text;
use serde_json::Value;

use crate::cluster::pods::{PodChange, watch};
use crate::cluster::{self, Cluster};
use crate::cx::Cx;
use crate::event::Event;
use crate::forward::choice::{Choice, PodInfo, TunnelState};
use crate::forward::message::Message;
use crate::forward::relay::relay;
use crate::forward::route::{Route, Target};
use crate::forward::tunnel::{Tunnel, TunnelEnd};

pub(crate) use error::Result;
pub use error::{Error, InvalidSpec};
pub(crate) use listener::Listener;

/// How often an interrupt is noticed.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(200);
/// The stack of the thread of a connection.
const STACK_SIZE: usize = 256 * 1024;

/// Returns whether a pod belongs to a workload.
pub(crate) type Matches<'a> = Box<dyn Fn(&Value) -> cluster::Result<bool> + Sync + 'a>;

/// A port to forward.
pub(crate) struct Forward<'a> {
    pub(crate) listener: Listener,
    pub(crate) port: PortRef,
    /// Kind and name, such as `deployment/hello`.
    pub(crate) workload: String,
    pub(crate) namespace: String,
    pub(crate) matches: Matches<'a>,
}

/// Forwards until interrupted, which is not an error.
pub(crate) fn run(
    cx: &Cx,
    cluster: &Cluster,
    forwards: &[Forward],
    pods: Vec<Value>,
) -> Result<()> {
    let stop = cx.interrupt().child();
    let stop_cx = cx.clone().with_interrupt(stop.clone());
    let (send, messages) = mpsc::channel();
    let route = |(index, _)| Arc::new(Route::new(index, send.clone()));
    let routes: Vec<Arc<Route>> = forwards.iter().enumerate().map(route).collect();
    for pod in pods {
        let _ = send.send(Message::Pod(PodChange::existing(pod)));
    }
    thread::scope(|scope| {
        for (forward, route) in forwards.iter().zip(&routes) {
            let stop = &stop;
            scope.spawn(move || forward.listener.accept(stop, |client| start_relay(route, client)));
        }
        for namespace in namespaces(forwards) {
            let (send, cx) = (send.clone(), &stop_cx);
            scope.spawn(move || {
                let pass = |change| {
                    let _ = send.send(Message::Pod(change));
                };
                if let Err(error) = watch(cx, cluster, namespace, pass) {
                    let _ = send.send(Message::Failed(error.into()));
                }
            });
        }
        let ports = forwards.iter().zip(&routes).map(|(forward, route)| Port {
            forward,
            route,
            choice: Choice::default(),
            shown: Shown::Nothing,
        });
        let mut forwarder =
            Forwarder { cx: &stop_cx, cluster, send: send.clone(), ports: ports.collect() };
        let result = forwarder.run(scope, &messages);
        stop.raise();
        result
    })
}

fn namespaces<'a>(forwards: &'a [Forward]) -> Vec<&'a str> {
    let mut namespaces: Vec<&str> = forwards.iter().map(|one| one.namespace.as_str()).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    namespaces
}

/// Forwards a connection on a thread that nothing waits for: a client may keep it open.
fn start_relay(route: &Arc<Route>, client: TcpStream) {
    let route = Arc::clone(route);
    let thread = thread::Builder::new().stack_size(STACK_SIZE);
    // If there are too many threads, the connection is closed.
    let _ = thread.spawn(move || relay(&route, &client));
}

/// A forwarded port and its pods.
struct Port<'a> {
    forward: &'a Forward<'a>,
    route: &'a Route,
    choice: Choice,
    /// What was reported last.
    shown: Shown,
}

/// The last report about a port.
#[derive(PartialEq, Eq)]
enum Shown {
    Nothing,
    NotReady,
    Pod(String),
}

/// Handles all changes, on one thread.
struct Forwarder<'a> {
    cx: &'a Cx<'a>,
    cluster: &'a Cluster,
    send: Sender<Message>,
    ports: Vec<Port<'a>>,
}

impl<'a> Forwarder<'a> {
    fn run<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, 'a>,
        messages: &Receiver<Message>,
    ) -> Result<()>
    where
        'a: 'scope,
    {
        while !self.cx.interrupt().is_raised() {
            match messages.recv_timeout(INTERRUPT_INTERVAL) {
                Ok(message) => self.handle(message)?,
                Err(RecvTimeoutError::Timeout)
                    if self.ports.iter().all(|p| p.shown != Shown::Nothing) =>
                {
                    continue;
                }
                // No pod was reported, so none exists.
                Err(_) => {}
            }
            // All pods that exist at the start are handled before the first choice is shown.
            for message in messages.try_iter() {
                self.handle(message)?;
            }
            for port in &mut self.ports {
                start_tunnels(self.cx, self.cluster, &self.send, port, scope);
                port.update(self.cx);
            }
        }
        Ok(())
    }

    fn handle(&mut self, message: Message) -> Result<()> {
        match message {
            Message::Pod(change) => {
                for port in &mut self.ports {
                    port.handle_pod(&change)?;
                }
            }
            Message::Child { index, pod, address } => {
                if let Some(tunnel) = self.ports[index].choice.tunnels.get_mut(&pod) {
                    tunnel.address = address;
                }
            }
            Message::Gone { pod } => {
                for port in &mut self.ports {
                    port.choice.pods.remove(&pod);
                }
            }
            Message::Opened { index, pod } => self.ports[index].count(&pod, 1),
            Message::Closed { index, pod } => self.ports[index].count(&pod, -1),
            Message::TimedOut { index } => {
                let workload = &self.ports[index].forward.workload;
                let text = format!(
                    "a connection was closed, because no pod of {workload} was ready within 30 s"
                );
                self.cx.emit(Event::Note { text });
            }
            Message::Failed(error) => return Err(error),
        }
        Ok(())
    }
}

impl Port<'_> {
    fn handle_pod(&mut self, change: &PodChange) -> Result<()> {
        let pod = &change.pod;
        let uid = text(pod, "/metadata/uid");
        if change.is_deletion() {
            self.choice.pods.remove(uid);
            return Ok(());
        }
        if !self.choice.pods.contains_key(uid) && !(self.forward.matches)(pod)? {
            return Ok(());
        }
        let ports = container_ports(&pod["spec"]);
        let info = PodInfo {
            name: text(pod, "/metadata/name").to_owned(),
            created: text(pod, "/metadata/creationTimestamp").to_owned(),
            is_running: is_running(pod),
            is_serving: is_serving(pod),
            port: resolve_port(&self.forward.port, &ports, &self.forward.workload).ok(),
        };
        self.choice.pods.insert(uid.to_owned(), info);
        Ok(())
    }

    fn count(&mut self, pod: &str, change: isize) {
        if let Some(tunnel) = self.choice.tunnels.get_mut(pod) {
            tunnel.connections = tunnel.connections.saturating_add_signed(change);
        }
    }

    /// Ends unused children, and sends new connections to the chosen pod.
    fn update(&mut self, cx: &Cx) {
        let target = self.choice.target();
        self.route.set(target.clone());
        for pod in self.choice.unused() {
            if let Some(tunnel) = self.choice.tunnels.remove(&pod) {
                tunnel.stop.raise();
            }
        }
        let name = |target: Target| Some(self.choice.pods.get(&target.pod)?.name.clone());
        let pod = target.and_then(name);
        if pod.is_none() && self.choice.is_serving() {
            // The child of a ready pod is starting.
            return;
        }
        let shown = pod.clone().map_or(Shown::NotReady, Shown::Pod);
        if self.shown == shown {
            return;
        }
        self.shown = shown;
        let addresses = self.forward.listener.addresses();
        cx.emit(Event::Forward {
            addresses: addresses.iter().map(ToString::to_string).collect(),
            workload: self.forward.workload.clone(),
            port: self.forward.port.to_string(),
            pod,
        });
    }
}

/// Starts the children that the choice needs.
fn start_tunnels<'scope, 'a: 'scope>(
    cx: &'a Cx<'a>,
    cluster: &'a Cluster,
    send: &Sender<Message>,
    port: &mut Port<'a>,
    scope: &'scope Scope<'scope, 'a>,
) {
    for uid in port.choice.wanted() {
        if port.choice.tunnels.contains_key(&uid) {
            continue;
        }
        let Some(info) = port.choice.pods.get(&uid) else { continue };
        let Some(number) = info.port else { continue };
        let tunnel = Tunnel {
            namespace: port.forward.namespace.clone(),
            pod: info.name.clone(),
            port: number,
        };
        let (stop, index) = (cx.interrupt().child(), port.route.index);
        let state = TunnelState { stop: stop.clone(), address: None, connections: 0 };
        port.choice.tunnels.insert(uid.clone(), state);
        let (cx, send) = (cx.clone().with_interrupt(stop), send.clone());
        scope.spawn(move || {
            let pass = |address| {
                let pod = uid.clone();
                let _ = send.send(Message::Child { index, pod, address });
            };
            let message = match tunnel.run(&cx, cluster, &pass) {
                Ok(TunnelEnd::Stopped) => return,
                Ok(TunnelEnd::Gone) => Message::Gone { pod: uid.clone() },
                Err(error) => Message::Failed(error),
            };
            let _ = send.send(message);
        });
    }
}
