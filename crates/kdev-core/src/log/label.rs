//! The parts of pod names that differ, as a prefix of log lines.

use std::collections::BTreeSet;

/// The container that a line comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    pub namespace: String,
    pub pod: String,
    pub container: String,
}

/// Returns the label of a source among all sources, which include it. `None` if there is only one.
pub fn label(source: &Source, all: &[Source]) -> Option<String> {
    let distinct =
        |part: fn(&Source) -> &String| all.iter().map(part).collect::<BTreeSet<_>>().len() > 1;
    let has_pods = distinct(|one| &one.pod);
    let mut parts = Vec::new();
    if distinct(|one| &one.namespace) {
        parts.push(source.namespace.clone());
    }
    if has_pods {
        parts.push(distinct_part(&source.pod, all).to_owned());
    }
    if distinct(|one| &one.container) {
        parts.push(source.container.clone());
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// Removes the beginning that all pod names share, up to a hyphen.
fn distinct_part<'a>(pod: &'a str, all: &[Source]) -> &'a str {
    let mut start = 0;
    for (at, _) in pod.match_indices('-') {
        if !all.iter().all(|one| one.pod.starts_with(&pod[..=at])) {
            break;
        }
        start = at + 1;
    }
    &pod[start..]
}

/// Returns a number below `count` that depends only on the name, for a color.
pub fn color_index(name: &str, count: usize) -> usize {
    // FNV-1a, which unlike the standard library's hash is the same in each version.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    usize::try_from(hash % count.max(1) as u64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A namespace, a pod, and a container.
    type Names<'a> = (&'a str, &'a str, &'a str);

    fn labels(sources: &[Names]) -> Vec<Option<String>> {
        let source = |(namespace, pod, container): &Names| Source {
            namespace: (*namespace).to_owned(),
            pod: (*pod).to_owned(),
            container: (*container).to_owned(),
        };
        let all: Vec<Source> = sources.iter().map(source).collect();
        all.iter().map(|one| label(one, &all)).collect()
    }

    #[test]
    fn label_is_part_that_differs() {
        let table: [(&[Names], &[&str]); 7] = [
            (&[("n", "app-7c6b-ldpjb", "web")], &[""]),
            (
                &[("n", "app-7c6b-ldpjb", "web"), ("n", "app-7c6b-r5j2p", "web")],
                &["ldpjb", "r5j2p"],
            ),
            (
                &[("n", "app-7c6b-ldpjb", "web"), ("n", "app-b954-997xn", "web")],
                &["7c6b-ldpjb", "b954-997xn"],
            ),
            (&[("n", "app", "web"), ("n", "app-1", "web")], &["app", "app-1"]),
            (&[("n", "app-0", "web"), ("n", "app-0", "init")], &["web", "init"]),
            (&[("n", "app-0", "web"), ("n", "app-1", "job")], &["0/web", "1/job"]),
            (&[("n", "app-0", "web"), ("m", "app-0", "web")], &["n", "m"]),
        ];
        for (sources, expected) in table {
            let labels: Vec<String> =
                labels(sources).into_iter().map(Option::unwrap_or_default).collect();
            assert_eq!(labels, expected, "{sources:?}");
        }
    }

    #[test]
    fn color_depends_only_on_name() {
        assert_eq!(color_index("app-0", 6), color_index("app-0", 6));
        let colors: BTreeSet<usize> =
            (0..40).map(|n| color_index(&format!("app-{n}"), 6)).collect();
        assert_eq!(colors.len(), 6);
    }
}
