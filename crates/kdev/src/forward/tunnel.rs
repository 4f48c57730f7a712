//! Forwards to one pod by `kubectl port-forward`, which is started again when it ends.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::cluster::pods::{is_permanent, retry_note, wait};
use crate::cluster::{Cluster, NO_REQUEST_TIMEOUT};
use crate::cx::Cx;
use crate::event::Event;
use crate::forward::error::Result;
use crate::process::{Command, Failure};

/// The shortest and the longest pause before the child is started again.
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// A child that has lasted this long was not a failed attempt.
const STABLE_TIME: Duration = Duration::from_secs(5);

/// The pod of a tunnel.
pub(crate) struct Tunnel {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) port: u16,
}

/// How a tunnel has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TunnelEnd {
    /// The pod does not exist.
    Gone,
    Stopped,
}

impl Tunnel {
    /// Forwards until interrupted, or until the pod is gone. Passes the address on which the child
    /// listens, and `None` when the child has ended.
    pub(crate) fn run(
        &self,
        cx: &Cx,
        cluster: &Cluster,
        on_change: &(dyn Fn(Option<SocketAddr>) + Sync),
    ) -> Result<TunnelEnd> {
        let (mut pause, mut last_note) = (MIN_PAUSE, String::new());
        while !cx.interrupt().is_raised() {
            let started = Instant::now();
            let ended = self.run_once(cx, cluster, on_change);
            on_change(None);
            if cx.interrupt().is_raised() {
                break;
            }
            let note = match ended? {
                None => None,
                Some(failure) if is_gone(&failure, &self.pod) => return Ok(TunnelEnd::Gone),
                Some(failure) => self.describe(cluster, failure)?,
            };
            if let Some(text) = note.filter(|text| *text != last_note) {
                last_note.clone_from(&text);
                cx.emit(Event::Note { text });
            }
            let is_stable = started.elapsed() > STABLE_TIME;
            pause = if is_stable { MIN_PAUSE } else { pause };
            wait(cx, pause);
            pause = (pause * 2).min(MAX_PAUSE);
        }
        Ok(TunnelEnd::Stopped)
    }

    fn run_once(
        &self,
        cx: &Cx,
        cluster: &Cluster,
        on_change: &(dyn Fn(Option<SocketAddr>) + Sync),
    ) -> Result<Option<Failure>> {
        let sh = cx.shell()?;
        let Self { namespace, pod, port } = self;
        let cmd = cluster.cmd(&sh, Some(namespace)).args([
            NO_REQUEST_TIMEOUT,
            "port-forward",
            &format!("pod/{pod}"),
            &format!(":{port}"),
            "--address=127.0.0.1",
        ]);
        let read = |stdout| {
            for line in BufReader::new(stdout).lines().map_while(std::result::Result::ok) {
                if let Some(address) = parse_address(&line) {
                    on_change(Some(address));
                }
            }
        };
        Ok(Command::new(cmd).read_with(cx, read).err())
    }

    /// Returns a note about a child that failed, or an error if it would always fail.
    fn describe(&self, cluster: &Cluster, failure: Failure) -> Result<Option<String>> {
        let Self { pod, port, .. } = self;
        if failure.stderr.contains("connection refused") && failure.stderr.contains("forwarding") {
            return Ok(Some(format!(
                "pod `{pod}` refused a connection: nothing listens on port {port} of its loopback address"
            )));
        }
        // The connection to the kubelet has ended, for example with the container.
        let is_expected = ["lost connection to pod", "pod is not running"]
            .iter()
            .any(|text| failure.stderr.contains(text));
        if is_expected {
            return Ok(None);
        }
        let error = cluster.request_error(failure, "forward a port");
        if is_permanent(&error) {
            return Err(error.into());
        }
        Ok(Some(retry_note(&format!("failed to forward to pod `{pod}`"), &error)))
    }
}

/// Returns the address in `Forwarding from 127.0.0.1:41233 -> 8080`.
fn parse_address(line: &str) -> Option<SocketAddr> {
    let rest = line.strip_prefix("Forwarding from 127.0.0.1:")?;
    let port = rest.split(' ').next()?.parse().ok()?;
    Some((Ipv4Addr::LOCALHOST, port).into())
}

fn is_gone(failure: &Failure, pod: &str) -> bool {
    failure.stderr.contains(&format!("pods \"{pod}\" not found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_read_from_output() {
        let table = [
            ("Forwarding from 127.0.0.1:41233 -> 8080", Some(41233)),
            ("Forwarding from [::1]:41233 -> 8080", None),
            ("Handling connection for 41233", None),
        ];
        for (line, port) in table {
            assert_eq!(parse_address(line).map(|address| address.port()), port, "{line}");
        }
    }
}
