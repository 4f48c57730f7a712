//! Which pod receives new connections, and to which pods children are started.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::cx::Interrupt;
use crate::forward::route::Target;

/// A pod of the workload.
#[derive(Clone, Debug)]
pub(crate) struct PodInfo {
    pub(crate) name: String,
    pub(crate) created: String,
    pub(crate) is_running: bool,
    pub(crate) is_serving: bool,
    /// The number of the forwarded port; `None` if this pod does not have it.
    pub(crate) port: Option<u16>,
}

/// A child, as long as it is started again.
#[derive(Debug)]
pub(crate) struct TunnelState {
    pub(crate) stop: Interrupt,
    /// Its address while it runs.
    pub(crate) address: Option<SocketAddr>,
    /// The number of open connections.
    pub(crate) connections: usize,
}

/// The pods and children of one forwarded port, by the UIDs of the pods.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    pub(crate) pods: BTreeMap<String, PodInfo>,
    pub(crate) tunnels: BTreeMap<String, TunnelState>,
}

impl Choice {
    /// Returns the newest pod that is ready and has a child. Until the child of a newer pod
    /// listens, the pod before it is used.
    pub(crate) fn target(&self) -> Option<Target> {
        self.serving().find_map(|(pod, _)| {
            let address = self.tunnels.get(pod)?.address?;
            Some(Target { pod: pod.clone(), address })
        })
    }

    /// Returns whether a pod is ready.
    pub(crate) fn is_serving(&self) -> bool {
        self.serving().next().is_some()
    }

    /// Returns the pods that need a child: the current target, the newest ready pod, and newer
    /// ones that are not ready yet, so that their children listen before they are.
    pub(crate) fn wanted(&self) -> Vec<String> {
        let newest_running = self.newest_first().find(|(_, pod)| pod.is_running);
        let newest_serving = self.serving().next();
        let mut wanted: Vec<String> = [newest_running, newest_serving]
            .into_iter()
            .flatten()
            .map(|(id, _)| id.clone())
            .collect();
        wanted.extend(self.target().map(|target| target.pod));
        wanted.sort();
        wanted.dedup();
        wanted
    }

    /// Returns the children that no pod and no connection needs.
    pub(crate) fn unused(&self) -> Vec<String> {
        let wanted = self.wanted();
        let is_unused = |(pod, tunnel): &(&String, &TunnelState)| {
            let is_gone = !self.pods.contains_key(*pod);
            is_gone || (tunnel.connections == 0 && !wanted.contains(pod))
        };
        self.tunnels.iter().filter(is_unused).map(|(pod, _)| pod.clone()).collect()
    }

    fn serving(&self) -> impl Iterator<Item = (&String, &PodInfo)> {
        self.newest_first().filter(|(_, pod)| pod.is_serving)
    }

    fn newest_first(&self) -> impl Iterator<Item = (&String, &PodInfo)> {
        let mut pods: Vec<_> = self.pods.iter().filter(|(_, pod)| pod.port.is_some()).collect();
        pods.sort_by(|(_, a), (_, b)| (&b.created, &b.name).cmp(&(&a.created, &a.name)));
        pods.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    /// Each pod is `NAME:STATE`: `r`unning, `s`erving, `t`erminating; with `+` its child listens,
    /// with `*` it also has a connection. Pods are listed from the oldest to the newest.
    fn choice(pods: &str) -> Choice {
        let mut choice = Choice::default();
        for (at, pod) in (0_u16..).zip(pods.split_whitespace()) {
            let (name, state) = pod.split_once(':').unwrap();
            let info = PodInfo {
                name: name.to_owned(),
                created: format!("{at}"),
                is_running: state.contains(['r', 's']),
                is_serving: state.contains('s'),
                port: (!state.contains('n')).then_some(8080),
            };
            choice.pods.insert(name.to_owned(), info);
            if state.contains(['+', '*']) {
                let address = Some((Ipv4Addr::LOCALHOST, at).into());
                let connections = usize::from(state.contains('*'));
                let tunnel = TunnelState { stop: Interrupt::never(), address, connections };
                choice.tunnels.insert(name.to_owned(), tunnel);
            }
        }
        choice
    }

    #[test]
    fn newest_ready_pod_with_child_is_target() {
        let table = [
            ("", "", "", ""),
            // A pod starts.
            ("a:p", "", "", ""),
            ("a:r", "", "a", ""),
            ("a:s", "", "a", ""),
            ("a:s+", "a", "a", ""),
            // A rollout: the child of the new pod starts before the pod is ready.
            ("a:s+ b:p", "a", "a", ""),
            ("a:s+ b:r", "a", "a b", ""),
            ("a:s+ b:s", "a", "a b", ""),
            ("a:s+ b:s+", "b", "b", "a"),
            ("a:s* b:s+", "b", "b", ""),
            ("a:t* b:s+", "b", "b", ""),
            ("a:t+ b:s+", "b", "b", "a"),
            // No pod is ready.
            ("a:t+ b:r+", "", "b", "a"),
            // Two old and two new pods.
            ("a:s+ b:s c:r+ d:p", "a", "a b c", ""),
            // A pod of the rollout does not have the port.
            ("a:s+ b:sn", "a", "a", ""),
        ];
        for (pods, target, wanted, unused) in table {
            let choice = choice(pods);
            let chosen = choice.target().map(|target| target.pod).unwrap_or_default();
            assert_eq!(chosen, target, "{pods}");
            assert_eq!(choice.wanted().join(" "), wanted, "{pods}");
            assert_eq!(choice.unused().join(" "), unused, "{pods}");
        }
    }

    #[test]
    fn child_of_deleted_pod_is_unused() {
        let mut choice = choice("a:s* b:s+");
        choice.pods.remove("a");
        assert_eq!(choice.unused(), ["a"]);
    }
}
