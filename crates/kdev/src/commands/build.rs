//! `cargo kdev build`: builds the image without a cluster.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::build::assemble::{self, ImageOutput};
use crate::build::{self, AssembleError, BuildSeat, BuildsTogether, Error as BuildError};
use crate::commands::several;
use crate::config::{Config, ConfigLayer};
use crate::cx::Cx;
use crate::docker::{AssembledImages, ImageStore};
use crate::error::Result;
use crate::event::Event;
use crate::layers::cache::LayerCache;
use crate::project::{PackageSelection, Project};

/// The options of [`build`].
#[derive(Clone, Debug, Default)]
pub struct BuildRequest {
    /// The packages.
    pub selection: PackageSelection,
    /// Settings from flags and environment variables.
    pub flags: ConfigLayer,
    /// Where the image is also written: `docker`, an archive (`FILE.tar`), or a directory.
    pub output: Option<PathBuf>,
}

/// Builds the image of each selected package. Connects to no cluster and to no node.
pub fn build(cx: &Cx, request: &BuildRequest) -> Result<()> {
    let projects = Project::read_all(cx, &request.selection)?;
    several::check_images(&projects, &request.flags)?;
    several::check_cargo_flags(&projects, &request.flags)?;
    if projects.len() > 1 && request.output.as_deref().is_some_and(assemble::is_archive) {
        return Err(BuildError::from(AssembleError::SeveralImages).into());
    }
    trim_cache(cx);
    let together = BuildsTogether::new(cx, &projects);
    let output = Mutex::new(());
    several::for_each_in_parallel(cx, &projects, |cx, index| {
        Build { request, project: &projects[index], seat: together.seat(index), output: &output }
            .run(cx)
    })
}

/// The build of one package.
struct Build<'a> {
    request: &'a BuildRequest,
    project: &'a Project,
    seat: BuildSeat<'a>,
    /// Locks the output: all packages write to the same directory.
    output: &'a Mutex<()>,
}

/// Removes layers of earlier builds. Those that are too large to keep stay for the next load, except
/// for those of earlier builds of this image.
fn trim_cache(cx: &Cx) {
    let cache = cx.cache_dir().filter(|_| !cx.is_dry_run());
    if let Some(cache) = cache.and_then(|dir| LayerCache::open_in(dir).ok()) {
        cache.trim_small();
    }
}

impl Build<'_> {
    fn run(&self, cx: &Cx) -> Result<()> {
        let (project, flags) = (self.project, &self.request.flags);
        let config = Config::resolve(project, flags.clone())?;
        let store = ImageStore::connect_for_build(cx, &config)?;
        if let ImageStore::Assembled(images) = &store
            && !cx.is_dry_run()
        {
            assemble::evict_large_layers(images, &config);
        }
        let config = config.with_detected_builder(project, flags, store.is_podman())?;
        match (&self.request.output, &store) {
            (None, _) => drop(build::build(cx, &store, &config, &self.seat)?),
            // The builder writes it there.
            (Some(output), ImageStore::Docker(_)) if assemble::is_docker(output) => {
                build::build(cx, &store, &config, &self.seat)?;
            }
            (Some(output), ImageStore::Assembled(images)) => {
                self.build_to(cx, (images, &store), &config, output)?;
            }
            (Some(output), _) => return Err(unsupported(&store, &config, output).into()),
        }
        Ok(())
    }

    fn build_to(
        &self,
        cx: &Cx,
        (images, store): (&AssembledImages, &ImageStore),
        config: &Config,
        path: &Path,
    ) -> build::Result<()> {
        let output = {
            let _lock = self.lock_output();
            ImageOutput::new(cx, path)?
        };
        let image = build::build(cx, store, config, &self.seat)?;
        if !cx.is_dry_run() {
            let _lock = self.lock_output();
            output.write(cx, images, config, &image)?;
            let (image, path) = (image.reference.familiar(), path.to_owned());
            cx.emit(Event::Wrote { image, path });
        }
        Ok(())
    }

    /// Waits until no other package checks the output or writes to it.
    fn lock_output(&self) -> MutexGuard<'_, ()> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the error for an output that another program than kdev must write.
fn unsupported(store: &ImageStore, config: &Config, output: &Path) -> BuildError {
    let (engine, image) = (store.engine(), store.local_name(&config.image));
    let program = engine.program();
    let save = if assemble::is_docker(output) && store.is_podman() {
        format!("{program} save {image} | docker load")
    } else {
        format!("{program} save --output FILE {image}")
    };
    let is_in_builder = matches!(store, ImageStore::Buildx(_));
    BuildError::OutputUnsupported { engine, save, is_in_builder }
}
