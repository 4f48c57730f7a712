//! The state of a node, as its script reports it.

use kdev_core::kube::identity::MachineIds;

use crate::node::error::NodeError;

/// The state of a node and its containerd.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeReport {
    /// How the node was reached.
    pub(crate) location: String,
    /// The command that opens a shell on the node.
    pub(crate) shell_command: String,
    /// The command, to run on this machine, that shows what uses the node's disk.
    pub(crate) disk_usage_command: String,
    /// The `ctr` command on the node.
    pub(crate) ctr: String,
    pub(crate) sudo: bool,
    /// The snapshotter of the CRI; empty if the node has no containers.
    pub(crate) snapshotter: String,
    pub(crate) user: String,
    pub(crate) ids: MachineIds,
    /// Seconds since 1970.
    pub(crate) time: Option<i64>,
    /// The socket of containerd; empty if the configuration sets the `ctr` command.
    pub(crate) socket: String,
    /// The root directory of containerd, and the total and free KiB of its disk.
    pub(crate) disk: Option<(String, u64, u64)>,
    pub(crate) tools: Vec<String>,
    /// What is missing for the lock of loads and removals; empty if nothing is.
    pub(crate) no_lock: String,
    /// The versions of `ctr` and of containerd.
    pub(crate) versions: (String, String),
    pub(crate) namespaces: Vec<String>,
    /// The status of containerd's CRI plugin; empty if it is disabled.
    pub(crate) cri: String,
    /// Why sudo does not allow to list, label, and remove images; empty if it does.
    pub(crate) no_prune: String,
    /// The sockets of all runtimes on the node.
    pub(crate) sockets: Vec<String>,
}

/// The state of a node, and the error that would prevent a load.
pub(crate) struct NodeProbe {
    pub(crate) report: NodeReport,
    pub(crate) error: Option<NodeError>,
}

impl NodeReport {
    /// Reads the keys and values of the script's output.
    pub(crate) fn parse<'a>(lines: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut report = Self::default();
        for (key, value) in lines {
            let fields: Vec<&str> = value.split_whitespace().collect();
            match (key, fields.as_slice()) {
                ("machine", [id]) => (*id).clone_into(&mut report.ids.machine),
                ("boot", [id]) => (*id).clone_into(&mut report.ids.boot),
                ("user", [name]) => (*name).clone_into(&mut report.user),
                ("time", [time]) => report.time = time.parse().ok(),
                ("socket", [path]) => (*path).clone_into(&mut report.socket),
                ("disk", [root, total, free]) => {
                    let sizes = total.parse().ok().zip(free.parse().ok());
                    report.disk = sizes.map(|(total, free)| ((*root).to_owned(), total, free));
                }
                ("tool", [name]) => report.tools.push((*name).to_owned()),
                ("no-lock", _) => value.clone_into(&mut report.no_lock),
                ("namespace", [name]) => report.namespaces.push((*name).to_owned()),
                ("listens", [path]) => report.sockets.push((*path).to_owned()),
                ("cri", [state]) => (*state).clone_into(&mut report.cri),
                ("snapshotter", [name]) => (*name).clone_into(&mut report.snapshotter),
                ("sudo", [value]) => report.sudo = *value == "yes",
                ("no-prune", _) => value.clone_into(&mut report.no_prune),
                ("ctr", _) => value.clone_into(&mut report.ctr),
                ("versions", _) => report.versions = parse_versions(value),
                _ => {}
            }
        }
        report
    }
}

/// Returns the versions of client and server in the output of `ctr version`.
fn parse_versions(output: &str) -> (String, String) {
    let version = |index| {
        let rest: Option<&str> = output.split("Version:").nth(index);
        let word = rest.and_then(|rest| rest.split_whitespace().next()).unwrap_or_default();
        word.trim_start_matches('v').to_owned()
    };
    (version(1), version(2))
}
