//! What a cycle must do after changes of inputs.

use std::collections::BTreeSet;

use serde::Serialize;

/// What a change of an input requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InputClass {
    /// `cargo build`, and then the image.
    Cargo,
    /// The image.
    Docker,
    /// The manifests are rendered and applied; nothing is built.
    Manifest,
    /// The settings are read again.
    Config,
}

impl InputClass {
    /// Returns the name of the class, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cargo => "cargo",
            Self::Docker => "docker",
            Self::Manifest => "manifest",
            Self::Config => "config",
        }
    }
}

/// What the last cycle of a package has achieved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Achieved {
    /// Nothing on which the next cycle can rely.
    #[default]
    Nothing,
    /// The nodes have the image of all inputs.
    Loaded,
    /// The pods of these inputs are ready.
    Ready,
}

/// The least that a cycle must do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Need {
    /// Every step.
    #[default]
    All,
    /// The build, and the other steps only if it creates another image.
    Image,
    /// Only the manifests, with the image that the nodes have.
    Manifests,
}

/// Returns the least that a cycle of a package must do after changes of these classes. Without a
/// change, an earlier cycle is repeated because it has failed or was stopped.
pub fn need(changed: &BTreeSet<InputClass>, achieved: Achieved) -> Need {
    let has = |class| changed.contains(&class);
    let is_built = has(InputClass::Cargo) || has(InputClass::Docker);
    match (is_built, has(InputClass::Manifest), has(InputClass::Config)) {
        (false, true, false) if achieved >= Achieved::Loaded => Need::Manifests,
        (true, false, false) if achieved == Achieved::Ready => Need::Image,
        _ => Need::All,
    }
}

#[cfg(test)]
mod tests {
    use super::InputClass::{Cargo, Config, Docker, Manifest};
    use super::*;

    #[test]
    fn least_that_is_necessary_depends_on_classes_and_last_cycle() {
        // The classes, and what is necessary after a cycle that has achieved nothing, a load, and
        // ready pods.
        let table: [(&[InputClass], [Need; 3]); 10] = [
            (&[], [Need::All, Need::All, Need::All]),
            (&[Cargo], [Need::All, Need::All, Need::Image]),
            (&[Docker], [Need::All, Need::All, Need::Image]),
            (&[Cargo, Docker], [Need::All, Need::All, Need::Image]),
            (&[Manifest], [Need::All, Need::Manifests, Need::Manifests]),
            (&[Config], [Need::All, Need::All, Need::All]),
            (&[Docker, Manifest], [Need::All, Need::All, Need::All]),
            (&[Cargo, Manifest], [Need::All, Need::All, Need::All]),
            (&[Manifest, Config], [Need::All, Need::All, Need::All]),
            (&[Cargo, Config], [Need::All, Need::All, Need::All]),
        ];
        for (classes, expected) in table {
            let changed = classes.iter().copied().collect();
            let all = [Achieved::Nothing, Achieved::Loaded, Achieved::Ready];
            assert_eq!(all.map(|achieved| need(&changed, achieved)), expected, "{classes:?}");
        }
    }
}
