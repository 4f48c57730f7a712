//! Command lines for users to copy.

/// Shows the largest folders on a node's disk.
pub const DISK_USAGE_COMMAND: &str = "sudo du -xh -d2 /var | sort -h | tail";

/// Quotes a word for a POSIX shell.
pub fn quote(word: &str) -> String {
    // Only a NUL cannot be quoted, and no argument contains one.
    shlex::try_quote(word).map_or_else(|_| word.replace('\0', ""), std::borrow::Cow::into_owned)
}

/// Joins flags that have a value, each with a leading space.
pub fn flags<'a>(given: impl IntoIterator<Item = (&'a str, Option<String>)>) -> String {
    let given = given.into_iter().filter_map(|(flag, value)| Some((flag, value?)));
    given.map(|(flag, value)| format!(" {flag} {}", quote(&value))).collect::<Vec<_>>().concat()
}

/// Returns a command line that runs several commands in a container, where the user is
/// root.
pub fn in_container(container: &str, commands: &str) -> String {
    let commands = quote(commands.trim_start_matches("sudo "));
    format!("docker exec {container} sh -c {commands}")
}

/// Returns a command line that runs several commands over SSH.
pub fn over_ssh(ssh: &str, commands: &str) -> String {
    format!("{} {}", with_terminal(ssh), quote(commands))
}

/// Adds a terminal to an ssh command, because sudo may ask for a password.
pub fn with_terminal(ssh: &str) -> String {
    ssh.replacen("ssh ", "ssh -t ", 1)
}
