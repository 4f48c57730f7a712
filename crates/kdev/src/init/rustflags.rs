//! The argument of cargo that adds the flag for a static program to those of the project.

use std::path::Path;

use serde_json::Value;

use crate::cx::Cx;
use crate::init::Result;
use crate::tools::cargo_config::{Rustflags, STATIC_LIBC};

/// Returns the argument for the configuration of cargo in a directory.
pub(crate) fn static_argument(cx: &Cx, dir: &Path, host: &str) -> Result<String> {
    let flags = Rustflags::read(cx, dir, host)?;
    Ok(flags.map_or_else(
        || argument(&Value::Null, false),
        |one| argument(&one.build, one.are_for_target),
    ))
}

/// cargo joins lists, but rejects a list for a key whose value is a text.
fn argument(build: &Value, are_for_target: bool) -> String {
    match build {
        // cargo joins the flags of all tables that apply.
        _ if are_for_target => format!("--config=target.'cfg(all())'.rustflags=['{STATIC_LIBC}']"),
        Value::String(flags) => {
            let flags = Value::from(format!("{flags} {STATIC_LIBC}"));
            format!("--config=build.rustflags={flags}")
        }
        _ => format!("--config=build.rustflags=['{STATIC_LIBC}']"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn argument_has_the_form_of_the_project() {
        const LIST: &str = "build.rustflags=['-Ctarget-feature=+crt-static']";
        const CFG: &str = "target.'cfg(all())'.rustflags=['-Ctarget-feature=+crt-static']";
        const TEXT: &str = r#"build.rustflags="-Ca -Ctarget-feature=+crt-static""#;
        let table = [
            (Value::Null, false, LIST),
            (json!(["-Ca"]), false, LIST),
            (json!("-Ca"), false, TEXT),
            (json!("-Ca"), true, CFG),
            (Value::Null, true, CFG),
        ];
        for (build, are_for_target, expected) in table {
            let found = argument(&build, are_for_target);
            assert_eq!(found, format!("--config={expected}"), "{build} {are_for_target}");
        }
    }
}
