//! Paths in archives and Dockerfiles.

/// Returns a relative path without `.` and `..` components, which never leaves its root.
pub fn normalized_path(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalized_path_stays_below_its_root() {
        let table = [
            ("a/b", "a/b"),
            ("./a//b/", "a/b"),
            ("/a/../b/.", "b"),
            ("../../a", "a"),
            ("a/..", ""),
        ];
        for (path, expected) in table {
            assert_eq!(normalized_path(path), expected, "{path}");
        }
    }
}
