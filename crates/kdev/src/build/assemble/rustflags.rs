//! Adds a flag of rustc to those of the user.
//!
//! cargo reads the flags of one source only, so a flag of kdev for the target would replace
//! those of `build.rustflags`. `cargo config get` shows them.

use serde_json::Value;

use crate::build::error::Result;
use crate::config::Config;
use crate::cx::Cx;
use crate::tools::cargo_config::{Rustflags, STATIC_LIBC};

/// Returns the value of `target.TARGET.rustflags`, as TOML, with which programs are static and no
/// flag of the user is ignored. Returns `None` if those are unknown.
pub(super) fn with_static_libc(cx: &Cx, config: &Config, target: &str) -> Result<Option<String>> {
    let flags = Rustflags::read(cx, &config.dir, target)?;
    Ok(flags.map(|flags| merge(&flags).to_string()))
}

/// Adds the flag. cargo joins lists with those of its files, but a text replaces theirs.
fn merge(of_user: &Rustflags) -> Value {
    if let Value::String(flags) = &of_user.target {
        return format!("{flags} {STATIC_LIBC}").into();
    }
    let mut flags = match &of_user.build {
        _ if of_user.are_for_target => Vec::new(),
        Value::String(flags) => flags.split_whitespace().map(str::to_owned).collect(),
        flags => {
            let flags = flags.as_array().into_iter().flatten();
            flags.filter_map(Value::as_str).map(str::to_owned).collect()
        }
    };
    flags.push(STATIC_LIBC.to_owned());
    flags.into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn flag_is_added_to_those_that_cargo_would_read() {
        let table = [
            (Value::Null, Value::Null, false, json!([STATIC_LIBC])),
            (Value::Null, json!("-Ca  -Cb"), false, json!(["-Ca", "-Cb", STATIC_LIBC])),
            (Value::Null, json!(["-C", "a b"]), false, json!(["-C", "a b", STATIC_LIBC])),
            (Value::Null, json!("-Ca"), true, json!([STATIC_LIBC])),
            (json!(["-Cb"]), json!("-Ca"), true, json!([STATIC_LIBC])),
            (json!("-Cb"), json!("-Ca"), true, json!(format!("-Cb {STATIC_LIBC}"))),
        ];
        for (target, build, are_for_target, expected) in table {
            let flags = Rustflags { target, build, are_for_target };
            assert_eq!(merge(&flags), expected, "{flags:?}");
        }
    }
}
