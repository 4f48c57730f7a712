//! `cargo kdev up --inputs`: the files that a build and a deployment depend on.

use std::path::PathBuf;

use serde::Serialize;

use crate::commands::several;
use crate::commands::up::UpRequest;
use crate::config::Config;
use crate::cx::Cx;
use crate::error::Result;
use crate::event::Event;
use crate::inputs::{InputClass, Inputs, LastBuild};
use crate::project::Project;

/// The inputs of a package.
#[derive(Clone, Debug)]
pub struct InputsReport {
    /// The package.
    pub package: String,
    /// The inputs by path, and by class.
    pub rows: Vec<InputRow>,
}

/// A file on which a build or a deployment depends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InputRow {
    /// The absolute path.
    pub path: PathBuf,
    /// What a change requires.
    pub class: InputClass,
    /// Whether the file exists.
    pub exists: bool,
    /// Why a build or a deployment depends on the file.
    pub cause: String,
}

/// Lists the inputs of each selected package. Builds nothing, and connects to nothing.
pub fn list_inputs(
    cx: &Cx,
    request: &UpRequest,
    mut show: impl FnMut(&InputsReport),
) -> Result<()> {
    let projects = Project::read_all(cx, &request.selection)?;
    several::for_each(cx, &request.selection, &projects, |cx, _, project| {
        let config = Config::resolve(project, request.flags.clone())?;
        let inputs = Inputs::find(cx, project, &config, &request.target, LastBuild::Unknown);
        for text in &inputs.notes {
            cx.emit(Event::Note { text: text.clone() });
        }
        show(&InputsReport { package: project.package.clone(), rows: rows(&inputs) });
        Ok(())
    })
}

fn rows(inputs: &Inputs) -> Vec<InputRow> {
    let rows = inputs.files.iter().flat_map(|(path, input)| {
        let exists = path.symlink_metadata().is_ok();
        input.uses.iter().map(move |(class, cause)| InputRow {
            path: path.clone(),
            class: *class,
            exists,
            cause: cause.clone(),
        })
    });
    rows.collect()
}
