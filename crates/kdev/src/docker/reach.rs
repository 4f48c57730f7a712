//! Opens the endpoint that the daemon pushes to: a port of the loopback interface that the
//! daemon uses, which may not be the one of this machine.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fmt, io};

use crate::cx::Cx;
use crate::docker::tunnel::{Tunnel, TunnelError};
use crate::docker::{Docker, DockerFacts, LayerSource, namespace, ports};
use crate::event::Event;
use crate::tools::ssh::SshTarget;

/// How the daemon reaches a port of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reach {
    /// It uses the same loopback interface.
    Loopback,
    /// It uses that of this process, which is in another network namespace.
    Namespace(i32),
    /// A port of the daemon's machine can be forwarded.
    Ssh(SshTarget),
    /// It does not.
    Unreachable,
}

/// An endpoint that is open. It is closed on drop.
#[derive(Debug)]
pub(crate) struct Endpoint {
    listener: TcpListener,
    /// The port on the loopback interface of the daemon.
    port: u16,
    reach: Reach,
    tunnel: Option<Tunnel>,
}

/// The endpoint of one run.
#[derive(Clone, Default)]
pub(crate) struct EndpointSlot(Arc<Mutex<Slot>>);

#[derive(Default)]
struct Slot {
    reach: Option<Reach>,
    /// A carried endpoint, which is opened once for several pushes.
    carried: Option<Arc<Endpoint>>,
}

impl Endpoint {
    /// Returns the address of the endpoint as the daemon reaches it.
    pub(crate) fn address(&self) -> String {
        ports::address(self.port).to_string()
    }

    /// Returns the name of the endpoint in the cache.
    pub(crate) fn cache_key(&self) -> String {
        self.reach.cache_key(self.port)
    }

    pub(crate) fn listener(&self) -> io::Result<TcpListener> {
        self.listener.try_clone()
    }

    /// Returns whether a daemon that did not connect cannot do so, and not because a
    /// connection to its machine was lost.
    pub(crate) fn is_intact(&self) -> bool {
        self.tunnel.as_ref().is_none_or(Tunnel::is_connected)
    }

    fn new(listener: TcpListener, reach: Reach) -> io::Result<Self> {
        let port = listener.local_addr()?.port();
        Ok(Self { listener, port, reach, tunnel: None })
    }
}

impl Reach {
    /// Returns the name of an endpoint in the cache. A daemon on another machine has recorded
    /// other digests.
    fn cache_key(&self, port: u16) -> String {
        match self {
            Self::Ssh(target) => format!("{}@{target}", ports::address(port)),
            // The process ID changes.
            Self::Namespace(_) => format!("{}@namespace", ports::address(port)),
            Self::Loopback | Self::Unreachable => ports::address(port).to_string(),
        }
    }

    fn from_facts(facts: &DockerFacts) -> Self {
        if facts.has_refused_push() {
            return Self::Unreachable;
        }
        match facts.address.split_once("://") {
            Some(("unix", socket)) => {
                let process = namespace::process_in_other_namespace(socket);
                process.map_or(Self::Loopback, Self::Namespace)
            }
            Some(("ssh", rest)) => {
                // A path of the daemon's socket may follow.
                let target = rest.split('/').next().and_then(SshTarget::parse);
                target.map_or(Self::Unreachable, Self::Ssh)
            }
            _ => Self::Unreachable,
        }
    }
}

impl Docker {
    /// Returns the name that the endpoint for an image usually has in the cache.
    pub(crate) fn usual_endpoint(&self, cx: &Cx, image: &str) -> String {
        self.reach(cx, &mut self.endpoint.lock()).cache_key(ports::usual(image))
    }

    /// Opens the endpoint for an image, or returns the one that is open. Returns `None` if the
    /// daemon cannot reach it.
    pub(crate) fn open_endpoint(&self, cx: &Cx, image: &str) -> Option<Arc<Endpoint>> {
        let mut slot = self.endpoint.lock();
        if let Some(endpoint) = slot.carried.as_ref().filter(|endpoint| endpoint.is_intact()) {
            return Some(Arc::clone(endpoint));
        }
        match self.reach(cx, &mut slot) {
            Reach::Loopback => Self::listen_here(image).map(Arc::new),
            Reach::Namespace(pid) => Self::listen_in_namespace(cx, image, pid).map(Arc::new),
            Reach::Unreachable => None,
            Reach::Ssh(target) => {
                let endpoint = Self::forward(cx, image, &target).map(Arc::new);
                slot.carried.clone_from(&endpoint);
                if endpoint.is_none() {
                    slot.reach = Some(Reach::Unreachable);
                }
                endpoint
            }
        }
    }

    /// Closes a connection to the daemon's machine. The next push opens it again.
    pub(crate) fn close_endpoint(&self) {
        self.endpoint.lock().carried = None;
    }

    /// Records that the daemon cannot reach the endpoint, so that this run and the next ones
    /// do not try again.
    pub(crate) fn refuse_endpoint(&self, cx: &Cx, endpoint: &Endpoint) {
        let cause = match &endpoint.reach {
            Reach::Ssh(target) => {
                format!("the Docker daemon on `{target}` cannot use a port that SSH forwards")
            }
            _ => "the Docker daemon cannot connect to this machine".to_owned(),
        };
        self.endpoint.lock().reach = Some(Reach::Unreachable);
        self.record_refused_push(cx, None);
        // BuildKit exports single layers.
        if self.layer_source(cx) != LayerSource::Layout {
            note_slow_builds(cx, &cause, "`cargo kdev doctor` shows how to avoid it");
        }
    }

    fn reach(&self, cx: &Cx, slot: &mut Slot) -> Reach {
        let detect =
            || self.facts(cx, None).map_or(Reach::Unreachable, |facts| Reach::from_facts(&facts));
        slot.reach.get_or_insert_with(detect).clone()
    }

    fn listen_in_namespace(cx: &Cx, image: &str, pid: i32) -> Option<Endpoint> {
        let listener = namespace::listen(cx, pid, image);
        // Without it, the daemon is asked to connect, and the failure is recorded.
        let endpoint = listener.and_then(|one| Endpoint::new(one, Reach::Namespace(pid)));
        endpoint.ok().or_else(|| Self::listen_here(image))
    }

    fn listen_here(image: &str) -> Option<Endpoint> {
        let listener = ports::listen(image, ports::FIRST);
        listener.and_then(|listener| Endpoint::new(listener, Reach::Loopback)).ok()
    }

    fn forward(cx: &Cx, image: &str, target: &SshTarget) -> Option<Endpoint> {
        let listener = ports::listen(image, ports::FIRST_FORWARDED).ok()?;
        let endpoint = Endpoint::new(listener, Reach::Ssh(target.clone())).ok()?;
        match Tunnel::open(cx, target, ports::usual(image), endpoint.port) {
            Ok((tunnel, port)) => Some(Endpoint { port, tunnel: Some(tunnel), ..endpoint }),
            Err(_) if cx.interrupt().is_raised() => None,
            Err(TunnelError::NotConnected(reason)) => {
                let cause = format!("SSH cannot forward a port of `{target}` ({reason})");
                let check = format!("check `{}`", target.display_check());
                note_slow_builds(cx, &cause, &check);
                None
            }
            Err(TunnelError::Forbidden) => {
                let cause = format!("the SSH server on `{target}` does not permit port forwarding");
                let setting = "set `AllowTcpForwarding yes` in its `sshd_config`";
                // Not recorded: the next run uses the new setting.
                note_slow_builds(cx, &cause, setting);
                None
            }
        }
    }
}

fn note_slow_builds(cx: &Cx, cause: &str, help: &str) {
    let text = format!("{cause}, so Docker exports the whole image after each build; {help}");
    cx.emit(Event::Note { text });
}

impl EndpointSlot {
    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for EndpointSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EndpointSlot")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reach_depends_on_address() {
        let ssh = |target| Reach::Ssh(SshTarget::parse(target).unwrap());
        let table = [
            ("unix:///var/run/docker.sock", Reach::Loopback),
            ("ssh://dev@host", ssh("dev@host")),
            ("ssh://dev@host:2222", ssh("dev@host:2222")),
            ("ssh://host/run/user/1000/docker.sock", ssh("host")),
            ("ssh://dev@[fe80::1]:22", ssh("dev@[fe80::1]:22")),
            ("ssh://-oProxyCommand=id", Reach::Unreachable),
            ("ssh://dev:secret@host", Reach::Unreachable),
            ("tcp://127.0.0.1:2376", Reach::Unreachable),
            ("npipe:////./pipe/docker_engine", Reach::Unreachable),
            ("", Reach::Unreachable),
        ];
        for (address, expected) in table {
            let facts = DockerFacts { address: address.to_owned(), ..DockerFacts::default() };
            assert_eq!(Reach::from_facts(&facts), expected, "{address}");
            assert_eq!(Reach::from_facts(&facts.with_refused_push()), Reach::Unreachable);
        }
    }

    #[test]
    fn cache_distinguishes_daemons_with_same_port() {
        let ssh = Reach::Ssh(SshTarget::parse("dev@host:2222").unwrap());
        assert_eq!(ssh.cache_key(47_612), "127.0.0.1:47612@dev@host:2222");
        assert_eq!(Reach::Loopback.cache_key(47_612), "127.0.0.1:47612");
    }
}
