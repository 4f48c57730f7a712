//! Apply sets that the same project may have recorded, although it is not certain.

use crate::kube::applyset::Parent;
use crate::kube::owner::{Origin, Owner, Source};

/// Why it is not certain that a set belongs to the project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The package had another name.
    Renamed,
    /// The record has only the host name of its machine, which another machine can have.
    HostNameOnly,
}

/// Returns the doubt, or `None` if a set is certainly one of this project, or of another one.
pub fn doubt(owner: &Owner, parent: &Parent, origin: &Origin) -> Option<Doubt> {
    if owner.is_successor_of(origin) {
        return None;
    }
    // A folder of a repository has one package. Several packages can have one `project-id`.
    let is_same_project = owner.identity.source != Source::Key
        && origin.package != owner.package
        && Parent::new(&origin.package, &parent.namespace, &owner.identity) == *parent;
    let is_same_folder = origin.directory == owner.directory
        && origin.source.is_some_and(|source| source <= owner.identity.source);
    if is_same_project || (is_same_folder && origin.machine == owner.machine) {
        return Some(Doubt::Renamed);
    }
    let is_earlier_name = owner.earlier_machine.as_ref() == Some(&origin.machine);
    (is_same_folder && is_earlier_name).then_some(Doubt::HostNameOnly)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kube::owner::{Address, Identity};

    fn owner(package: &str, identity: Identity) -> Owner {
        Owner {
            package: package.to_owned(),
            identity,
            machine: "0123".to_owned(),
            earlier_machine: Some("host".to_owned()),
            host: "laptop".to_owned(),
            directory: "/src/app".to_owned(),
            manifests: Vec::new(),
            repository: None,
            fallback_cause: None,
        }
    }

    #[test]
    fn set_of_renamed_package_or_ambiguous_machine_is_doubtful() {
        let git = |path: &str| {
            Identity::from_repository("r", &Address::parse("git@example.com:org/app"), path)
        };
        let (key, other_key) = (Identity::from_key("shop"), Identity::from_key("other"));
        let folder = Identity::from_folder("0123", "/src/app");
        let elsewhere =
            |owner: Owner| Owner { machine: "4567".into(), directory: "/home/app".into(), ..owner };
        let unnamed = |owner: Owner| Owner { machine: "host".into(), ..owner };
        let (renamed, host_name) = (Some(Doubt::Renamed), Some(Doubt::HostNameOnly));
        let table = [
            // Certainly this project.
            (owner("app", git("")), git(""), None),
            (owner("old", git("")), git(""), renamed),
            (elsewhere(owner("old", git(""))), git(""), renamed),
            (elsewhere(owner("old", git("a"))), git(""), None),
            (owner("old", folder.clone()), git(""), renamed),
            (owner("old", folder.clone()), folder.clone(), renamed),
            (owner("old", key.clone()), key.clone(), renamed),
            // Another package with the same key.
            (elsewhere(owner("old", key.clone())), key.clone(), None),
            (elsewhere(owner("app", other_key)), key.clone(), None),
            // The key was removed.
            (owner("old", key), git(""), None),
            (unnamed(owner("app", folder.clone())), folder.clone(), host_name),
            (unnamed(owner("app", folder.clone())), git(""), host_name),
            (unnamed(elsewhere(owner("app", folder.clone()))), folder, None),
        ];
        for (before, identity, expected) in table {
            let parent = Parent::new(&before.package, "n", &before.identity);
            let record = json!({"metadata": {"annotations": before.annotations("jane", "t")}});
            let origin = Origin::read(&record).unwrap();
            let now = owner("app", identity);
            assert_eq!(doubt(&now, &parent, &origin), expected, "{before:?} {now:?}");
        }
        // A machine with an ID has never had another name.
        let parent = Parent::new("app", "n", &Identity::from_folder("host", "/src/app"));
        let before = unnamed(owner("app", Identity::from_folder("host", "/src/app")));
        let record = json!({"metadata": {"annotations": before.annotations("jane", "t")}});
        let now = Owner {
            earlier_machine: None,
            ..owner("app", Identity::from_folder("0123", "/src/app"))
        };
        assert_eq!(doubt(&now, &parent, &Origin::read(&record).unwrap()), None);
    }
}
