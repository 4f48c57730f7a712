//! Adds a flag of rustc to those of the user.
//!
//! cargo reads the flags of one source only, so a flag of kdev for the target would replace
//! those of `build.rustflags`. `cargo config get` shows them.

use serde_json::Value;

use crate::build::error::Result;
use crate::config::Config;
use crate::cx::Cx;
use crate::tools::cargo_config;

/// The flag that links the C library into the program.
const STATIC_LIBC: &str = "-Ctarget-feature=+crt-static";

/// Returns the value of `target.TARGET.rustflags`, as TOML, with which programs are static and no
/// flag of the user is ignored. Returns `None` if those are unknown.
pub(super) fn with_static_libc(cx: &Cx, config: &Config, target: &str) -> Result<Option<String>> {
    let targets = cargo_config::get(cx, &config.dir, "target")?;
    let build = cargo_config::get(cx, &config.dir, "build")?;
    Ok(targets.zip(build).map(|(targets, build)| merge(&targets, &build, target).to_string()))
}

/// Adds the flag. cargo joins lists with those of its files, but a text replaces theirs.
fn merge(targets: &Value, build: &Value, target: &str) -> Value {
    if let Value::String(flags) = &targets[target]["rustflags"] {
        return format!("{flags} {STATIC_LIBC}").into();
    }
    let mut flags = ignored_flags(targets, build, target);
    flags.push(STATIC_LIBC.to_owned());
    flags.into()
}

/// Returns the flags of `build.rustflags`, unless others for the target replace them already.
fn ignored_flags(targets: &Value, build: &Value, target: &str) -> Vec<String> {
    let applies = |key: &str| key == target || key.starts_with("cfg(");
    let mut tables = targets.as_object().into_iter().flatten();
    if tables.any(|(key, table)| applies(key) && !table["rustflags"].is_null()) {
        return Vec::new();
    }
    match &build["rustflags"] {
        Value::String(flags) => flags.split_whitespace().map(str::to_owned).collect(),
        flags => {
            let flags = flags.as_array().into_iter().flatten();
            flags.filter_map(Value::as_str).map(str::to_owned).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flag_is_added_in_the_form_of_the_user() {
        let table = [
            ("null", r#"["-Ca","-Ctarget-feature=+crt-static"]"#),
            (r#"{"gnu": {"rustflags": ["-Cb"]}}"#, r#"["-Ctarget-feature=+crt-static"]"#),
            (r#"{"gnu": {"rustflags": "-Cb"}}"#, r#""-Cb -Ctarget-feature=+crt-static""#),
        ];
        let build = serde_json::json!({"rustflags": "-Ca"});
        for (targets, expected) in table {
            let targets: Value = serde_json::from_str(targets).unwrap();
            assert_eq!(merge(&targets, &build, "gnu").to_string(), expected, "{targets}");
        }
    }

    #[test]
    fn flags_that_cargo_would_ignore_are_found() {
        let table = [
            ("null", "null", &[][..]),
            ("null", r#"{"rustflags": "-Ca  -Cb"}"#, &["-Ca", "-Cb"]),
            ("null", r#"{"rustflags": ["-C", "a b"], "jobs": 1}"#, &["-C", "a b"]),
            (r#"{"gnu": {"linker": "ld"}}"#, r#"{"rustflags": "-Ca"}"#, &["-Ca"]),
            (r#"{"gnu": {"rustflags": "-Cb"}}"#, r#"{"rustflags": "-Ca"}"#, &[]),
            (r#"{"cfg(unix)": {"rustflags": "-Cb"}}"#, r#"{"rustflags": "-Ca"}"#, &[]),
            (r#"{"musl": {"rustflags": "-Cb"}}"#, r#"{"rustflags": "-Ca"}"#, &["-Ca"]),
        ];
        for (targets, build, expected) in table {
            let [targets, build] =
                [targets, build].map(|json| serde_json::from_str::<Value>(json).unwrap());
            assert_eq!(ignored_flags(&targets, &build, "gnu"), expected, "{targets} {build}");
        }
    }
}
