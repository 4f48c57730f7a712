//! Command lines as a person types them.

/// Shows on a node what fills its disk.
pub const DISK_USAGE_COMMAND: &str = "sudo du -xh -d2 /var | sort -h | tail";

/// One word as a POSIX shell would take it.
pub fn quote(word: &str) -> String {
    // Only a NUL cannot be quoted, and no argument of ours has one.
    shlex::try_quote(word).map_or_else(|_| word.replace('\0', ""), std::borrow::Cow::into_owned)
}

/// Flags that have a value, as a shell would take them, each after a blank.
pub fn flags<'a>(given: impl IntoIterator<Item = (&'a str, Option<String>)>) -> String {
    let given = given.into_iter().filter_map(|(flag, value)| Some((flag, value?)));
    given.map(|(flag, value)| format!(" {flag} {}", quote(&value))).collect::<Vec<_>>().concat()
}

/// Several commands within a container, where everybody is root.
pub fn in_container(container: &str, commands: &str) -> String {
    let commands = quote(commands.trim_start_matches("sudo "));
    format!("docker exec {container} sh -c {commands}")
}

/// Several commands behind an ssh.
pub fn over_ssh(ssh: &str, commands: &str) -> String {
    format!("{} {}", with_terminal(ssh), quote(commands))
}

/// An ssh that gives what it runs a terminal: sudo may ask for a password there.
pub fn with_terminal(ssh: &str) -> String {
    ssh.replacen("ssh ", "ssh -t ", 1)
}
