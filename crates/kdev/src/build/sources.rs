//! Finds the paths that a build copies from its context: those of the stages that the built
//! stage needs, with the values of their variables. Also finds the platforms of these stages.

use std::collections::{BTreeMap, BTreeSet};

use kdev_core::path::normalized_path;

use crate::build::dockerfile::{self, Instruction, here_document, unquote};
use crate::config::Config;

/// A path that an instruction copies or mounts from the build context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContextSource {
    /// The first line of the instruction, from 1.
    pub(crate) line: usize,
    /// The path, relative to the context and without `.` and `..`; it may be a glob.
    pub(crate) path: String,
}

/// The values of `--build-arg`; `None` if the value is unknown.
type BuildArgs = BTreeMap<String, Option<String>>;
/// The values of `ARG` and `ENV`.
type Variables = BTreeMap<String, String>;

#[derive(Default)]
struct Stage {
    name: Option<String>,
    variables: Variables,
    sources: Vec<ContextSource>,
    /// The indexes of the stages that it is based on or copies from.
    needs: Vec<usize>,
    /// Whether `FROM` sets its platform, so that it does not depend on the one that is built
    /// for.
    has_own_platform: bool,
    /// The line of its first `RUN`, from 1.
    first_run: Option<usize>,
}

/// How a build depends on the platform that it is built for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PlatformUse {
    /// Whether the built stage sets the platform of the image.
    pub(crate) is_set: bool,
    /// The first line that runs a program of the image's platform, from 1.
    pub(crate) first_run: Option<usize>,
    /// The paths that the built stage itself copies from the context.
    pub(crate) copied: Vec<ContextSource>,
}

/// Returns how the configured build depends on the platform that it is built for.
pub(crate) fn platform_use(config: &Config, dockerfile: &str) -> PlatformUse {
    find_platform_use(dockerfile, config.target.as_deref(), &build_args(config))
}

fn find_platform_use(
    dockerfile: &str,
    target: Option<&str>,
    build_args: &BuildArgs,
) -> PlatformUse {
    let stages = read_stages(dockerfile, build_args);
    let Some(built) = built_stage(&stages, target) else { return PlatformUse::default() };
    let reached = reached_stages(&stages, built).into_iter().map(|index| &stages[index]);
    let runs = reached.filter(|stage| !stage.has_own_platform).filter_map(|stage| stage.first_run);
    PlatformUse {
        is_set: stages[built].has_own_platform,
        first_run: runs.min(),
        copied: stages[built].sources.clone(),
    }
}

/// Returns the paths that the configured build copies from its context.
pub(crate) fn configured_sources(config: &Config, dockerfile: &str) -> Vec<ContextSource> {
    reached_sources(dockerfile, config.target.as_deref(), &build_args(config))
}

/// Returns the build arguments of the settings. Those of `docker-build` win; one without a
/// value has that of a variable, which is unknown.
fn build_args(config: &Config) -> BuildArgs {
    let named = config.build_args.iter().map(|(name, value)| (name.clone(), Some(value.clone())));
    let mut args: BuildArgs = named.collect();
    let mut words = config.docker_build.iter();
    while let Some(word) = words.next() {
        let arg = match word.strip_prefix("--build-arg") {
            Some("") => words.next().map(String::as_str),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        };
        let Some(arg) = arg else { continue };
        match arg.split_once('=') {
            Some((name, value)) => args.insert(name.to_owned(), Some(value.to_owned())),
            None => args.insert(arg.to_owned(), None),
        };
    }
    args
}

/// Returns the paths that the build of `target`, by default the last stage, copies from its
/// context. A path is left out if it depends on a variable whose value is unknown.
fn reached_sources(
    dockerfile: &str,
    target: Option<&str>,
    build_args: &BuildArgs,
) -> Vec<ContextSource> {
    let stages = read_stages(dockerfile, build_args);
    let Some(built) = built_stage(&stages, target) else { return Vec::new() };
    let reached = reached_stages(&stages, built).into_iter();
    reached.flat_map(|index| stages[index].sources.clone()).collect()
}

fn built_stage(stages: &[Stage], target: Option<&str>) -> Option<usize> {
    let last = stages.len().checked_sub(1);
    target.map_or(last, |target| find_stage(stages, target))
}

/// Returns a stage and the stages that it needs, in their order.
fn reached_stages(stages: &[Stage], built: usize) -> BTreeSet<usize> {
    let (mut reached, mut pending) = (BTreeSet::new(), vec![built]);
    while let Some(index) = pending.pop() {
        if reached.insert(index) {
            pending.extend(&stages[index].needs);
        }
    }
    reached
}

fn read_stages(dockerfile: &str, build_args: &BuildArgs) -> Vec<Stage> {
    let (mut stages, mut global): (Vec<Stage>, Variables) = (Vec::new(), Variables::new());
    for instruction in dockerfile::instructions(dockerfile) {
        if instruction.name == "FROM" {
            let stage = start_stage(&stages, &instruction, &global);
            stages.push(stage);
            continue;
        }
        let Some((stage, earlier)) = stages.split_last_mut() else {
            declare_args(&mut global, &instruction, build_args, None);
            continue;
        };
        match &*instruction.name {
            "ARG" => declare_args(&mut stage.variables, &instruction, build_args, Some(&global)),
            "ENV" => set_env(&mut stage.variables, &instruction.args),
            "COPY" | "ADD" => read_copy(stage, earlier, &instruction),
            "RUN" => {
                stage.first_run.get_or_insert(instruction.line);
                read_mounts(stage, earlier, &instruction);
            }
            _ => {}
        }
    }
    stages
}

/// Reads `FROM [--platform=P] BASE [AS NAME]`. A stage inherits the variables and the platform
/// of its base.
fn start_stage(stages: &[Stage], from: &Instruction, global: &Variables) -> Stage {
    let mut words = from.args.iter().skip_while(|word| word.starts_with("--"));
    let base = words.next().and_then(|word| substitute(unquote(word), global));
    let name = words.nth(1).map(|name| name.to_lowercase());
    let base = base.and_then(|base| find_named_stage(stages, &base));
    let variables = base.map(|index| stages[index].variables.clone()).unwrap_or_default();
    let platform = from.args.iter().find_map(|word| word.strip_prefix("--platform="));
    let has_own_platform = match platform {
        Some(platform) => {
            !["TARGETPLATFORM", "TARGETARCH"].iter().any(|name| platform.contains(name))
        }
        None => base.is_some_and(|index| stages[index].has_own_platform),
    };
    let needs = base.into_iter().collect();
    Stage { name, variables, needs, has_own_platform, ..Stage::default() }
}

fn find_named_stage(stages: &[Stage], name: &str) -> Option<usize> {
    stages.iter().position(|stage| stage.name.as_deref() == Some(&name.to_lowercase()))
}

/// Finds a stage by name or index.
fn find_stage(stages: &[Stage], name: &str) -> Option<usize> {
    let by_index = || name.parse().ok().filter(|index| *index < stages.len());
    find_named_stage(stages, name).or_else(by_index)
}

/// Reads `ARG NAME[=DEFAULT]…`. A build argument replaces the default; in a stage, so does an
/// argument before the first stage if there is no default.
fn declare_args(
    variables: &mut Variables,
    instruction: &Instruction,
    build_args: &BuildArgs,
    global: Option<&Variables>,
) {
    for word in &instruction.args {
        let (name, default) = match unquote(word).split_once('=') {
            Some((name, default)) => (name, substitute(unquote(default), variables)),
            None => (&**word, global.and_then(|global| global.get(word).cloned())),
        };
        match build_args.get(name).cloned().unwrap_or(default) {
            Some(value) => variables.insert(name.to_owned(), value),
            None => variables.remove(name),
        };
    }
}

/// Reads `ENV NAME=VALUE…` or `ENV NAME VALUE`.
fn set_env(variables: &mut Variables, args: &[String]) {
    let pairs: Vec<(&str, String)> = match args {
        [first, rest @ ..] if !first.contains('=') => vec![(first, rest.join(" "))],
        words => words.iter().filter_map(|word| word.split_once('=')).map(owned_value).collect(),
    };
    let values =
        pairs.into_iter().map(|(name, value)| (name, substitute(unquote(&value), variables)));
    for (name, value) in values.collect::<Vec<_>>() {
        match value {
            Some(value) => variables.insert(name.to_owned(), value),
            None => variables.remove(name),
        };
    }
}

fn owned_value<'a>((name, value): (&'a str, &str)) -> (&'a str, String) {
    (name, value.to_owned())
}

fn read_copy(stage: &mut Stage, earlier: &[Stage], instruction: &Instruction) {
    let flags = || instruction.args.iter().take_while(|word| word.starts_with("--"));
    if let Some(from) = flags().find_map(|flag| flag.strip_prefix("--from=")) {
        let from = substitute(unquote(from), &stage.variables);
        stage.needs.extend(from.and_then(|from| find_stage(earlier, &from)));
        return;
    }
    // An excluded file may be the one in question.
    if flags().any(|flag| flag.starts_with("--exclude")) {
        return;
    }
    let is_path = |word: &String| !word.contains("://") && here_document(word).is_none();
    for word in dockerfile::source_words(&instruction.args).iter().filter(|word| is_path(word)) {
        add_source(stage, instruction.line, word);
    }
}

/// Reads `--mount=type=bind,source=PATH,from=STAGE,…`. The type `bind` is the default.
fn read_mounts(stage: &mut Stage, earlier: &[Stage], instruction: &Instruction) {
    let flags = instruction.args.iter().take_while(|word| word.starts_with("--"));
    for mount in flags.filter_map(|flag| flag.strip_prefix("--mount=")) {
        let fields: Vec<(&str, &str)> =
            unquote(mount).split(',').filter_map(|field| field.split_once('=')).collect();
        let field = |names: &[&str]| {
            fields.iter().find(|(name, _)| names.contains(name)).map(|(_, value)| *value)
        };
        let from = field(&["from"]).and_then(|from| substitute(from, &stage.variables));
        stage.needs.extend(from.and_then(|from| find_stage(earlier, &from)));
        let is_bind = field(&["type"]).is_none_or(|kind| kind == "bind");
        if let (true, None, Some(source)) = (is_bind, field(&["from"]), field(&["source", "src"])) {
            add_source(stage, instruction.line, source);
        }
    }
}

fn add_source(stage: &mut Stage, line: usize, word: &str) {
    if let Some(path) = substitute(word, &stage.variables) {
        stage.sources.push(ContextSource { line, path: normalized_path(&path) });
    }
}

/// Replaces `$NAME`, `${NAME}`, `${NAME:-DEFAULT}` and `\$`. Returns `None` if a value is
/// unknown, for example because the base image or BuildKit sets it.
fn substitute(word: &str, variables: &Variables) -> Option<String> {
    let mut result = String::new();
    let mut rest = word;
    while let Some(at) = rest.find('$') {
        if let Some(before) = rest[..at].strip_suffix('\\') {
            result.push_str(before);
            result.push('$');
            rest = &rest[at + 1..];
            continue;
        }
        result.push_str(&rest[..at]);
        let (value, after) = expand(&rest[at + 1..], variables)?;
        result.push_str(&value);
        rest = after;
    }
    result.push_str(rest);
    Some(result)
}

/// Returns the value of the variable after a `$`, and the text after it.
fn expand<'a>(text: &'a str, variables: &Variables) -> Option<(String, &'a str)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let Some(braced) = text.strip_prefix('{') else {
        let (name, rest) = text.split_at(text.find(|c| !is_name(c)).unwrap_or(text.len()));
        return Some((variables.get(name)?.clone(), rest));
    };
    let (inner, rest) = braced.split_once('}')?;
    let value = match inner.split_once(":-") {
        _ if inner.chars().all(is_name) => variables.get(inner)?.clone(),
        // Only a declared variable is known to be unset or empty.
        Some((name, default)) => {
            let value = variables.get(name)?;
            if value.is_empty() { default } else { value }.to_owned()
        }
        None => return None,
    };
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(dockerfile: &str, target: Option<&str>) -> Vec<String> {
        let build_args = BTreeMap::from(
            [("GIVEN", Some("given")), ("SECRET", None)]
                .map(|(name, value)| (name.to_owned(), value.map(str::to_owned))),
        );
        let found = reached_sources(dockerfile, target, &build_args);
        found.into_iter().map(|source| format!("{}:{}", source.line, source.path)).collect()
    }

    #[test]
    fn platform_use_follows_stages() {
        // Dockerfile, built stage, and the fields of the result.
        type Row<'a> = (&'a str, Option<&'a str>, bool, Option<usize>, usize);
        let run = "FROM base\nRUN true\n";
        let cross = "FROM --platform=$BUILDPLATFORM rust AS build\nRUN cargo build\nFROM scratch\nCOPY --from=build /app /app\nCOPY page /\n";
        let table: [Row; 13] = [
            ("FROM scratch\nCOPY app /app\n", None, false, None, 1),
            (run, None, false, Some(2), 0),
            (cross, None, false, None, 1),
            (cross, Some("build"), true, None, 0),
            (&cross.replace("COPY page", "RUN page"), None, false, Some(5), 0),
            // A stage has the platform of its base.
            (&cross.replace("FROM scratch", "FROM build"), None, true, None, 1),
            (&cross.replace("--platform=$BUILDPLATFORM ", ""), None, false, Some(2), 1),
            (
                &cross.replace("$BUILD", "${TARGET").replace("M rust", "M} rust"),
                None,
                false,
                Some(2),
                1,
            ),
            // Only needed stages are built.
            (&cross.replace("--from=build ", ""), None, false, None, 2),
            (&format!("{run}FROM scratch\nCOPY a /a\n"), None, false, None, 1),
            ("FROM --platform=linux/arm64 base\nRUN true\n", None, true, None, 0),
            ("FROM --platform=linux/$TARGETARCH base\nRUN true\n", None, false, Some(2), 0),
            ("", None, false, None, 0),
        ];
        for (text, target, is_set, first_run, copied) in table {
            let found = find_platform_use(text, target, &BTreeMap::new());
            let found = (found.is_set, found.first_run, found.copied.len());
            assert_eq!(found, (is_set, first_run, copied), "{text}");
        }
    }

    #[test]
    fn sources_of_instruction_are_paths_in_context() {
        let table: [(&str, &[&str]); 16] = [
            ("COPY a b /c/", &["2:a", "2:b"]),
            ("COPY [\"a b\", \"/c\"]", &["2:a b"]),
            ("copy --chown=1:1 --link ./a//b/../c /d", &["2:a/c"]),
            ("COPY /a ../b /c/", &["2:a", "2:b"]),
            ("COPY . /c", &["2:"]),
            ("ADD a https://x/y git@x:y.git /c/", &["2:a", "2:git@x:y.git"]),
            ("COPY --from=image a /c", &[]),
            ("COPY --exclude=a . /c", &[]),
            ("COPY <<EOF /c\nCOPY a /\nEOF", &[]),
            ("COPY target/*/a /c", &["2:target/*/a"]),
            ("RUN --mount=type=bind,source=a,target=/c x", &["2:a"]),
            ("RUN --mount=target=/c,src=./a,rw x", &["2:a"]),
            ("RUN --mount=type=cache,source=a,target=/c x", &[]),
            ("RUN --mount=source=a,target=/c,from=image x", &[]),
            ("RUN --mount=target=/c x", &[]),
            ("RUN cp a --mount=source=b /c", &[]),
        ];
        for (text, expected) in table {
            assert_eq!(sources(&format!("FROM x\n{text}\n"), None), expected, "{text}");
        }
    }

    #[test]
    fn variable_has_value_of_argument_or_environment() {
        let table: [(&str, &[&str]); 16] = [
            ("ARG SECRET=a\nCOPY $SECRET b /c/", &["4:b"]),
            ("ARG A=a\nCOPY $A ${A} ${A}s $A.d /c/", &["4:a", "4:a", "4:as", "4:a.d"]),
            ("ARG A=a B=$A/b\nCOPY \"$B\" /c", &["4:a/b"]),
            ("ARG GIVEN\nCOPY $GIVEN /c", &["4:given"]),
            ("ARG GIVEN=a\nCOPY $GIVEN /c", &["4:given"]),
            ("ENV GIVEN=a\nCOPY $GIVEN /c", &["4:a"]),
            ("ARG GLOBAL\nCOPY $GLOBAL /c", &["4:global"]),
            ("ARG GLOBAL=a\nCOPY $GLOBAL /c", &["4:a"]),
            ("COPY a$GLOBAL a$GIVEN /c/", &[]),
            ("ENV A a\nENV B='b'\nCOPY $A$B /c", &["5:ab"]),
            ("ENV A=\nCOPY ${A:-a} ${B:-b} /c/", &["4:a"]),
            ("ARG TARGETARCH\nCOPY target/$TARGETARCH b /c/", &["4:b"]),
            ("ARG A=a\nENV A=$UNKNOWN\nCOPY $A /c", &[]),
            ("ARG A=a\nCOPY ${A:+b} ${A#a} ${A /c/", &[]),
            ("COPY \\$a /c", &["3:$a"]),
            ("ARG A=a\nRUN --mount=src=$A,target=/c x", &["4:a"]),
        ];
        for (text, expected) in table {
            let text = format!("ARG GLOBAL=global\nFROM x\n{text}\n");
            assert_eq!(sources(&text, None), expected, "{text}");
        }
    }

    #[test]
    fn only_needed_stages_are_read() {
        let text = "ARG BASE=one
FROM x AS One
ARG A=a
COPY $A /
FROM x AS two
COPY b /
FROM x AS three
COPY c /
FROM ${BASE} AS four
COPY --from=two / /
COPY d$A /
FROM x
RUN --mount=from=three,target=/t x
COPY --from=0 / /
FROM four
";
        let table: [(Option<&str>, &[&str]); 7] = [
            (None, &["4:a", "6:b", "11:da"]),
            (Some("four"), &["4:a", "6:b", "11:da"]),
            (Some("TWO"), &["6:b"]),
            (Some("4"), &["4:a", "8:c"]),
            (Some("one"), &["4:a"]),
            (Some("absent"), &[]),
            (Some("9"), &[]),
        ];
        for (target, expected) in table {
            assert_eq!(sources(text, target), expected, "{target:?}");
        }
        assert_eq!(sources("", None), Vec::<String>::new());
    }
}
