//! What a node says of itself.

use crate::node::error::NodeError;

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeReport {
    /// Where it was reached.
    pub(crate) location: String,
    /// A shell there, as a person would open it.
    pub(crate) shell_command: String,
    /// What frees space there, as a person would type it here.
    pub(crate) disk_usage_command: String,
    /// How containerd is called there.
    pub(crate) ctr: String,
    pub(crate) sudo: bool,
    /// Where the CRI unpacks images; empty where no container tells.
    pub(crate) snapshotter: String,
    pub(crate) user: String,
    pub(crate) machine_id: String,
    pub(crate) boot_id: String,
    /// Seconds since 1970.
    pub(crate) time: Option<i64>,
    /// Empty where the configuration tells how containerd is called.
    pub(crate) socket: String,
    /// Where containerd keeps images, and KiB of that disk: all, and free.
    pub(crate) disk: Option<(String, u64, u64)>,
    pub(crate) tools: Vec<String>,
    /// Of `ctr`, and of the containerd that it talks to.
    pub(crate) versions: (String, String),
    pub(crate) namespaces: Vec<String>,
    /// How it is with containerd's CRI plugin; empty where it is switched off.
    pub(crate) cri: String,
    /// Where runtimes listen, the kubelet's and others.
    pub(crate) sockets: Vec<String>,
}

/// What a node has said, and what keeps a load from it.
pub(crate) struct NodeProbe {
    pub(crate) report: NodeReport,
    pub(crate) error: Option<NodeError>,
}

impl NodeReport {
    /// Reads a node's answer: a key each, and its value.
    pub(crate) fn parse<'a>(lines: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut facts = Self::default();
        for (key, value) in lines {
            let words: Vec<&str> = value.split_whitespace().collect();
            match (key, words.as_slice()) {
                ("machine", [id]) => (*id).clone_into(&mut facts.machine_id),
                ("boot", [id]) => (*id).clone_into(&mut facts.boot_id),
                ("user", [name]) => (*name).clone_into(&mut facts.user),
                ("time", [time]) => facts.time = time.parse().ok(),
                ("socket", [path]) => (*path).clone_into(&mut facts.socket),
                ("disk", [root, all, free]) => {
                    let sizes = all.parse().ok().zip(free.parse().ok());
                    facts.disk = sizes.map(|(all, free)| ((*root).to_owned(), all, free));
                }
                ("tool", [name]) => facts.tools.push((*name).to_owned()),
                ("namespace", [name]) => facts.namespaces.push((*name).to_owned()),
                ("listens", [path]) => facts.sockets.push((*path).to_owned()),
                ("cri", [state]) => (*state).clone_into(&mut facts.cri),
                ("snapshotter", [name]) => (*name).clone_into(&mut facts.snapshotter),
                ("sudo", [answer]) => facts.sudo = *answer == "yes",
                ("ctr", _) => value.clone_into(&mut facts.ctr),
                ("versions", _) => facts.versions = parse_versions(value),
                _ => {}
            }
        }
        facts
    }
}

/// Of `ctr version`: the client's, then the server's.
fn parse_versions(said: &str) -> (String, String) {
    let version = |place| {
        let rest: Option<&str> = said.split("Version:").nth(place);
        let word = rest.and_then(|rest| rest.split_whitespace().next()).unwrap_or_default();
        word.trim_start_matches('v').to_owned()
    };
    (version(1), version(2))
}
