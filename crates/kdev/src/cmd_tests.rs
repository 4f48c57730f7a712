//! Children that fail, hang, and leave others behind.

use std::time::Instant;

use super::*;
use crate::child::GRACE;
use xshell::{Shell, cmd};

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

#[test]
fn an_interrupt_ends_both_ends_of_a_pipe() {
    let (sh, events) = (Shell::new().unwrap(), quiet());
    let interrupt = Interrupt::never();
    let cx = Cx::new(&events).interrupted_by(interrupt.clone());
    let raise = |passed| {
        if passed > 1 << 20 {
            interrupt.raise();
        }
    };
    let sink = Task::new(cmd!(sh, "sh -c 'cat >/dev/null'"));
    let piped = Task::new(cmd!(sh, "cat /dev/zero")).pipe_into(&cx, sink, &raise);
    assert!(piped.source.unwrap_err().is_interrupt());
    assert!(piped.sink.unwrap_err().is_interrupt());
}

#[test]
fn a_sink_that_dies_first_is_told_from_its_source() {
    let (sh, events) = (Shell::new().unwrap(), quiet());
    let cx = Cx::new(&events);
    let sink = Task::new(cmd!(sh, "sh -c 'echo full >&2; exit 3'"));
    let piped = Task::new(cmd!(sh, "cat /dev/zero")).pipe_into(&cx, sink, &|_| ());
    let sink = piped.sink.unwrap();
    assert_eq!((sink.status.code(), sink.stderr.as_str()), (Some(3), "full\n"));
    assert!(!piped.source.unwrap().status.success());
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
