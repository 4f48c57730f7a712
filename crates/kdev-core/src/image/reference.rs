//! Image references: one normalization for build, load, verification and manifests.
//!
//! The grammar is that of the distribution project's `reference` package:
//! `[domain/]path[:tag][@digest]`, where the first component is a domain only if it
//! contains a `.` or a `:`, or is `localhost`.

use std::fmt;

/// The domain of a reference without a domain, for Docker and for the kubelet.
const DEFAULT_DOMAIN: &str = "docker.io";
/// The folder of a path without a folder on [`DEFAULT_DOMAIN`].
const DEFAULT_FOLDER: &str = "library";
/// Maximum length of a name including its domain, as Docker 20.10 and containerd 1.6 count
/// it; later versions count the path alone.
const NAME_LIMIT: usize = 255;
/// Maximum length of a tag.
const TAG_LIMIT: usize = 128;
/// Number of hex digits of a Docker image ID.
const ID_DIGITS: usize = 64;
/// Digest algorithms with their number of hex digits.
const DIGESTS: [(&str, usize); 3] = [("sha256", 64), ("sha384", 96), ("sha512", 128)];
/// The prefix of content tags: the tags that `cargo kdev up` sets, one for each content.
pub const CONTENT_TAG_PREFIX: &str = "kdev-";
/// A content tag for a rendering whose build is not known.
pub const PLACEHOLDER_TAG: &str = "kdev-000000000000";
/// Number of hex digits of the config digest in a content tag.
pub(super) const TAG_DIGITS: usize = 12;

/// A normalized image reference: `app` and `docker.io/library/app:latest` are equal.
///
/// Its `Display` is the full form that containerd and the CRI use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    name: Name,
    tag: Option<String>,
    digest: Option<String>,
}

/// The domain and path of a reference, without tag and digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    domain: String,
    path: String,
}

/// The reason why a text is not a valid image reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid image reference: {reason}")]
pub struct ReferenceError {
    /// The text as given.
    pub text: String,
    /// The violated rule.
    pub reason: &'static str,
}

impl Reference {
    /// Parses a reference in any form and fills in the defaults.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let fail = |reason| ReferenceError { text: text.to_owned(), reason };
        let (rest, digest) =
            match text.split_once('@') {
                Some((rest, digest)) => (
                    rest,
                    Some(checked_digest(digest).ok_or_else(|| {
                        fail("a digest must be `sha256:` and 64 lower-case hex digits, or the equivalent for sha384 or sha512")
                    })?),
                ),
                None => (text, None),
            };
        let (name, tag) = split_tag(rest);
        if text.len() == ID_DIGITS && text.chars().all(is_hex) {
            return Err(fail("64 hex digits are an image ID, not a name"));
        }
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(fail(
                "a tag has at most 128 letters, digits, `_`, `.`, and `-`, and does not start with `.` or `-`",
            ));
        }
        let name = Name::parse(name).map_err(fail)?;
        let tag = match (tag, &digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, Some(_)) => None,
            (None, None) => Some("latest".to_owned()),
        };
        Ok(Self { name, tag, digest })
    }

    /// Returns the name without tag and digest.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Returns the digest, if there is one.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// Returns the tag; `latest` if none was written.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the reference with the content tag: `kdev-` and the first 12 hex digits of
    /// the config digest.
    #[must_use]
    pub fn with_content_tag(&self, config_digest: &str) -> Self {
        Self { name: self.name.clone(), tag: Some(content_tag(config_digest)), digest: None }
    }

    /// Returns the reference as the CRI stores it: without the tag if there is a digest.
    #[must_use]
    pub fn into_familiar_tag(self) -> Self {
        let tag = self.tag.filter(|_| self.digest.is_none());
        Self { tag, ..self }
    }

    /// Returns the short form without the default parts.
    pub fn familiar(&self) -> String {
        self.rest(&self.name.familiar())
    }

    fn rest(&self, name: &str) -> String {
        let mut text = name.to_owned();
        if let Some(tag) = &self.tag {
            text = format!("{text}:{tag}");
        }
        if let Some(digest) = &self.digest {
            text = format!("{text}@{digest}");
        }
        text
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rest(&self.name.to_string()))
    }
}

impl Name {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (domain, path) = match text.split_once('/') {
            Some((first, rest)) if is_domain(first) => (first, rest.to_owned()),
            _ => (DEFAULT_DOMAIN, text.to_owned()),
        };
        let domain = if domain == "index.docker.io" { DEFAULT_DOMAIN } else { domain };
        let path = if domain == DEFAULT_DOMAIN && !path.contains('/') {
            format!("{DEFAULT_FOLDER}/{path}")
        } else {
            path
        };
        if !valid_domain(domain) {
            return Err("the registry is not a valid host name");
        }
        if path.chars().any(|c| c.is_ascii_uppercase()) {
            return Err("an image name must be lower case");
        }
        if !path.split('/').all(is_component) {
            return Err(
                "a name consists of lower-case letters and digits, separated by `.`, `_`, `__`, `-` or `/`",
            );
        }
        if domain.len() + 1 + path.len() > NAME_LIMIT {
            return Err("a name has at most 255 characters");
        }
        Ok(Self { domain: domain.to_owned(), path })
    }

    /// As people write it: without the parts that are the default.
    pub fn familiar(&self) -> String {
        match self.path.split_once('/') {
            _ if self.domain != DEFAULT_DOMAIN => self.to_string(),
            Some((DEFAULT_FOLDER, name)) if !name.contains('/') => name.to_owned(),
            // Without the domain, the path would be parsed as one.
            Some((folder, _)) if is_domain(folder) => self.to_string(),
            _ => self.path.clone(),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)
    }
}

/// Returns the content tag of an image with this config digest.
pub fn content_tag(config_digest: &str) -> String {
    let hex = config_digest.trim_start_matches("sha256:");
    format!("{CONTENT_TAG_PREFIX}{}", &hex[..hex.len().min(TAG_DIGITS)])
}

/// Returns whether kdev has set the tag: users may have others with the same prefix.
pub fn is_content_tag(tag: &str) -> bool {
    let digits = tag.strip_prefix(CONTENT_TAG_PREFIX);
    digits.is_some_and(|digits| digits.len() == TAG_DIGITS && digits.chars().all(is_hex))
}

/// Splits a reference without a digest into name and tag, as written. A colon belongs to
/// the registry's port if a `/` follows.
pub fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    }
}

fn is_tag(tag: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.len() <= TAG_LIMIT
        && tag.starts_with(word)
        && tag.chars().all(|c| word(c) || c == '.' || c == '-')
}

fn checked_digest(digest: &str) -> Option<String> {
    let (algorithm, hex) = digest.split_once(':')?;
    let (_, digits) = DIGESTS.iter().find(|(name, _)| *name == algorithm)?;
    (hex.len() == *digits && hex.chars().all(is_hex)).then(|| digest.to_owned())
}

fn is_hex(c: char) -> bool {
    c.is_ascii_digit() || ('a'..='f').contains(&c)
}

fn is_domain(first: &str) -> bool {
    first == "localhost"
        || first.contains('.')
        || first.contains(':')
        || first.chars().any(|c| c.is_ascii_uppercase())
}

fn valid_domain(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            let hex = |c: char| c.is_ascii_hexdigit() || c == ':';
            if address.is_empty() || !address.chars().all(hex) {
                return false;
            }
            ("v6", rest.strip_prefix(':').or(rest.is_empty().then_some("0")))
        }
        None => match domain.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (domain, Some("0")),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(label)
        && port.is_some_and(|p| !p.is_empty() && p.chars().all(|c| c.is_ascii_digit()))
}

/// `[a-z0-9]+` runs, joined by one `.`, one or two `_`, or any number of `-`.
fn is_component(component: &str) -> bool {
    let alnum = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !component.starts_with(alnum) || !component.ends_with(alnum) {
        return false;
    }
    component
        .split(alnum)
        .all(|sep| matches!(sep, "" | "." | "_" | "__") || sep.chars().all(|c| c == '-'))
}

/// Whether a reference has this name, regardless of tag and digest.
pub fn matches_name(image: &str, name: &Name) -> bool {
    Reference::parse(image).is_ok_and(|reference| reference.name() == name)
}

/// Whether a reference has a digest.
pub fn has_digest(image: &str) -> bool {
    image.contains('@')
}

/// Returns the last component of a name in lower case, without tag and digest.
pub fn base(image: &str) -> String {
    let image = image.split('@').next().unwrap_or_default();
    let (name, _) = split_tag(image);
    let base = name.rsplit('/').next().unwrap_or_default().to_lowercase();
    base.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).collect()
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
