//! A host key that ssh does not know yet: seen, shown with its fingerprint, and put
//! into ssh's own list once somebody has compared it.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::cx::Cx;
use crate::node::ssh::SshEndpoint;
use crate::process::Command;
use crate::tools::TOOL_TIMEOUT;

/// What a host has shown of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostKey {
    /// As a `known_hosts` has it.
    line: String,
    /// As `SHA256:…`, and the kind of key.
    pub(crate) fingerprint: String,
    kind: String,
    /// The list that ssh keeps for this host.
    pub(crate) file: PathBuf,
}

impl HostKey {
    /// Asks the host for its key, and for nothing else: no key of the user's is
    /// offered, and nothing is run. `None` where it shows none, or where ssh keeps
    /// no list.
    pub(crate) fn fetch(cx: &Cx, door: &SshEndpoint) -> Option<Self> {
        let sh = cx.shell().ok()?;
        let said = Command::new(door.show_config(&sh)).timeout(TOOL_TIMEOUT).read(cx).ok()?.text();
        let file = known_hosts_file(&said)?;
        let folder = tempfile::tempdir().ok()?;
        let seen = folder.path().join("known_hosts");
        // It always ends in a refusal.
        let _ = Command::new(door.fetch_host_key(&sh, &seen)).timeout(TOOL_TIMEOUT).output(cx);
        let line = fs::read_to_string(&seen).ok()?.lines().next()?.to_owned();
        let shown = xshell::cmd!(sh, "ssh-keygen -l -f {seen}");
        let said = Command::new(shown).timeout(TOOL_TIMEOUT).read(cx).ok()?.text();
        let (fingerprint, kind) = parse_fingerprint(&said)?;
        Some(Self { line, fingerprint, kind, file })
    }

    /// Where the host itself has it.
    pub(crate) fn remote_path(&self) -> String {
        format!("/etc/ssh/ssh_host_{}_key.pub", self.kind.to_lowercase())
    }

    /// Puts it into ssh's list.
    pub(crate) fn add_to_known_hosts(&self) -> io::Result<()> {
        if let Some(folder) = self.file.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let before = match fs::read_to_string(&self.file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            before => before.unwrap_or_default(),
        };
        let end = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.file)?;
        writeln!(file, "{end}{}", self.line)
    }
}

/// The first of the lists that `ssh -G` tells.
fn known_hosts_file(settings: &str) -> Option<PathBuf> {
    let lists = settings.lines().find_map(|line| line.strip_prefix("userknownhostsfile "))?;
    let first = lists.split_whitespace().next()?;
    let is_list = first != "none" && Path::new(first) != Path::new("/dev/null");
    is_list.then(|| first.into())
}

/// Of `256 SHA256:… 10.0.0.7 (ED25519)`.
fn parse_fingerprint(said: &str) -> Option<(String, String)> {
    let words: Vec<&str> = said.lines().next()?.split_whitespace().collect();
    let kind = words.last()?.strip_prefix('(')?.strip_suffix(')')?;
    let fingerprint = words.get(1).filter(|word| word.starts_with("SHA256:"))?;
    Some(((*fingerprint).to_owned(), kind.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_tells_where_it_keeps_its_list() {
        let lists = |value: &str| known_hosts_file(&format!("user u\nuserknownhostsfile {value}\nport 22\n"));
        assert_eq!(lists("/home/u/.ssh/known_hosts /x"), Some("/home/u/.ssh/known_hosts".into()));
        assert_eq!((lists("/dev/null"), lists("none"), known_hosts_file("")), (None, None, None));
    }

    #[test]
    fn a_fingerprint_is_read_as_ssh_keygen_prints_it() {
        let read = parse_fingerprint("256 SHA256:abc 10.0.0.7 (ED25519)\n").unwrap();
        assert_eq!(read, ("SHA256:abc".to_owned(), "ED25519".to_owned()));
        assert_eq!(parse_fingerprint("/tmp/x is not a public key file.\n"), None);
    }

    #[test]
    fn a_key_is_added_to_what_is_there() {
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
