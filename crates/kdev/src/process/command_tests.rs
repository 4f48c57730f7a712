//! Children that fail, hang, or leave grandchildren behind.

use std::time::Instant;

use xshell::{Shell, cmd};

use super::*;
use crate::event::Message;
use crate::process::child::EXIT_GRACE_PERIOD;

fn quiet() -> impl Fn(Message) + Sync {
    |_| ()
}

#[test]
fn failure_has_command_code_and_stderr() {
    let (sh, events) = (Shell::new().unwrap(), quiet());
    let cx = Cx::new(&events);
    let script = "echo out; printf 'no \\033[31mway\\n' >&2; exit 7";
    let failure = Command::new(cmd!(sh, "sh -c {script}")).read(&cx).unwrap_err();
    assert_eq!(failure.outcome, Outcome::Code(7));
    assert_eq!(failure.stderr, "no [31mway\n");
    assert!(failure.to_string().starts_with("`sh -c "), "{failure}");
}

#[test]
fn timeout_terminates_child_and_grandchildren() {
    let (sh, events) = (Shell::new().unwrap(), quiet());
    let cx = Cx::new(&events);
    let started = Instant::now();
    let command =
        Command::new(cmd!(sh, "sh -c 'sleep 60 & wait'")).timeout(Duration::from_millis(100));
    let failure = command.read(&cx).unwrap_err();
    assert_eq!(failure.outcome, Outcome::TimedOut(Duration::from_millis(100)));
    assert!(started.elapsed() < EXIT_GRACE_PERIOD, "took {:?}", started.elapsed());
}

/// Feeds `cat /dev/zero` into a shell script.
fn zeros_into(cx: &Cx, script: &str) -> (Result<Output, Failure>, Result<(), Failure>) {
    let sh = Shell::new().unwrap();
    let zeros = Command::new(cmd!(sh, "cat /dev/zero"));
    let (sink, source) = Command::new(cmd!(sh, "sh -c {script}")).feed(cx, |mut stdin, _| {
        let copy = |mut stdout| io::copy(&mut stdout, &mut stdin).map_or((), |_| ());
        zeros.read_with(cx, copy)
    });
    (sink, source.unwrap())
}

#[test]
fn interrupt_terminates_both_ends_of_pipe() {
    let (events, interrupt) = (quiet(), Interrupt::never());
    let cx = Cx::new(&events).with_interrupt(interrupt.clone());
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        interrupt.raise();
    });
    let (sink, source) = zeros_into(&cx, "cat >/dev/null");
    assert!(source.unwrap_err().is_interrupt());
    assert!(sink.unwrap_err().is_interrupt());
}

#[test]
fn failed_reader_terminates_writer() {
    let events = quiet();
    let (sink, source) = zeros_into(&Cx::new(&events), "echo full >&2; exit 3");
    let sink = sink.unwrap();
    assert_eq!((sink.status.code(), sink.stderr.as_str()), (Some(3), "full\n"));
    assert!(source.is_err());
}

#[test]
fn feed_passes_lines_to_writer_and_output() {
    let (sh, events) = (Shell::new().unwrap(), quiet());
    let script = "echo ready; read line; echo got $line";
    let (output, line) =
        Command::new(cmd!(sh, "sh -c {script}")).feed(&Cx::new(&events), |mut stdin, lines| {
            let line = lines.next();
            stdin.write_all(b"it\n").unwrap();
            line
        });
    assert_eq!(line.flatten().as_deref(), Some("ready"));
    assert_eq!(output.unwrap().text(), "ready\ngot it\n");
}

#[test]
fn grandchild_with_open_pipes_does_not_block() {
    let (sh, events) = (Shell::new().unwrap(), quiet());
    let cx = Cx::new(&events);
    let started = Instant::now();
    // `sleep` keeps both pipes open.
    let script = "sleep 30 & echo done";
    let output = Command::new(cmd!(sh, "sh -c {script}")).read(&cx).unwrap();
    assert_eq!(output.text(), "done\n");
    assert!(started.elapsed() < Duration::from_secs(5), "took {:?}", started.elapsed());
}

#[test]
fn command_display_is_quoted_for_shell() {
    let sh = Shell::new().unwrap();
    let name = "a;touch x";
    assert_eq!(
        Command::new(cmd!(sh, "/usr/bin/docker tag {name} b")).to_string(),
        "docker tag 'a;touch x' b"
    );
}

#[test]
fn message_omits_log_and_repeated_lines() {
    let message_of = |stderr: &str| {
        let outcome = Outcome::Code(1);
        Failure { command: "kubectl".into(), outcome, stderr: stderr.into() }.message()
    };
    let log =
        "E1125 07:15:01.123456    4711 memcache.go:265] \"Unhandled Error\" err=\"refused\"\n";
    let message = "The connection to the server 10.0.0.9:6443 was refused\n";
    assert_eq!(message_of(&format!("{log}{log}{message}")), message.trim());
    assert_eq!(
        message_of(&format!("{message}I0101 00:00:00.000000 1 a.go:1] b\n{message}")),
        message.trim()
    );
    // The log is kept if there is nothing else.
    assert_eq!(message_of(&format!("{log}\n")), log.trim());
    let frame = "error: no key\n  |\n1 | a\n  |\n[E1125 is no log] but a text";
    assert_eq!(message_of(frame), frame);
}
