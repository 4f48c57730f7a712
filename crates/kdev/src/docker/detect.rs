//! Finds out the properties of the daemon and of its builder, in the order of their cost.

use std::path::Path;

use kdev_core::text;
use xshell::cmd;

use crate::config::is_builder_name;
use crate::cx::Cx;
use crate::docker::builder::Builder;
use crate::docker::error::{Error, Result};
use crate::docker::facts::{self, DaemonInfo, DockerFacts, FactsCache};
use crate::docker::{Docker, command_error, daemon_info};
use crate::parallel::run_both;
use crate::process::{self, Command};
use crate::tools::{self, TOOL_TIMEOUT, major_minor};

impl Docker {
    /// Returns the properties of the daemon and of the builder that `docker build` uses, or
    /// that the settings name. They are kept until the daemon or a setting of the client
    /// changes.
    ///
    /// It is an error if the user has selected a builder that cannot be used.
    pub(crate) fn facts(&self, cx: &Cx, named: Option<&str>) -> Result<DockerFacts> {
        let cache = self.facts_cache(cx, named);
        if let Some(facts) = cache.as_ref().and_then(FactsCache::get) {
            return Ok(facts);
        }
        self.refresh_facts(cx, named)
    }

    /// Reads the facts again. A push that the daemon could not do still counts.
    pub(crate) fn refresh_facts(&self, cx: &Cx, named: Option<&str>) -> Result<DockerFacts> {
        let cache = self.facts_cache(cx, named);
        let refused_push_at = cache.and_then(|cache| cache.refused_push_at());
        let facts = self.read_facts(cx, named)?;
        Ok(self.keep_facts(cx, named, DockerFacts { refused_push_at, ..facts }))
    }

    /// Keeps complete facts: a builder that is not running does not report its version.
    fn keep_facts(&self, cx: &Cx, named: Option<&str>, facts: DockerFacts) -> DockerFacts {
        let is_running = |one: &Builder| one.is_running && one.buildkit_version.is_some();
        let is_complete = facts.builder.as_ref().is_none_or(is_running);
        if let Some(cache) = self.facts_cache(cx, named).filter(|_| is_complete) {
            cache.put(&facts);
        }
        facts
    }

    /// Makes the next run read the facts again, because a build or an export has failed.
    pub(crate) fn forget_facts(&self, cx: &Cx, named: Option<&str>) {
        if let Some(cache) = self.facts_cache(cx, named) {
            cache.forget();
        }
    }

    /// Records that the daemon cannot push to this machine.
    pub(crate) fn record_refused_push(&self, cx: &Cx, named: Option<&str>) {
        if let Some(cache) = self.facts_cache(cx, named) {
            cache.refuse_push();
        }
    }

    fn facts_cache(&self, cx: &Cx, named: Option<&str>) -> Option<FactsCache> {
        let info = self.info.as_ref().map(|info| info.fingerprint()).unwrap_or_default();
        FactsCache::new(cx, &format!("{} {} {info}", self.fingerprint, self.client), named)
    }

    fn read_facts(&self, cx: &Cx, named: Option<&str>) -> Result<DockerFacts> {
        let daemon = || run_both(|| self.info(cx), || self.address(cx));
        let ((info, address), builder) = run_both(daemon, || self.builder(cx, named));
        let info = info?;
        Ok(DockerFacts {
            address: address?,
            is_rootless: info.is_rootless(),
            is_desktop: info.is_desktop(),
            builder: builder?,
            data_dir: info.data_dir(),
            refused_push_at: None,
        })
    }

    /// Returns whether the client builds with BuildKit even without buildx, which does not report
    /// its platforms.
    pub(crate) fn has_own_buildkit(&self, cx: &Cx) -> bool {
        let client = major_minor(&self.client);
        client < facts::BUILDS_WITH_BUILDX && facts::uses_buildx(cx.docker_settings(), client)
    }

    /// Returns how to build with BuildKit instead of the legacy builder.
    pub(crate) fn enable_buildkit_help(&self, cx: &Cx) -> &'static str {
        let (settings, client) = (cx.docker_settings(), major_minor(&self.client));
        let is_off = !facts::uses_buildx(settings, client);
        if is_off && settings.variable("DOCKER_BUILDKIT").is_some() {
            "unset DOCKER_BUILDKIT, or set it to 1"
        } else if client < facts::BUILDS_WITH_BUILDX {
            "set DOCKER_BUILDKIT=1"
        } else {
            tools::INSTALL_BUILDX
        }
    }

    /// Returns the output of `docker info`.
    pub(crate) fn info(&self, cx: &Cx) -> Result<DaemonInfo> {
        self.info.as_deref().cloned().map_or_else(|| daemon_info(cx, &self.path), Ok)
    }

    /// Returns whether the daemon responds now.
    pub(crate) fn is_responding(&self, cx: &Cx) -> bool {
        daemon_info(cx, &self.path).is_ok()
    }

    /// Returns the address of the daemon as a URL.
    fn address(&self, cx: &Cx) -> Result<String> {
        let sh = cx.shell()?;
        let format = "{{.Endpoints.docker.Host}}";
        let command = Command::new(self.cmd(&sh).args(["context", "inspect", "--format", format]));
        let output = command.timeout(TOOL_TIMEOUT).read(cx);
        let output = output.map_err(|f| command_error(f, "inspect the context".to_owned()))?;
        Ok(output.text().trim().to_owned())
    }

    /// Returns the builder that `docker build` uses, or that the settings name; `None` for the
    /// legacy builder.
    fn builder(&self, cx: &Cx, named: Option<&str>) -> Result<Option<Builder>> {
        let settings = cx.docker_settings();
        if named.is_none() && !facts::uses_buildx(settings, major_minor(&self.client)) {
            return Ok(None);
        }
        let is_selected = named.is_some() || settings.variable("BUILDX_BUILDER").is_some();
        let name = facts::builder_name(settings, named, &self.context);
        match inspect_builder(cx, &self.path, name) {
            Err(error) if !is_selected && !process::is_interrupt(&error) => Ok(None),
            Err(Error::Builder { builder, source }) if !source.is_interrupt() => {
                match self.buildx_version(cx) {
                    Some(_) => Err(Error::Builder { builder, source }),
                    None if named.is_some() => Err(Error::BuildxNotFound { builder }),
                    // Without buildx, `docker build` ignores the variable.
                    None => Ok(None),
                }
            }
            builder => builder,
        }
    }
}

/// Inspects a builder, or the one that is selected in buildx.
pub(super) fn inspect_builder(
    cx: &Cx,
    docker: &Path,
    name: Option<&str>,
) -> Result<Option<Builder>> {
    // buildx would take it for a flag.
    if let Some(name) = name.filter(|name| !is_builder_name(name)) {
        return Err(Error::InvalidBuilderName { builder: text::printable(name) });
    }
    let sh = cx.shell()?;
    let command = Command::new(cmd!(sh, "{docker} buildx inspect").args(name));
    match command.timeout(TOOL_TIMEOUT).read(cx) {
        Ok(output) => Ok(Builder::parse(&output.text())),
        Err(source) => {
            let builder = text::printable(name.unwrap_or_default());
            Err(Error::Builder { builder, source })
        }
    }
}
