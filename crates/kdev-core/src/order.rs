//! The order of names, some of which come after others.

use std::collections::BTreeMap;

/// Sorts the names so that each comes after its names in `after`; otherwise their order stays.
/// Returns the cycle if there is one: each name comes after the next one.
pub fn sort<'a>(
    names: &[&'a str],
    after: &'a BTreeMap<String, Vec<String>>,
) -> Result<Vec<&'a str>, Vec<&'a str>> {
    let (mut path, mut sorted) = (Vec::new(), Vec::new());
    for name in names {
        visit(name, after, &mut path, &mut sorted)?;
    }
    // Names that are not given only connect others.
    sorted.retain(|name| names.contains(name));
    Ok(sorted)
}

fn visit<'a>(
    name: &'a str,
    after: &'a BTreeMap<String, Vec<String>>,
    path: &mut Vec<&'a str>,
    sorted: &mut Vec<&'a str>,
) -> Result<(), Vec<&'a str>> {
    if sorted.contains(&name) {
        return Ok(());
    }
    if let Some(start) = path.iter().position(|known| *known == name) {
        path.push(name);
        return Err(path.split_off(start));
    }
    path.push(name);
    for other in after.get(name).into_iter().flatten() {
        visit(other, after, path, sorted)?;
    }
    path.pop();
    sorted.push(name);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_after_others() {
        type Names<'a> = &'a [&'a str];
        type After<'a> = &'a [(&'a str, Names<'a>)];
        // The names, the names that each comes after, and the result.
        let table: [(Names, After, Result<Names, Names>); 8] = [
            (&["a", "b", "c"], &[], Ok(&["a", "b", "c"])),
            (&["a", "b", "c"], &[("a", &["c"])], Ok(&["c", "a", "b"])),
            (&["a", "b", "c"], &[("a", &["b"]), ("b", &["c"])], Ok(&["c", "b", "a"])),
            (&["a", "b", "c"], &[("b", &["a", "c"])], Ok(&["a", "c", "b"])),
            // `b` is not given, but connects `a` with `c`.
            (&["a", "c"], &[("a", &["b"]), ("b", &["c"])], Ok(&["c", "a"])),
            (&["a"], &[("a", &["b"])], Ok(&["a"])),
            (&["a"], &[("a", &["a"])], Err(&["a", "a"])),
            (&["a"], &[("a", &["b"]), ("b", &["c"]), ("c", &["b"])], Err(&["b", "c", "b"])),
        ];
        for (names, after, expected) in table {
            let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
            let after = after.iter().map(|(name, all)| ((*name).to_owned(), owned(all))).collect();
            let sorted = sort(names, &after);
            assert_eq!(sorted.as_deref().map_err(Vec::as_slice), expected, "{names:?} {after:?}");
        }
    }
}
