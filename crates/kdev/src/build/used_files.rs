//! Finds the files of a copied folder that a Dockerfile uses by their path in the image, such as
//! the program of its `ENTRYPOINT`.

use std::collections::BTreeMap;

use kdev_core::path::normalized_path;

use crate::build::dockerfile::{self, Instruction, source_words};

/// A file that is used after its folder was copied.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct UsedFile {
    /// The first line of the instruction that uses it, from 1. `None` if a manifest uses it.
    pub(crate) line: Option<usize>,
    /// The path below the folder.
    pub(crate) path: String,
    /// The folder in the image, without `/` at the beginning.
    pub(crate) folder: String,
}

/// Which image is built, and how it is used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ImageUse<'a> {
    /// The stage, if it is not the last one.
    pub(crate) target: Option<&'a str>,
    /// The programs that containers run instead of that of the image.
    pub(crate) programs: &'a [String],
}

/// Returns the paths below a folder, which the instruction at `copy` copies, that later
/// instructions contain, and those of the programs that containers run. Returns none if its stage
/// then runs commands, which can replace files.
pub(crate) fn used_files(dockerfile: &str, copy: usize, image: ImageUse) -> Vec<UsedFile> {
    let instructions = dockerfile::instructions(dockerfile);
    let stage_end = instructions.iter().position(|one| one.line > copy && one.name == "FROM");
    let in_stage = &instructions[..stage_end.unwrap_or(instructions.len())];
    if in_stage.iter().any(|one| one.line > copy && one.name == "RUN") {
        return Vec::new();
    }
    let (mut name, mut stage, mut stages) = ("", Stage::default(), BTreeMap::new());
    let (mut folder, mut used) = (None, Vec::new());
    for instruction in &instructions {
        match (&*instruction.name, instruction.args.last()) {
            ("FROM", Some(last)) => {
                let base = instruction.args.iter().find(|word| !word.starts_with("--"));
                stage =
                    base.and_then(|base| stages.get(base.as_str())).cloned().unwrap_or_default();
                name = last;
            }
            ("WORKDIR", Some(dir)) => stage.workdir = in_dir(&stage.workdir, dir),
            ("ENV", _) => stage.read_env(&instruction.args),
            _ if instruction.line == copy => {
                folder = destination(instruction, &stage.workdir);
                stage.has_folder = true;
            }
            ("ENTRYPOINT" | "CMD" | "RUN" | "COPY", _) => {
                stage.read_program(instruction);
                if let Some(folder) = &folder {
                    used.extend(paths_below(folder, instruction, &stage.workdir));
                }
            }
            _ => {}
        }
        // A later stage can be based on this one.
        stages.insert(name, stage.clone());
    }
    let built = image.target.map_or(Some(&stage), |target| stages.get(target));
    if let (Some(folder), Some(built)) = (folder, built.filter(|stage| stage.has_folder)) {
        used.extend(built.program_on_path(&folder));
        let absolute = image.programs.iter().filter(|program| program.starts_with('/'));
        used.extend(absolute.filter_map(|program| used_file(&folder, None, &in_dir("", program))));
    }
    used
}

/// What the instructions of a stage have set.
#[derive(Clone, Debug, Default)]
struct Stage<'a> {
    workdir: String,
    /// The first folder of the search path, without `/` at the beginning. The others are not
    /// known to be searched, because the files of the base are unknown.
    path: Option<String>,
    entrypoint: Option<&'a Instruction>,
    command: Option<&'a Instruction>,
    /// Whether it has the copied folder and has run nothing since.
    has_folder: bool,
}

impl<'a> Stage<'a> {
    /// Reads `ENV PATH=DIR:…` or `ENV PATH DIR:…`.
    fn read_env(&mut self, args: &[String]) {
        let value = match args {
            [name, value, ..] if name == "PATH" => Some(value.as_str()),
            words => words.iter().rev().find_map(|word| word.strip_prefix("PATH=")),
        };
        if let Some(value) = value {
            let first = value.trim_matches(['"', '\'']).split(':').next();
            let is_known = |dir: &&str| dir.starts_with('/') && !dir.contains(['$', '"', '\'']);
            self.path = first.filter(is_known).map(|dir| in_dir("", dir));
        }
    }

    fn read_program(&mut self, instruction: &'a Instruction) {
        match &*instruction.name {
            "ENTRYPOINT" => self.entrypoint = Some(instruction),
            "CMD" => self.command = Some(instruction),
            "RUN" => self.has_folder = false,
            _ => {}
        }
    }

    /// Returns the program of the image, if it is searched for.
    fn program_on_path(&self, folder: &str) -> Option<UsedFile> {
        let program = self.entrypoint.or(self.command)?;
        let words = program.args.join(" ");
        let words = serde_json::from_str(&words)
            .unwrap_or_else(|_| words.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        let name = words.into_iter().find(|word| word != "exec")?;
        let path = format!("{}/{name}", self.path.as_ref()?);
        name.chars().all(is_plain).then(|| used_file(folder, Some(program.line), &path))?
    }
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
    let below =
        move |word: String| used_file(folder, Some(instruction.line), &in_dir(workdir, &word));
    words.into_iter().filter(|word| !word.is_empty() && !word.contains('$')).filter_map(below)
}

/// Returns the file if its path in the image is below the folder.
fn used_file(folder: &str, line: Option<usize>, path: &str) -> Option<UsedFile> {
    let rest = if folder.is_empty() { path } else { path.strip_prefix(folder)? };
    let rest = if folder.is_empty() { rest } else { rest.strip_prefix('/')? };
    let (path, folder) = (rest.to_owned(), folder.to_owned());
    (!rest.is_empty()).then_some(UsedFile { line, path, folder })
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
            let found = used_files(&dockerfile, copy, ImageUse::default());
            let found: Vec<String> = found
                .iter()
                .map(|used| format!("{}:{}", used.line.unwrap(), used.path))
                .filter(|used| !used.ends_with(":--x") && !used.ends_with("--log"))
                .collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn program_on_search_path_is_used() {
        let table = [
            ("COPY . /app\nENV PATH=/app/bin:$PATH\nCMD [\"a\"]", "4:bin/a"),
            ("COPY . /app\nENV PATH /app/bin:$PATH\nCMD exec a --port 80", "4:bin/a"),
            ("ENV X=1 PATH=\"/app/bin:${PATH}\"\nCOPY . /app\nENTRYPOINT [\"a\"]", "4:bin/a"),
            ("COPY . /app\nCMD [\"a\"]\nENV PATH=/app", "3:a"),
            ("COPY . /app\nENV PATH=/app/bin\nFROM x AS y\nCMD [\"a\"]", ""),
            ("COPY . /\nENV PATH=/bin\nCMD [\"a\"]", "4:a 4:bin/a"),
            // The base can have the program, too.
            ("COPY . /app\nENV PATH=$PATH:/app\nCMD [\"a\"]", ""),
            ("COPY . /app\nENV PATH=/opt:/app\nCMD [\"a\"]", ""),
            ("COPY . /app\nENV PATH=$DIR\nCMD [\"a\"]", ""),
            ("COPY . /app\nENV PATH=/app\nENV PATH=/opt\nCMD [\"a\"]", ""),
            ("COPY . /app\nCMD [\"a\"]", ""),
            // An argument of the program.
            ("COPY . /app\nENV PATH=/app\nENTRYPOINT [\"/x\"]\nCMD [\"a\"]", ""),
            ("COPY . /app\nENV PATH=/app\nCMD [\"a\"]\nENTRYPOINT [\"/x\"]", ""),
            ("COPY . /app\nENV PATH=/app\nCMD $PROGRAM", ""),
            ("COPY . /app\nENV PATH=/app\nCMD [\"a\"]\nFROM scratch\nCMD [\"a\"]", ""),
        ];
        for (text, expected) in table {
            let dockerfile = format!("FROM scratch AS y\n{text}\n");
            let copy = 2 + usize::from(text.starts_with("ENV"));
            let found = used_files(&dockerfile, copy, ImageUse::default());
            let found: Vec<String> =
                found.iter().map(|used| format!("{}:{}", used.line.unwrap(), used.path)).collect();
            assert_eq!(found.join(" "), expected, "{text}");
        }
    }

    #[test]
    fn program_of_manifest_is_used() {
        let programs = ["/app/bin/a", "a", "/opt/a"].map(str::to_owned);
        let table = [
            ("COPY . /app", None, "bin/a"),
            ("COPY . /", None, "app/bin/a opt/a"),
            ("COPY . /app\nFROM y", None, "bin/a"),
            ("COPY . /app\nFROM y\nRUN make", None, ""),
            ("COPY . /app\nFROM scratch", None, ""),
            ("COPY . /app\nFROM scratch", Some("y"), "bin/a"),
            ("COPY . /app\nFROM y AS z\nFROM scratch", Some("other"), ""),
        ];
        for (text, target, expected) in table {
            let dockerfile = format!("FROM scratch AS y\n{text}\n");
            let found = used_files(&dockerfile, 2, ImageUse { target, programs: &programs });
            let found: Vec<&str> = found.iter().map(|used| used.path.as_str()).collect();
            assert_eq!(found.join(" "), expected, "{text}");
        }
    }
}
