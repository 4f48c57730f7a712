//! Flags of `cargo build` on the command line of `cargo kdev`.

use kdev_core::text::list;

use crate::config::BuilderChoice;
use crate::config::error::{Error, Result};

/// Flags of `cargo build`, which are added to the setting `cargo-build`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one per flag")]
pub struct CargoFlags {
    /// `--release`.
    pub release: bool,
    /// `--profile`.
    pub profile: Option<String>,
    /// `--features`.
    pub features: Vec<String>,
    /// `--all-features`.
    pub all_features: bool,
    /// `--no-default-features`.
    pub no_default_features: bool,
    /// `--locked`.
    pub locked: bool,
    /// `--offline`.
    pub offline: bool,
    /// `--frozen`.
    pub frozen: bool,
    /// `--bin`.
    pub bins: Vec<String>,
}

impl CargoFlags {
    /// Returns the arguments of `cargo build`: those of the setting, and these flags. They are an
    /// error if the Dockerfile builds the program.
    pub(super) fn add_to(
        &self,
        setting: Option<Vec<String>>,
        builder: &BuilderChoice,
        package: &str,
    ) -> Result<Option<Vec<String>>> {
        let flags = self.to_args();
        if flags.is_empty() {
            return Ok(setting);
        }
        let package = package.to_owned();
        if setting.is_none() && *builder != BuilderChoice::Cargo {
            let flags = list(&self.names());
            return Err(Error::CargoFlagsUnused { flags, package });
        }
        let mut args = setting.unwrap_or_default();
        if let (Some(flag), Some(setting)) = (profile(&flags), profile(&args))
            && flag != setting
        {
            return Err(Error::ConflictingProfile { flag, setting, package });
        }
        // cargo rejects a flag that is passed twice.
        let is_new = |(name, _): &(&str, _)| !has_equal(&args, name);
        let new: Vec<String> = self.flags().into_iter().filter(is_new).flat_map(words).collect();
        args.extend(new);
        Ok(Some(args))
    }

    fn flags(&self) -> Vec<(&'static str, Option<String>)> {
        let switches = [
            (RELEASE, self.release),
            ("--all-features", self.all_features),
            ("--no-default-features", self.no_default_features),
            ("--locked", self.locked),
            ("--offline", self.offline),
            ("--frozen", self.frozen),
        ];
        let switches =
            switches.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| (name, None));
        let profile = self.profile.iter().map(|name| (PROFILE, Some(name.clone())));
        let features = self.features.iter().map(|name| ("--features", Some(name.clone())));
        let bins = self.bins.iter().map(|name| ("--bin", Some(name.clone())));
        switches.chain(profile).chain(features).chain(bins).collect()
    }

    fn to_args(&self) -> Vec<String> {
        self.flags().into_iter().flat_map(words).collect()
    }

    fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<&str> = self.flags().into_iter().map(|(name, _)| name).collect();
        names.dedup();
        names
    }
}

const RELEASE: &str = "--release";
const PROFILE: &str = "--profile";
/// The options of `cargo build` with one letter that have a value.
const SHORT_WITH_VALUE: &str = "pFjZ";

fn words((name, value): (&'static str, Option<String>)) -> impl Iterator<Item = String> {
    std::iter::once(name.to_owned()).chain(value)
}

/// Returns whether the arguments already contain a flag that cargo accepts once. The profile was
/// compared before.
fn has_equal(args: &[String], name: &str) -> bool {
    match name {
        RELEASE | PROFILE => profile(args).is_some(),
        "--features" | "--bin" => false,
        name => args.iter().any(|arg| arg == name),
    }
}

/// Returns the profile that arguments of `cargo build` select.
pub(crate) fn profile(args: &[String]) -> Option<String> {
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == RELEASE || is_short_release(arg) {
            return Some("release".to_owned());
        }
        match arg.strip_prefix(PROFILE) {
            Some("") => return args.next().cloned(),
            Some(value) if value.starts_with('=') => return Some(value[1..].to_owned()),
            _ => {}
        }
    }
    None
}

/// Returns whether an argument is or contains `-r`, as in `-vr`.
fn is_short_release(arg: &str) -> bool {
    let Some(letters) = arg.strip_prefix('-').filter(|rest| !rest.starts_with('-')) else {
        return false;
    };
    letters.chars().take_while(|letter| !SHORT_WITH_VALUE.contains(*letter)).any(|it| it == 'r')
}

#[cfg(test)]
mod tests {
    use super::*;

    type Setting = Option<&'static [&'static str]>;

    fn owned(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn profile_is_that_of_cargo() {
        let table: [(&[&str], Option<&str>); 8] = [
            (&[], None),
            (&["--release"], Some("release")),
            (&["--locked", "-vr"], Some("release")),
            (&["-Fr", "-j2"], None),
            (&["--profile", "small"], Some("small")),
            (&["--profile=dev"], Some("dev")),
            (&["--profiles", "--bin=--release"], None),
            (&["--", "r"], None),
        ];
        for (args, expected) in table {
            assert_eq!(profile(&owned(args)).as_deref(), expected, "{args:?}");
        }
    }

    #[test]
    fn flags_are_added_to_setting() {
        let release = CargoFlags { release: true, ..CargoFlags::default() };
        let small = CargoFlags { profile: Some("small".into()), ..CargoFlags::default() };
        let all = CargoFlags {
            features: owned(&["a", "b c"]),
            locked: true,
            bins: owned(&["one"]),
            ..CargoFlags::default()
        };
        let unset = "cannot pass `--release` to cargo: `cargo-build` is not set, so the Dockerfile of package `app` builds the program";
        let conflict = |flag: &str, setting: &str| {
            format!(
                "the command line selects the profile `{flag}`, but `cargo-build` of package `app` selects `{setting}`"
            )
        };
        let table: [(&CargoFlags, Setting, Result<Setting, String>); 9] = [
            (&CargoFlags::default(), None, Ok(None)),
            (&release, None, Err(unset.to_owned())),
            (&release, Some(&[]), Ok(Some(&["--release"]))),
            // cargo rejects two of them, but both mean the same.
            (&release, Some(&["-r", "--locked"]), Ok(Some(&["-r", "--locked"]))),
            (&release, Some(&["--profile=release"]), Ok(Some(&["--profile=release"]))),
            (&small, Some(&["--profile", "small"]), Ok(Some(&["--profile", "small"]))),
            (&small, Some(&["--release"]), Err(conflict("small", "release"))),
            (&release, Some(&["--profile=dev"]), Err(conflict("release", "dev"))),
            (
                &all,
                Some(&["--features=x", "--locked"]),
                Ok(Some(&[
                    "--features=x",
                    "--locked",
                    "--features",
                    "a",
                    "--features",
                    "b c",
                    "--bin",
                    "one",
                ])),
            ),
        ];
        for (flags, setting, expected) in table {
            let added = flags.add_to(setting.map(owned), &BuilderChoice::Docker, "app");
            let expected = expected.map(|args| args.map(owned));
            assert_eq!(added.map_err(|error| error.to_string()), expected, "{flags:?}");
        }
        let cargo = release.add_to(None, &BuilderChoice::Cargo, "app").unwrap();
        assert_eq!(cargo.unwrap(), ["--release"]);
    }
}
