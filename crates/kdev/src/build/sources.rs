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

/// The flags of `COPY` and `ADD` that do not change which paths are copied.
const COPY_FLAGS: [&str; 7] =
    ["--from", "--chown", "--chmod", "--link", "--checksum", "--keep-git-dir", "--unpack"];

/// The values of `--build-arg`; `None` if the value is unknown.
type BuildArgs = BTreeMap<String, Option<String>>;
/// The values of `ARG` and `ENV`.
type Variables = BTreeMap<String, String>;

#[derive(Default)]
struct Stage {
    name: Option<String>,
    variables: Variables,
    /// The variables that `ENV` has set.
    env: BTreeSet<String>,
    sources: Vec<ContextSource>,
    /// The indexes of the stages that it is based on or copies from.
    needs: Vec<usize>,
    /// Whether `FROM` sets its platform, so that it does not depend on the one that is built
    /// for.
    has_own_platform: bool,
    /// The line of its first `RUN`, from 1.
    first_run: Option<usize>,
    /// The instructions that may read other paths of the context.
    unclear: Vec<Unclear>,
}

/// An instruction that may read any path of the context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unclear {
    /// The first line of the instruction, from 1.
    pub(crate) line: usize,
    /// What is not known, for example the flag.
    pub(crate) cause: String,
}

/// What a build reads from its context.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ContextUse {
    pub(crate) sources: Vec<ContextSource>,
    pub(crate) unclear: Vec<Unclear>,
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

/// Returns what the configured build reads from its context: at least these paths, and if an
/// instruction is unclear, possibly all of them.
pub(super) fn context_use(config: &Config, dockerfile: &str) -> ContextUse {
    let stages = read_stages(dockerfile, &build_args(config));
    let Some(built) = built_stage(&stages, config.target.as_deref()) else {
        let cause = "a missing stage".to_owned();
        return ContextUse { unclear: vec![Unclear { line: 1, cause }], ..ContextUse::default() };
    };
    let mut found = ContextUse::default();
    for index in reached_stages(&stages, built) {
        found.sources.extend(stages[index].sources.iter().cloned());
        found.unclear.extend(stages[index].unclear.iter().cloned());
    }
    found
}

/// Returns the build arguments of the settings. Those of `docker-build` win; one without a
/// value has that of a variable, which is unknown.
fn build_args(config: &Config) -> BuildArgs {
    let named = config.build_args.iter().map(|(name, value)| (name.clone(), Some(value.clone())));
    let mut args: BuildArgs = named.collect();
    for arg in config.docker_build_values("--build-arg") {
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
            "ARG" => {
                let before = stage.variables.clone();
                declare_args(&mut stage.variables, &instruction, build_args, Some(&global));
                stage.forget_changed_env(&before);
            }
            "ENV" => stage.set_env(&instruction.args),
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
    // The base may be an earlier stage.
    let unclear = base.is_none().then(|| Unclear::variable(from)).into_iter().collect();
    let name = words.nth(1).map(|name| name.to_lowercase());
    let base = base.and_then(|base| find_named_stage(stages, &base));
    let variables = base.map(|index| stages[index].variables.clone()).unwrap_or_default();
    let env = base.map(|index| stages[index].env.clone()).unwrap_or_default();
    let platform = from.args.iter().find_map(|word| word.strip_prefix("--platform="));
    let has_own_platform = match platform {
        Some(platform) => {
            !["TARGETPLATFORM", "TARGETARCH"].iter().any(|name| platform.contains(name))
        }
        None => base.is_some_and(|index| stages[index].has_own_platform),
    };
    let needs = base.into_iter().collect();
    Stage { name, variables, env, needs, has_own_platform, unclear, ..Stage::default() }
}

impl Unclear {
    fn variable(instruction: &Instruction) -> Self {
        let cause = format!("an unknown variable of `{}`", instruction.name);
        Self { line: instruction.line, cause }
    }

    fn flag(instruction: &Instruction, flag: &str) -> Self {
        let flag = flag.split('=').next().unwrap_or_default();
        Self { line: instruction.line, cause: format!("`{} {flag}`", instruction.name) }
    }
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

impl Stage {
    /// Reads `ENV NAME=VALUE…` or `ENV NAME VALUE`.
    fn set_env(&mut self, args: &[String]) {
        let pairs: Vec<(&str, String)> = match args {
            [first, rest @ ..] if !first.contains('=') => vec![(first, rest.join(" "))],
            words => {
                words.iter().filter_map(|word| word.split_once('=')).map(owned_value).collect()
            }
        };
        let values = pairs
            .into_iter()
            .map(|(name, value)| (name, substitute(unquote(&value), &self.variables)));
        for (name, value) in values.collect::<Vec<_>>() {
            self.env.insert(name.to_owned());
            match value {
                Some(value) => self.variables.insert(name.to_owned(), value),
                None => self.variables.remove(name),
            };
        }
    }

    /// Forgets variables that `ENV` has set and `ARG` has changed: builders differ in which of the
    /// values a `COPY` uses.
    fn forget_changed_env(&mut self, before: &Variables) {
        for name in &self.env {
            if self.variables.get(name) != before.get(name) {
                self.variables.remove(name);
            }
        }
    }
}

fn owned_value<'a>((name, value): (&'a str, &str)) -> (&'a str, String) {
    (name, value.to_owned())
}

fn read_copy(stage: &mut Stage, earlier: &[Stage], instruction: &Instruction) {
    let flags = || instruction.args.iter().take_while(|word| word.starts_with("--"));
    if let Some(from) = flags().find_map(|flag| flag.strip_prefix("--from=")) {
        let from = substitute(unquote(from), &stage.variables);
        if from.is_none() {
            stage.unclear.push(Unclear::variable(instruction));
        }
        stage.needs.extend(from.and_then(|from| find_stage(earlier, &from)));
        return;
    }
    let is_known = |flag: &&String| COPY_FLAGS.contains(&flag.split('=').next().unwrap_or(flag));
    if let Some(flag) = flags().find(|flag| !is_known(flag)) {
        stage.unclear.push(Unclear::flag(instruction, flag));
    }
    // An excluded file may be the one in question.
    if flags().any(|flag| flag.starts_with("--exclude")) {
        return;
    }
    let is_path = |word: &String| !word.contains("://") && here_document(word).is_none();
    for word in dockerfile::source_words(&instruction.args).iter().filter(|word| is_path(word)) {
        add_source(stage, instruction, word);
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
        let has_variable = mount.contains('$');
        let from = field(&["from"]).and_then(|from| substitute(from, &stage.variables));
        if has_variable && (from.is_none() && field(&["from"]).is_some()) {
            stage.unclear.push(Unclear::variable(instruction));
        }
        stage.needs.extend(from.and_then(|from| find_stage(earlier, &from)));
        let is_bind = field(&["type"]).is_none_or(|kind| kind == "bind" || kind.contains('$'));
        match (is_bind, field(&["from"]), field(&["source", "src"])) {
            (true, None, Some(source)) => add_source(stage, instruction, source),
            (true, None, None) => {
                let cause = "`RUN --mount` without `source`".to_owned();
                stage.unclear.push(Unclear { line: instruction.line, cause });
            }
            _ => {}
        }
    }
}

fn add_source(stage: &mut Stage, instruction: &Instruction, word: &str) {
    match substitute(word, &stage.variables) {
        Some(path) => {
            let path = normalized_path(&path);
            stage.sources.push(ContextSource { line: instruction.line, path });
        }
        None => stage.unclear.push(Unclear::variable(instruction)),
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
#[path = "sources_tests.rs"]
mod tests;
