//! Fetches an unknown SSH host key and adds it to `known_hosts` after the user has confirmed
//! its fingerprint.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::cx::Cx;
use crate::node::ssh::SshEndpoint;
use crate::process::Command;
use crate::process::scratch_dir::ScratchDir;
use crate::tools::TOOL_TIMEOUT;

/// The key of an SSH host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostKey {
    /// The line for `known_hosts`.
    line: String,
    /// The fingerprint, as `SHA256:…`.
    pub(crate) fingerprint: String,
    /// The type of the key, such as `ED25519`.
    kind: String,
    /// The `known_hosts` file that ssh uses for this host.
    pub(crate) file: PathBuf,
}

impl HostKey {
    /// Fetches the host's key, without a login. Returns `None` if the host sends no key or
    /// ssh uses no `known_hosts` file.
    pub(crate) fn fetch(cx: &Cx, endpoint: &SshEndpoint) -> Option<Self> {
        let sh = cx.shell().ok()?;
        let output =
            Command::new(endpoint.show_config(&sh)).timeout(TOOL_TIMEOUT).read(cx).ok()?.text();
        let file = known_hosts_file(&output)?;
        let folder = ScratchDir::create_in(&std::env::temp_dir(), "kdev-").ok()?;
        let fetched = folder.path().join("known_hosts");
        // The login always fails, because it offers no authentication method.
        let _ =
            Command::new(endpoint.fetch_host_key(&sh, &fetched)).timeout(TOOL_TIMEOUT).output(cx);
        let line = fs::read_to_string(&fetched).ok()?.lines().next()?.to_owned();
        let show = xshell::cmd!(sh, "ssh-keygen -l -f {fetched}");
        let output = Command::new(show).timeout(TOOL_TIMEOUT).read(cx).ok()?.text();
        let (fingerprint, kind) = parse_fingerprint(&output)?;
        Some(Self { line, fingerprint, kind, file })
    }

    /// Returns the path of the public key on the host.
    pub(crate) fn remote_path(&self) -> String {
        format!("/etc/ssh/ssh_host_{}_key.pub", self.kind.to_lowercase())
    }

    /// Adds the key to ssh's `known_hosts`.
    pub(crate) fn add_to_known_hosts(&self) -> io::Result<()> {
        if let Some(folder) = self.file.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let existing = match fs::read_to_string(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            existing => existing.unwrap_or_default(),
        };
        let end = if existing.is_empty() || existing.ends_with('\n') { "" } else { "\n" };
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.file)?;
        writeln!(file, "{end}{}", self.line)
    }
}

/// Returns the first `known_hosts` file in the output of `ssh -G`.
fn known_hosts_file(config: &str) -> Option<PathBuf> {
    let files = config.lines().find_map(|line| line.strip_prefix("userknownhostsfile "))?;
    let first = files.split_whitespace().next()?;
    let is_file = first != "none" && Path::new(first) != Path::new("/dev/null");
    is_file.then(|| first.into())
}

/// Returns fingerprint and type from `256 SHA256:… 10.0.0.7 (ED25519)`.
fn parse_fingerprint(line: &str) -> Option<(String, String)> {
    let fields: Vec<&str> = line.lines().next()?.split_whitespace().collect();
    let kind = fields.last()?.strip_prefix('(')?.strip_suffix(')')?;
    let fingerprint = fields.get(1).filter(|word| word.starts_with("SHA256:"))?;
    Some(((*fingerprint).to_owned(), kind.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_hosts_file_is_read_from_ssh_config() {
        let files = |value: &str| {
            known_hosts_file(&format!("user u\nuserknownhostsfile {value}\nport 22\n"))
        };
        assert_eq!(files("/home/u/.ssh/known_hosts /x"), Some("/home/u/.ssh/known_hosts".into()));
        assert_eq!((files("/dev/null"), files("none"), known_hosts_file("")), (None, None, None));
    }

    #[test]
    fn fingerprint_is_parsed_from_ssh_keygen() {
        let read = parse_fingerprint("256 SHA256:abc 10.0.0.7 (ED25519)\n").unwrap();
        assert_eq!(read, ("SHA256:abc".to_owned(), "ED25519".to_owned()));
        assert_eq!(parse_fingerprint("/tmp/x is not a public key file.\n"), None);
    }

    #[test]
    fn key_is_appended_to_known_hosts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(".ssh/known_hosts");
        let key = |line: &str| HostKey {
            line: line.to_owned(),
            fingerprint: String::new(),
            kind: "RSA".to_owned(),
            file: file.clone(),
        };
        key("a ssh-rsa x").add_to_known_hosts().unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "a ssh-rsa x\n");
        fs::write(&file, "b ssh-rsa y").unwrap();
        key("a ssh-rsa x").add_to_known_hosts().unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "b ssh-rsa y\na ssh-rsa x\n");
        assert_eq!(key("").remote_path(), "/etc/ssh/ssh_host_rsa_key.pub");
    }
}
