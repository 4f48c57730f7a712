//! Children that fail, hang, and leave others behind.

use std::time::Instant;

use xshell::{Shell, cmd};

use super::*;
use crate::process::child::GRACE;

fn quiet() -> impl Fn(Event) + Sync {
    |_| ()
}

#[test]
fn a_failure_carries_command_code_and_words() {
    let (sh, events) = (Shell::new().unwrap(), quiet());
    let cx = Cx::new(&events);
    let script = "echo out; printf 'no \\033[31mway\\n' >&2; exit 7";
    let failure = Task::new(cmd!(sh, "sh -c {script}")).read(&cx).unwrap_err();
    assert_eq!(failure.outcome, Outcome::Code(7));
    assert_eq!(failure.stderr, "no [31mway\n");
    assert!(failure.to_string().starts_with("`sh -c "), "{failure}");
}

#[test]
fn a_child_that_runs_for_too_long_is_ended_with_its_own_children() {
    let (sh, events) = (Shell::new().unwrap(), quiet());
    let cx = Cx::new(&events);
    let begun = Instant::now();
    let task = Task::new(cmd!(sh, "sh -c 'sleep 60 & wait'")).limit(Duration::from_millis(100));
    let failure = task.read(&cx).unwrap_err();
    assert_eq!(failure.outcome, Outcome::TimedOut(Duration::from_millis(100)));
    assert!(begun.elapsed() < GRACE, "took {:?}", begun.elapsed());
}

/// Feeds `cat /dev/zero` into a shell script.
fn zeros_into(cx: &Cx, script: &str) -> (Result<Output, Failure>, Result<(), Failure>) {
    let sh = Shell::new().unwrap();
    let zeros = Task::new(cmd!(sh, "cat /dev/zero"));
    let (sink, source) = Task::new(cmd!(sh, "sh -c {script}")).feed(cx, |mut stdin, _| {
        let copy = |mut stdout| io::copy(&mut stdout, &mut stdin).map_or((), |_| ());
        zeros.read_with(cx, copy)
    });
    (sink, source.unwrap())
}

#[test]
fn an_interrupt_ends_both_ends_of_a_pipe() {
    let (events, interrupt) = (quiet(), Interrupt::never());
    let cx = Cx::new(&events).interrupted_by(interrupt.clone());
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        interrupt.raise();
    });
    let (sink, source) = zeros_into(&cx, "cat >/dev/null");
    assert!(source.unwrap_err().is_interrupt());
    assert!(sink.unwrap_err().is_interrupt());
}

#[test]
fn a_sink_that_dies_first_ends_its_source() {
    let events = quiet();
    let (sink, source) = zeros_into(&Cx::new(&events), "echo full >&2; exit 3");
    let sink = sink.unwrap();
    assert_eq!((sink.status.code(), sink.stderr.as_str()), (Some(3), "full\n"));
    assert!(source.is_err());
}

#[test]
fn a_writer_sees_each_line_and_the_output_has_it_too() {
    let (sh, events) = (Shell::new().unwrap(), quiet());
    let script = "echo ready; read line; echo got $line";
    let (output, line) =
        Task::new(cmd!(sh, "sh -c {script}")).feed(&Cx::new(&events), |mut stdin, lines| {
            let line = lines.next();
            stdin.write_all(b"it\n").unwrap();
            line
        });
    assert_eq!(line.flatten().as_deref(), Some("ready"));
    assert_eq!(output.unwrap().text(), "ready\ngot it\n");
}

#[test]
fn a_grandchild_that_keeps_stderr_open_does_not_hold_us() {
    let (sh, events) = (Shell::new().unwrap(), quiet());
    let cx = Cx::new(&events);
    let begun = Instant::now();
    // The sleeper keeps both of its pipes.
    let script = "sleep 30 & echo done";
    let output = Task::new(cmd!(sh, "sh -c {script}")).read(&cx).unwrap();
    assert_eq!(output.text(), "done\n");
    assert!(begun.elapsed() < Duration::from_secs(5), "took {:?}", begun.elapsed());
}

#[test]
fn commands_are_shown_as_a_shell_would_take_them() {
    let sh = Shell::new().unwrap();
    let name = "a;touch x";
    assert_eq!(
        Task::new(cmd!(sh, "/usr/bin/docker tag {name} b")).to_string(),
        "docker tag 'a;touch x' b"
    );
}

#[test]
fn a_log_and_what_is_said_twice_are_no_words() {
    let words = |stderr: &str| {
        let outcome = Outcome::Code(1);
        Failure { command: "kubectl".into(), outcome, stderr: stderr.into() }.words()
    };
    let log =
        "E1125 07:15:01.123456    4711 memcache.go:265] \"Unhandled Error\" err=\"refused\"\n";
    let said = "The connection to the server 10.0.0.9:6443 was refused\n";
    assert_eq!(words(&format!("{log}{log}{said}")), said.trim());
    assert_eq!(words(&format!("{said}I0101 00:00:00.000000 1 a.go:1] b\n{said}")), said.trim());
    // A log is better than nothing.
    assert_eq!(words(&format!("{log}\n")), log.trim());
    let frame = "error: no key\n  |\n1 | a\n  |\n[E1125 is no log] but a text";
    assert_eq!(words(frame), frame);
}
