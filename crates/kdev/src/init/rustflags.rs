//! The argument of cargo that adds the flag for a static program to those of the project.

use std::path::Path;

use serde_json::Value;

use crate::cx::Cx;
use crate::init::Result;
use crate::tools::cargo_config;

/// The flag that links the C library into the program.
const STATIC_LIBC: &str = "-Ctarget-feature=+crt-static";

/// Returns the argument for the configuration of cargo in a directory.
pub(crate) fn static_argument(cx: &Cx, dir: &Path, host: &str) -> Result<String> {
    let table = |name: &str| cargo_config::get(cx, dir, name).map(Option::unwrap_or_default);
    Ok(argument(&table("target")?, &table("build")?, host))
}

/// cargo reads the flags of one source only: those for the target, or those of `build`. It joins
/// lists, but rejects a list for a key whose value is a text.
fn argument(targets: &Value, build: &Value, host: &str) -> String {
    let applies = |key: &str| key == host || key == "host-tuple" || key.starts_with("cfg(");
    let mut tables = targets.as_object().into_iter().flatten();
    if tables.any(|(key, table)| applies(key) && !table["rustflags"].is_null()) {
        // cargo joins the flags of all tables that apply.
        return format!("--config=target.'cfg(all())'.rustflags=['{STATIC_LIBC}']");
    }
    match &build["rustflags"] {
        Value::String(flags) => {
            let flags = Value::from(format!("{flags} {STATIC_LIBC}"));
            format!("--config=build.rustflags={flags}")
        }
        _ => format!("--config=build.rustflags=['{STATIC_LIBC}']"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn argument_has_the_form_of_the_project() {
        const LIST: &str = "build.rustflags=['-Ctarget-feature=+crt-static']";
        const CFG: &str = "target.'cfg(all())'.rustflags=['-Ctarget-feature=+crt-static']";
        const TEXT: &str = r#"build.rustflags="-Ca -Ctarget-feature=+crt-static""#;
        let table = [
            ("null", "null", LIST),
            ("null", r#"{"rustflags": ["-Ca"]}"#, LIST),
            ("null", r#"{"rustflags": "-Ca"}"#, TEXT),
            (r#"{"other": {"rustflags": "-Cb"}}"#, r#"{"rustflags": "-Ca"}"#, TEXT),
            (r#"{"gnu": {"linker": "ld"}}"#, "null", LIST),
            (r#"{"gnu": {"rustflags": "-Cb"}}"#, r#"{"rustflags": "-Ca"}"#, CFG),
            (r#"{"cfg(unix)": {"rustflags": ["-Cb"]}}"#, "null", CFG),
        ];
        for (targets, build, expected) in table {
            let [targets_value, build_value] =
                [targets, build].map(|json| serde_json::from_str::<Value>(json).unwrap());
            let found = argument(&targets_value, &build_value, "gnu");
            assert_eq!(found, format!("--config={expected}"), "{targets} {build}");
        }
    }
}
