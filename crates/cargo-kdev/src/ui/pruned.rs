//! The builds that were removed, as text.

use indicatif::HumanBytes;
use kdev::Engine;

/// Formats what was removed from a node or from this machine.
pub(super) fn format_pruned(
    node: Option<&str>,
    engine: Option<Engine>,
    images: &[String],
    bytes: Option<u64>,
) -> String {
    let place = node.map(str::to_owned).or(engine.map(|engine| engine.to_string()));
    let place = place.unwrap_or_default();
    match (images, bytes) {
        ([], _) => format!("{place}: no older builds"),
        (_, Some(bytes)) => format!("{place}: {} ({})", images.join(", "), HumanBytes(bytes)),
        (_, None) => format!("{place}: {}", images.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removal_names_place_builds_and_size() {
        let images = ["app:kdev-1".to_owned(), "app:kdev-2".to_owned()];
        let table = [
            ((Some("n1"), None, &images[..], Some(2048)), "n1: app:kdev-1, app:kdev-2 (2.00 KiB)"),
            ((None, Some(Engine::Podman), &images[..1], None), "Podman: app:kdev-1"),
            ((None, Some(Engine::Docker), &[][..], Some(0)), "Docker: no older builds"),
        ];
        for ((node, engine, images, bytes), expected) in table {
            assert_eq!(format_pruned(node, engine, images, bytes), expected);
        }
    }
}
