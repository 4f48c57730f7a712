//! Whether a machine is a node of the cluster, by its machine ID and its boot ID.

use std::fmt;

use crate::kube::node::{Node, NodeInfo};

/// The IDs of a machine, from itself or from the node object; empty if unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineIds {
    /// Clones of a virtual machine share it.
    pub machine: String,
    /// It changes with each boot.
    pub boot: String,
}

/// The result of a comparison of a machine with a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The machine is the node.
    Same,
    /// The machine is not the node.
    Different(IdMismatch),
    /// The machine has the machine ID of the node. It was booted after the kubelet last
    /// reported its boot ID, or it is a clone of the node.
    OtherBoot(IdMismatch),
    /// A machine ID is missing, and the boot IDs differ.
    Doubtful(IdMismatch),
    /// A machine ID is missing, and the boot IDs do not differ.
    Unknown(&'static str),
}

/// An ID of a machine that differs from the node's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMismatch {
    /// The name of the ID.
    pub id: &'static str,
    /// The value that the machine reports.
    pub reported: String,
    /// The value in the node object.
    pub known: String,
}

impl fmt::Display for IdMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its {} is `{}`, but the node has `{}`", self.id, self.reported, self.known)
    }
}

impl IdMismatch {
    /// Returns the name of the node that has the reported ID; `None` if no node or several
    /// nodes have it.
    pub fn find_owner<'a>(&self, nodes: &'a [Node]) -> Option<&'a str> {
        let has_id =
            |node: &&Node| [&node.info.machine_id, &node.info.boot_id].contains(&&self.reported);
        let mut owners = nodes.iter().filter(has_id);
        owners.next().filter(|_| owners.next().is_none()).map(|node| node.name.as_str())
    }
}

impl From<&NodeInfo> for MachineIds {
    fn from(info: &NodeInfo) -> Self {
        Self { machine: info.machine_id.clone(), boot: info.boot_id.clone() }
    }
}

impl MachineIds {
    /// Compares the IDs that a machine reports with those of a node.
    pub fn compare(&self, node: &Self) -> Identity {
        if let Some(found) = mismatch("machine ID", &self.machine, &node.machine) {
            return Identity::Different(found);
        }
        let is_clone_or_node = !self.machine.is_empty() && self.machine == node.machine;
        match mismatch("boot ID", &self.boot, &node.boot) {
            Some(found) if is_clone_or_node => Identity::OtherBoot(found),
            Some(found) => Identity::Doubtful(found),
            None if is_clone_or_node => Identity::Same,
            // Containers on one host have the same boot ID.
            None if node.machine.is_empty() => {
                Identity::Unknown("the node object has no machine ID")
            }
            None => Identity::Unknown("the machine does not report a machine ID"),
        }
    }
}

fn mismatch(id: &'static str, reported: &str, known: &str) -> Option<IdMismatch> {
    let differs = !reported.is_empty() && !known.is_empty() && reported != known;
    let (reported, known) = (reported.to_owned(), known.to_owned());
    differs.then_some(IdMismatch { id, reported, known })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_compared() {
        let ids = |text: &str| {
            let (machine, boot) = text.split_once(' ').unwrap();
            MachineIds { machine: machine.into(), boot: boot.into() }
        };
        let table = [
            ("m b", "m b", "same"),
            ("m b", "n b", "different"),
            // In a container, the boot ID is that of the host.
            ("m b", "n c", "different"),
            ("m c", "m b", "other boot"),
            ("m ", "m b", "same"),
            ("m b", "m ", "same"),
            // k3d has no machine ID.
            (" b", " b", "unknown"),
            ("m b", " b", "unknown"),
            (" c", " b", "doubtful"),
            ("m c", " b", "doubtful"),
            (" c", "m b", "doubtful"),
            ("m ", " b", "unknown"),
            (" ", "m b", "unknown"),
            (" ", " ", "unknown"),
        ];
        for (reported, known, expected) in table {
            let found = match ids(reported).compare(&ids(known)) {
                Identity::Same => "same",
                Identity::Different(_) => "different",
                Identity::OtherBoot(_) => "other boot",
                Identity::Doubtful(_) => "doubtful",
                Identity::Unknown(_) => "unknown",
            };
            assert_eq!(found, expected, "{reported:?} {known:?}");
        }
    }

    #[test]
    fn owner_of_id_is_found_unless_ambiguous() {
        let node = |name: &str, machine: &str, boot: &str| {
            let mut node = Node::named(name);
            (node.info.machine_id, node.info.boot_id) = (machine.into(), boot.into());
            node
        };
        // The first two are clones; the last two are containers on one host.
        let nodes = [("a", "m", "1"), ("b", "m", "2"), ("c", "x", "3"), ("d", "y", "3")];
        let nodes = nodes.map(|(name, machine, boot)| node(name, machine, boot));
        let find = |reported| mismatch("ID", reported, "k").unwrap().find_owner(&nodes);
        assert_eq!([find("2"), find("x")], [Some("b"), Some("c")]);
        assert_eq!([find("m"), find("3"), find("absent")], [None; 3]);
    }

    #[test]
    fn mismatch_names_both_ids() {
        let ids = |machine: &str| MachineIds { machine: machine.into(), boot: String::new() };
        let Identity::Different(found) = ids("1").compare(&ids("2")) else { panic!() };
        assert_eq!(found.to_string(), "its machine ID is `1`, but the node has `2`");
    }
}
