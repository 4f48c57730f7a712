//! `cargo kdev build`: builds the image without a cluster.

use std::path::{Path, PathBuf};
use std::slice;

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
    several::for_each(cx, &request.selection, &projects, |cx, _, project| {
        build_one(cx, request, project)
    })
}

/// Removes layers of earlier builds. Those that are too large to keep stay for the next load, except
/// for those of earlier builds of this image.
fn trim_cache(cx: &Cx) {
    let cache = cx.cache_dir().filter(|_| !cx.is_dry_run());
    if let Some(cache) = cache.and_then(|dir| LayerCache::open_in(dir).ok()) {
        cache.trim_small();
    }
}

fn build_one(cx: &Cx, request: &BuildRequest, project: &Project) -> Result<()> {
    let config = Config::resolve(project, request.flags.clone())?;
    let store = ImageStore::connect_for_build(cx, &config)?;
    if let ImageStore::Assembled(images) = &store
        && !cx.is_dry_run()
    {
        assemble::evict_large_layers(images, &config);
    }
    let config = config.with_detected_builder(project, &request.flags, store.is_podman())?;
    let together = BuildsTogether::new(cx, slice::from_ref(project));
    let seat = together.seat(0);
    match (&request.output, &store) {
        (None, _) => {
            build::build(cx, &store, &config, &seat)?;
        }
        // The builder writes it there.
        (Some(output), ImageStore::Docker(_)) if assemble::is_docker(output) => {
            build::build(cx, &store, &config, &seat)?;
        }
        (Some(output), ImageStore::Assembled(images)) => {
            build_to(cx, (images, &store), &config, output, &seat)?;
        }
        (Some(output), _) => return Err(unsupported(&store, &config, output).into()),
    }
    Ok(())
}

fn build_to(
    cx: &Cx,
    (images, store): (&AssembledImages, &ImageStore),
    config: &Config,
    path: &Path,
    seat: &BuildSeat,
) -> build::Result<()> {
    let output = ImageOutput::new(cx, path)?;
    let image = build::build(cx, store, config, seat)?;
    if !cx.is_dry_run() {
        output.write(cx, images, config, &image)?;
        let (image, path) = (image.reference.familiar(), path.to_owned());
        cx.emit(Event::Wrote { image, path });
    }
    Ok(())
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
