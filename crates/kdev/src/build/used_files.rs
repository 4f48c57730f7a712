//! Finds the files of a copied folder that a Dockerfile uses by their path in the image, such as
//! the program of its `ENTRYPOINT`.

use std::collections::BTreeMap;

use kdev_core::path::normalized_path;

use crate::build::dockerfile::{self, Instruction, source_words};

/// A file that is used after its folder was copied.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct UsedFile {
    /// The first line of the instruction that uses it, from 1.
    pub(crate) line: usize,
    /// The path below the folder.
    pub(crate) path: String,
    /// The folder in the image, without `/` at the beginning.
    pub(crate) folder: String,
}

/// Returns the paths below a folder, which the instruction at `copy` copies, that later
/// instructions contain. Returns none if its stage then runs commands, which can replace files.
pub(crate) fn used_files(dockerfile: &str, copy: usize) -> Vec<UsedFile> {
    let instructions = dockerfile::instructions(dockerfile);
    let stage_end = instructions.iter().position(|one| one.line > copy && one.name == "FROM");
    let in_stage = &instructions[..stage_end.unwrap_or(instructions.len())];
    if in_stage.iter().any(|one| one.line > copy && one.name == "RUN") {
        return Vec::new();
    }
    let (mut stage, mut workdir, mut workdirs) = ("", String::new(), BTreeMap::new());
    let (mut folder, mut used) = (None, Vec::new());
    for instruction in &instructions {
        match (&*instruction.name, instruction.args.last()) {
            ("FROM", Some(name)) => {
                let base = instruction.args.iter().find(|word| !word.starts_with("--"));
                workdir =
                    base.and_then(|base| workdirs.get(base.as_str())).cloned().unwrap_or_default();
                stage = name;
            }
            ("WORKDIR", Some(dir)) => workdir = in_dir(&workdir, dir),
            _ if instruction.line == copy => folder = destination(instruction, &workdir),
            ("ENTRYPOINT" | "CMD" | "RUN" | "COPY", _) => {
                if let Some(folder) = &folder {
                    used.extend(paths_below(folder, instruction, &workdir));
                }
            }
            _ => {}
        }
        // A later stage can be based on this one.
        workdirs.insert(stage, workdir.clone());
    }
    used
}

/// Returns the folder in the image that `COPY` writes; `None` if it depends on a variable.
fn destination(copy: &Instruction, workdir: &str) -> Option<String> {
    let words = copy.args.join(" ");
    let last = words.rsplit([' ', ',']).next()?.trim_matches(['"', '\'', ']', '[']);
    (!last.contains('$')).then(|| in_dir(workdir, last))
}

fn paths_below<'a>(
    folder: &'a str,
    instruction: &'a Instruction,
    workdir: &'a str,
) -> impl Iterator<Item = UsedFile> + 'a {
    let is_end = |c: char| c.is_whitespace() || "\"'[],;&|()=".contains(c);
    let words = match &*instruction.name {
        // The paths of another stage are absolute, and its destination is not a file that exists.
        "COPY" => source_words(&instruction.args),
        _ => instruction.args.join(" ").split(is_end).map(str::to_owned).collect(),
    };
    let below = move |word: String| {
        let path = in_dir(workdir, &word);
        let rest = if folder.is_empty() { &*path } else { path.strip_prefix(folder)? };
        let rest = if folder.is_empty() { rest } else { rest.strip_prefix('/')? };
        let (line, path) = (instruction.line, rest.to_owned());
        (!rest.is_empty()).then(|| UsedFile { line, path, folder: folder.to_owned() })
    };
    words.into_iter().filter(|word| !word.is_empty() && !word.contains('$')).filter_map(below)
}

/// Returns a path in the image without `/` at the beginning.
fn in_dir(dir: &str, path: &str) -> String {
    if path.starts_with('/') {
        normalized_path(path)
    } else {
        normalized_path(&format!("{dir}/{path}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_below_copied_folder_are_used() {
        let table: [(&str, &[&str]); 13] = [
            ("COPY . /app/\nENTRYPOINT [\"/app/bin/a\", \"--x\"]", &["3:bin/a"]),
            ("COPY . /app\nCMD /app/bin/a --log=/app/log", &["3:bin/a", "3:log"]),
            ("COPY [\".\", \"/app\"]\nCMD [\"/app/a\"]", &["3:a"]),
            ("COPY . /\nCMD [\"/bin/a\"]", &["3:bin/a"]),
            ("WORKDIR /app\nCOPY . .\nCMD [\"./a\"]", &["4:a"]),
            ("COPY . /app\nWORKDIR /app/bin\nCMD [\"./a\"]", &["4:bin/a"]),
            ("COPY . /app\nCMD [\"/application/a\", \"/app\", \"$X/a\"]", &[]),
            ("COPY . $DIR\nCMD [\"/app/a\"]", &[]),
            ("COPY . /app\nFROM scratch\nCOPY --from=0 /app/a /b\nCMD [\"/b\"]", &["4:a"]),
            ("COPY . /app\nFROM scratch\nRUN /app/a", &["4:a"]),
            ("COPY . /w\nWORKDIR /w\nFROM b AS c\nFROM scratch AS d\nFROM c\nCMD [\"./a\"]", &[]),
            // The command may build the program.
            ("COPY . /app\nRUN make\nCMD [\"/app/a\"]", &[]),
            ("COPY . /app\nRUN make\nFROM scratch\nCOPY --from=0 /app/a /a", &[]),
        ];
        for (text, expected) in table {
            let dockerfile = format!("FROM scratch\n{text}\n");
            let copy = 2 + usize::from(text.starts_with("WORKDIR"));
            let found = used_files(&dockerfile, copy);
            let found: Vec<String> = found
                .iter()
                .map(|used| format!("{}:{}", used.line, used.path))
                .filter(|used| !used.ends_with(":--x") && !used.ends_with("--log"))
                .collect();
            assert_eq!(found, expected, "{text}");
        }
    }
}
