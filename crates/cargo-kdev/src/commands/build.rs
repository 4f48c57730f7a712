//! `cargo kdev build`.

use std::path::PathBuf;

use clap::Args;
use kdev::{BuildRequest, ConfigLayer};

use crate::flags::{BuilderArgs, CargoArgs, PackagesArgs};

#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    packages: PackagesArgs,
    /// Name of the image, without a tag [default: package name]
    #[arg(long, env = "KDEV_IMAGE", hide_env_values = true, value_name = "NAME")]
    image: Option<String>,
    #[command(flatten)]
    builder: BuilderArgs,
    /// With the builder cargo, also write the image to an archive, an OCI image layout, or Docker
    #[arg(short, long, value_name = "FILE.tar|DIR|docker")]
    output: Option<PathBuf>,
    /// Print the commands that would make changes, without running them
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    cargo: CargoArgs,
}

impl From<BuildArgs> for BuildRequest {
    fn from(build: BuildArgs) -> Self {
        Self {
            selection: build.packages.into(),
            flags: ConfigLayer {
                image: build.image,
                builder: build.builder.builder,
                cargo_flags: build.cargo.into(),
                ..ConfigLayer::default()
            },
            output: build.output,
        }
    }
}
