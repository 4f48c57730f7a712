//! Reads what identifies a git repository: its first commit and its address.

use std::fs;
use std::path::{Path, PathBuf};

use kdev_core::kube::owner::Address;
use xshell::cmd;

use crate::cx::Cx;
use crate::process::{Command, Failure, Outcome, Output};
use crate::project::error::{Error, Result};
use crate::tools::TOOL_TIMEOUT;

/// How many local repositories are followed, each of which is the origin of the one before.
const MAX_ORIGINS: usize = 4;
/// How many commits the cache of first commits has.
const CACHED_COMMITS: usize = 32;
/// Variables that a git hook sets. They would select another repository.
const VARIABLES: [&str; 6] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_NAMESPACE",
];

/// A package in a git repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Repository {
    /// The first commit on the way back from `HEAD` along the first parents, so that merging an
    /// unrelated history does not change it. `None` in a shallow clone.
    pub(crate) root: Option<String>,
    /// The address of the remote `origin`, or of the only remote, or the path of the repository
    /// if it has none.
    pub(crate) address: Address,
    /// The path of the package in the repository.
    pub(crate) path: String,
}

/// Reads the repository of the package in this directory, or returns why it has none that
/// identifies it. This starts `git` two or three times, which takes a few milliseconds each.
pub(crate) fn read(cx: &Cx, directory: &Path, machine: &str) -> Result<Result<Repository, String>> {
    let Ok(program) = which::which("git") else {
        return Ok(Err("`git` is not installed".to_owned()));
    };
    let git = Git { cx, program, machine };
    // `HEAD:./Cargo.toml`, because the package may be in an unrelated repository, such as that
    // of the home directory.
    let args = ["--is-shallow-repository", "--show-prefix", "--git-common-dir", "HEAD"];
    let args = [&["rev-parse"], args.as_slice(), &["HEAD:./Cargo.toml"]].concat();
    let text = match git.run(directory, &args) {
        Ok(output) => output.text(),
        Err(failure) => return unidentified(failure).map(Err),
    };
    let lines: Vec<&str> = text.lines().collect();
    let [is_shallow, path, common_dir, head, _] = lines.as_slice() else {
        return Ok(Err("the output of `git rev-parse` is unexpected".to_owned()));
    };
    let address = git.address(directory, &directory.join(common_dir), MAX_ORIGINS)?;
    let root = if *is_shallow == "true" { None } else { Some(git.root(directory, head)?) };
    Ok(Ok(Repository { root, address, path: path.trim_end_matches('/').to_owned() }))
}

/// Returns the commit of the package in this directory, with `-dirty` if tracked files differ from
/// it. `None` without a git repository.
pub(crate) fn revision(cx: &Cx, directory: &Path) -> Option<String> {
    let git = Git { cx, program: which::which("git").ok()?, machine: "" };
    let text = |args: &[&str]| git.run(directory, args).ok().map(|output| output.text());
    // The package may be in an unrelated repository.
    let commit = text(&["rev-parse", "HEAD", "HEAD:./Cargo.toml"])?;
    let commit = commit.lines().next()?.to_owned();
    let changes = text(&["--no-optional-locks", "status", "--porcelain", "--untracked-files=no"])?;
    Some(if changes.trim().is_empty() { commit } else { format!("{commit}-dirty") })
}

/// Returns why git cannot identify the project, if it has exited with an error. Everything else
/// is an error, because the next run may have another result.
fn unidentified(failure: Failure) -> Result<String> {
    let has = |text: &str| failure.stderr.contains(text);
    Ok(match &failure.outcome {
        Outcome::NotStarted(_) => "`git` cannot be started".to_owned(),
        Outcome::Code(_) if has("dubious ownership") => {
            "git's `safe.directory` does not contain the repository".to_owned()
        }
        Outcome::Code(_) if has("not a git repository") => {
            "the project is not in a git repository".to_owned()
        }
        Outcome::Code(_) if has("Cargo.toml'") => "`Cargo.toml` is not committed".to_owned(),
        Outcome::Code(_) if has("argument 'HEAD'") => "the repository has no commits".to_owned(),
        Outcome::Code(_) => "git cannot read the repository".to_owned(),
        _ => return Err(Error::Git(failure)),
    })
}

struct Git<'a> {
    cx: &'a Cx<'a>,
    program: PathBuf,
    machine: &'a str,
}

impl Git<'_> {
    fn run(&self, directory: &Path, args: &[&str]) -> Result<Output, Failure> {
        let not_started = |error| Failure::not_started("git", &std::io::Error::other(error));
        let sh = self.cx.shell().map_err(not_started)?;
        let program = &self.program;
        let mut cmd = cmd!(sh, "{program} --no-replace-objects -C {directory} {args...}");
        for name in VARIABLES {
            cmd = cmd.env_remove(name);
        }
        // A partial clone must not fetch objects.
        Command::new(cmd.env("GIT_NO_LAZY_FETCH", "1")).timeout(TOOL_TIMEOUT).read(self.cx)
    }

    /// Returns the first commit of the history of `head`.
    fn root(&self, directory: &Path, head: &str) -> Result<String> {
        let cache = self.cx.cache_dir().map(|dir| dir.join("git-roots"));
        let known = cache.as_ref().and_then(|path| fs::read_to_string(path).ok());
        let known = known.unwrap_or_default();
        let is_complete = |root: &&str| root.len() == head.len();
        let mut lines = known.lines().filter_map(|line| line.split_once(' '));
        let cached = lines.find(|(commit, _)| *commit == head).map(|(_, root)| root);
        if let Some(root) = cached.filter(is_complete) {
            return Ok(root.to_owned());
        }
        let args = ["rev-list", "--first-parent", "--max-parents=0", head];
        let root = self.run(directory, &args).map_err(Error::Git)?.text().trim().to_owned();
        // If this fails, the next run reads the history again.
        if let Some(path) = cache {
            let added = format!("{head} {root}");
            let kept = known.lines().take(CACHED_COMMITS - 1);
            let lines: Vec<&str> = std::iter::once(added.as_str()).chain(kept).collect();
            let _ = path.parent().map(fs::create_dir_all);
            let _ = fs::write(path, lines.join("\n"));
        }
        Ok(root)
    }

    /// Returns the address of a repository. If its origin is a repository on this machine, that
    /// of the origin.
    fn address(&self, directory: &Path, common_dir: &Path, origins: usize) -> Result<Address> {
        let own = || self.local(common_dir);
        let Some(url) = self.origin(directory)? else { return Ok(own()) };
        let Address::Local(path) = Address::parse(&url) else { return Ok(Address::parse(&url)) };
        let path = directory.join(path);
        if origins == 0 || !path.is_dir() {
            return Ok(self.local(&path));
        }
        match self.run(&path, &["rev-parse", "--git-common-dir"]) {
            Ok(output) => self.address(&path, &path.join(output.text().trim()), origins - 1),
            Err(failure) => unidentified(failure).map(|_| self.local(&path)),
        }
    }

    fn local(&self, path: &Path) -> Address {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        Address::local(&format!("{}:{}", self.machine, path.display()))
    }

    /// Returns the URL of the remote `origin`, or of the only remote.
    fn origin(&self, directory: &Path) -> Result<Option<String>> {
        let args = ["config", "--get-regexp", r"^remote\..*\.url$"];
        let text = match self.run(directory, &args) {
            Ok(output) => output.text(),
            Err(failure) => return unidentified(failure).map(|_| None),
        };
        let remotes: Vec<_> = text.lines().filter_map(|line| line.split_once(' ')).collect();
        let origin = remotes.iter().find(|(key, _)| *key == "remote.origin.url");
        let only = if remotes.len() == 1 { remotes.first() } else { None };
        Ok(origin.or(only).map(|(_, url)| (*url).to_owned()))
    }
}

#[cfg(test)]
#[path = "repository_tests.rs"]
mod tests;
