//! The Dockerfile, its ignore file, and what it copies from the build context.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::build::context_use::{self, Unclear};
use crate::build::dockerignore::{self, Dockerignore};
use crate::config::{BaseImage, BuilderChoice, Config, escape_glob};
use crate::inputs::tree::{self, Entry, Links};
use crate::inputs::{InputClass, Inputs, cargo};
use crate::project::canonical;

/// Links can form a cycle.
const LINK_LIMIT: usize = 40;

pub(super) fn find(inputs: &mut Inputs, config: &Config) {
    if config.builder == BuilderChoice::Cargo {
        for asset in &config.container.assets {
            let path = config.dir.join(&asset.from);
            Context::without_root(config).add_tree(inputs, &path, "asset of the image");
        }
        if let BaseImage::Path(path) = &config.container.base {
            let path = config.dir.join(path);
            Context::without_root(config).add_tree(inputs, &path, "base of the image");
        }
        return;
    }
    inputs.add(&config.dockerfile, InputClass::Docker, "Dockerfile");
    for path in dockerignore::candidates(config) {
        inputs.add(&path, InputClass::Docker, "ignore file of the build context");
    }
    let context = Context {
        root: canonical(&config.context),
        ignore: Dockerignore::read(config),
        ..Context::without_root(config)
    };
    context.find(inputs);
    for folder in context_use::named_contexts(config) {
        let reason = "in a folder of `--build-context`";
        Context::without_root(config).add_tree(inputs, &folder, reason);
    }
    note_needless(inputs, &context.root);
}

struct Context<'a> {
    root: PathBuf,
    ignore: Dockerignore,
    /// The target directory, if kdev runs cargo.
    target: Option<PathBuf>,
    config: &'a Config,
}

impl<'a> Context<'a> {
    /// Returns a context for folders outside of the build context.
    fn without_root(config: &'a Config) -> Self {
        let target = cargo::is_run(config).then(|| canonical(&config.target_dir));
        Self { root: PathBuf::new(), ignore: Dockerignore::default(), target, config }
    }

    fn find(&self, inputs: &mut Inputs) {
        let bytes = fs::read(&self.config.dockerfile).unwrap_or_default();
        let found = context_use::context_use(self.config, &String::from_utf8_lossy(&bytes));
        if let Some(unclear) = found.unclear.first() {
            inputs.notes.insert(self.describe(unclear));
            self.add_tree(inputs, &self.root, "in the build context");
            return;
        }
        for source in found.sources {
            let reason = format!("copied in line {} of the Dockerfile", source.line);
            self.add_source(inputs, &source.path, &reason);
        }
    }

    fn describe(&self, unclear: &Unclear) -> String {
        let Unclear { line, cause } = unclear;
        let dockerfile = self.config.dockerfile.display();
        format!(
            "{cause} in line {line} of `{dockerfile}` may refer to any file, so all files of the build context are inputs"
        )
    }

    /// Adds the files that a path or a glob selects.
    fn add_source(&self, inputs: &mut Inputs, source: &str, reason: &str) {
        let pattern = escape_glob(&self.root).join(source);
        let mut paths = vec![self.root.join(source)];
        if source.contains(['*', '?']) {
            paths = tree::matching(&pattern);
            for folder in tree::parents(&pattern) {
                self.watch(inputs, &folder);
            }
        }
        for path in paths {
            let mut resolved = self.resolve(&path);
            let last = resolved.pop();
            for link in resolved {
                inputs.add(&link, InputClass::Docker, reason);
            }
            if let Some(path) = last.filter(|path| !self.is_output(path)) {
                self.add_tree(inputs, &path, reason);
            }
        }
    }

    /// Follows the symbolic links in a path, which end in the context. Returns the links, and last
    /// the path without links.
    fn resolve(&self, path: &Path) -> Vec<PathBuf> {
        let Ok(relative) = path.strip_prefix(&self.root) else { return vec![path.to_owned()] };
        let mut pending: Vec<PathBuf> = relative.iter().rev().map(PathBuf::from).collect();
        let (mut links, mut at) = (Vec::new(), self.root.clone());
        while let Some(part) = pending.pop() {
            match part.components().next() {
                Some(Component::ParentDir) if at != self.root => _ = at.pop(),
                Some(Component::Normal(name)) => at.push(name),
                _ => continue,
            }
            let Ok(target) = fs::read_link(&at) else { continue };
            if links.len() == LINK_LIMIT {
                break;
            }
            links.push(at.clone());
            at.pop();
            if target.is_absolute() {
                at.clone_from(&self.root);
            }
            pending.extend(target.iter().rev().map(PathBuf::from));
        }
        links.push(at);
        links
    }

    /// Returns whether cargo writes the path when kdev runs it, so the sources stand for it.
    fn is_output(&self, path: &Path) -> bool {
        let Some(target) = self.target.as_deref().filter(|target| path.starts_with(target)) else {
            return false;
        };
        let is_profile =
            |dir: &Path| [".fingerprint", ".cargo-lock"].iter().any(|name| dir.join(name).exists());
        path == target || path.ancestors().take_while(|dir| *dir != target).any(is_profile)
    }

    fn watch(&self, inputs: &mut Inputs, folder: &Path) {
        if !self.is_output(folder) {
            inputs.watch(folder);
        }
    }

    /// Adds a file, or a folder with its content, without ignored files and the outputs of cargo.
    fn add_tree(&self, inputs: &mut Inputs, path: &Path, reason: &str) {
        if path != self.root && self.choose(path, path.is_dir()) != Entry::Skipped {
            inputs.add(path, InputClass::Docker, reason);
        }
        if !path.is_dir() || path.is_symlink() {
            return;
        }
        inputs.watch(path);
        for found in tree::list(path, Links::Keep, &|path, is_dir| self.choose(path, is_dir)) {
            if found.is_dir {
                inputs.watch(&found.path);
            }
            inputs.add(&found.path, InputClass::Docker, reason);
        }
    }

    fn choose(&self, path: &Path, is_dir: bool) -> Entry {
        let relative = path.strip_prefix(&self.root).unwrap_or(path);
        if self.is_output(path) {
            Entry::Skipped
        } else if !self.ignore.excludes(relative) {
            Entry::Listed
        } else if is_dir && self.ignore.may_include_below(relative) {
            Entry::Entered
        } else {
            Entry::Skipped
        }
    }
}

/// Notes files in the image that most likely are not needed in it.
fn note_needless(inputs: &mut Inputs, root: &Path) {
    let is_docker = |path: &Path| {
        inputs.files.get(path).is_some_and(|input| input.uses.contains_key(&InputClass::Docker))
    };
    let mut notes = Vec::new();
    if is_docker(&root.join(".git").join("HEAD")) {
        notes.push("the image contains `.git`, so each commit builds it again; add `.git` to `.dockerignore`".to_owned());
    }
    let manifest = inputs.files.iter().find(|(path, input)| {
        input.uses.contains_key(&InputClass::Manifest) && is_docker(path) && path.is_file()
    });
    if let Some(path) = manifest.and_then(|(path, _)| path.strip_prefix(root).ok()) {
        let folder = path.iter().next().unwrap_or_default().to_string_lossy();
        notes.push(format!(
            "the image contains the manifest `{}`, so each change of it builds the image again; add `{folder}` to `.dockerignore`",
            path.display()
        ));
    }
    inputs.notes.extend(notes);
}
