//! Runs a build again whose results only the builder has, to export layers that a node is
//! missing and that are no longer in the cache.

use kdev_core::image::built::BuiltImage;
use kdev_core::shell::quote;

use crate::build::{BuildSeat, Result, assemble, build, image_build};
use crate::config::Config;
use crate::cx::Cx;
use crate::docker::{self, AssembledImages, Buildx, ImageStore};
use crate::event::Event;
use crate::layers::assembled::{AssembledSource, FindBase};
use crate::layers::base::BaseLayers;
use crate::layers::buildx::BuildxSource;
use crate::layers::layout::Layout;
use crate::layers::{ImageSource, Unavailable};
use crate::process::{Command, Failure};

/// The arguments of `docker build` that keep it from using earlier results, without and with a
/// value.
const UNCACHED: [&str; 2] = ["--no-cache", "--pull"];
const UNCACHED_WITH_VALUE: [&str; 1] = ["--no-cache-filter"];

/// Returns the source of an image that the store has. `config` has the settings of its build, if
/// they are known.
pub(crate) fn image_source<'a>(
    store: &'a ImageStore,
    config: Option<&'a Config>,
    image: BuiltImage,
) -> ImageSource<'a> {
    match store {
        ImageStore::Docker(docker) => ImageSource::from_docker(docker, image),
        ImageStore::Podman(podman) => ImageSource::from_podman(podman, image),
        ImageStore::Assembled(images) => {
            let platform = image.platform.clone();
            let find_base = config.map(|config| {
                let find = move |cx: &Cx| find_base(cx, images, config, &platform);
                Box::new(find) as FindBase
            });
            ImageSource::Assembled(AssembledSource::new(image, find_base))
        }
        ImageStore::Buildx(buildx) => {
            let config = config.filter(|config| config.image.name() == image.reference.name());
            let rebuild = config.map(|config| {
                let platform = buildx.build(&image.reference).and_then(|one| one.passed_platform);
                let mut config = Config { platform, ..config.clone() };
                config.docker_build = without_uncached(&config.docker_build);
                let run = move |cx: &Cx, layout: &Layout| {
                    export_again(cx, store, buildx, &config, layout)
                };
                Box::new(run) as _
            });
            ImageSource::Buildx(BuildxSource::new(image, rebuild))
        }
    }
}

/// Builds an image, and returns it as a source of layers.
pub(crate) fn build_source<'a>(
    cx: &Cx,
    store: &'a ImageStore,
    config: &'a Config,
    seat: &BuildSeat,
) -> Result<ImageSource<'a>> {
    Ok(image_source(store, Some(config), build(cx, store, config, seat)?))
}

fn find_base(
    cx: &Cx,
    images: &AssembledImages,
    config: &Config,
    platform: &str,
) -> Result<BaseLayers, Unavailable> {
    let found = assemble::base_layers(cx, images, config, platform);
    let found = found.map_err(|error| Unavailable::from(error.to_string()))?;
    found.ok_or_else(|| "the cache folder no longer has them".into())
}

fn export_again(
    cx: &Cx,
    store: &ImageStore,
    buildx: &Buildx,
    config: &Config,
    layout: &Layout,
) -> Result<(), Unavailable> {
    let name = &buildx.builder.name;
    let text = format!("exporting layers that are not in the cache from builder `{name}`");
    cx.emit(Event::Note { text });
    let sh = cx.shell().map_err(docker::Error::from)?;
    let output = buildx.facts().layout_output(layout.path());
    let cmd = image_build(&sh, store, config).args(["--quiet", "--output", &output]);
    let build = Command::new(cmd.arg(&config.context));
    let failed = |failure: Failure| export_failure(layout, failure, name);
    build.keep_free(layout.disk()).read(cx).map(drop).map_err(failed)
}

/// Returns why a builder has not exported layers. Its disk may be that of another machine.
fn export_failure(layout: &Layout, failure: Failure, builder: &str) -> Unavailable {
    let text = failure.to_string();
    let error = docker::Error::Command { action: "export the layers".to_owned(), source: failure };
    let is_disk_full = error.full_disk_owner().is_some();
    match layout.failure(error) {
        cache if cache.is_cache_disk_full() => cache,
        _ if is_disk_full => {
            let usage = format!("docker buildx du --builder {}", quote(builder));
            let help = format!("free space on its disk; run `{usage}` to see what uses it");
            Unavailable::disk_full(&format!("builder `{builder}`"), help)
        }
        _ => text.into(),
    }
}

/// Returns the arguments without those that make BuildKit run the steps of the build again.
fn without_uncached(args: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let flag = arg.split('=').next().unwrap_or_default();
        if UNCACHED_WITH_VALUE.contains(&flag) {
            if flag == arg {
                args.next();
            }
        } else if !UNCACHED.contains(&flag) {
            kept.push(arg.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rebuild_uses_cache() {
        let table: [(&[&str], &[&str]); 5] = [
            (&[], &[]),
            (&["--no-cache", "--secret", "id=a"], &["--secret", "id=a"]),
            (&["--pull=true", "--ssh"], &["--ssh"]),
            (&["--no-cache-filter", "build", "--ssh"], &["--ssh"]),
            (&["--no-cache-filter=build", "--ssh"], &["--ssh"]),
        ];
        for (args, expected) in table {
            let args: Vec<String> = args.iter().map(ToString::to_string).collect();
            assert_eq!(without_uncached(&args), expected);
        }
    }
}
