//! `up --watch` in a terminal: the status line, the keys, and the mode of the terminal.

use std::fs;
use std::io::{Read, Write};
use std::num::NonZero;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::project::Project;

const ROWS: NonZero<u16> = NonZero::new(70).unwrap();
/// Prints whether the terminal reads lines and shows what is typed.
const MODE: &str = r#"stty -a | grep -o -- "-*icanon\|-*echo ""#;

/// A terminal with a shell.
struct Terminal {
    child: Child,
    keyboard: ChildStdin,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Terminal {
    /// Runs a command line in a terminal, in a project whose build context has only its sources.
    #[expect(clippy::disallowed_methods, reason = "a test runs a program itself")]
    fn start(project: &Project, columns: u16, shell: &str) -> Self {
        project.write(".dockerignore", "fake\nbin\ntools\ntarget\n.*\n");
        project.write("Dockerfile", "FROM scratch\nCOPY . /\n");
        let kdev = project.command(&["up", "--watch"]);
        // A test in the background ignores the signals of the terminal, and so do its children.
        let command = format!(
            "stty cols {columns} rows {ROWS}; exec env --default-signal=INT,QUIT /bin/sh -c '{shell}'"
        );
        let mut terminal = Command::new("/usr/bin/script");
        terminal
            .args(["-qec", &command, "/dev/null"])
            .current_dir(project.path(""))
            .env_clear()
            .envs(kdev.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .env("KDEV", kdev.get_program())
            .env("NO_COLOR", "1")
            .env("TERM", "xterm");
        let mut child = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = child.stdout.take().unwrap();
        let columns = NonZero::new(columns).unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(ROWS, columns, 0)));
        let drawn = Arc::clone(&screen);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                drawn.lock().unwrap().process(&bytes[..count]);
            }
        });
        Self { keyboard: child.stdin.take().unwrap(), child, screen }
    }

    fn screen(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Returns the last line, without the number of inputs, which depends on this machine.
    fn status(&self) -> String {
        let screen = self.screen();
        let line = screen.trim_end().lines().next_back().unwrap_or_default().trim();
        let is_count = |part: &&&str| part.split(' ').nth(1).is_some_and(|word| word == "inputs");
        let parts: Vec<&str> = line.split(", ").collect();
        let count = parts.iter().find(is_count).and_then(|part| part.split(' ').next());
        count.map_or(line.to_owned(), |count| line.replace(&format!(", {count} "), ", N "))
    }

    #[track_caller]
    fn wait_until(&self, what: &str, condition: impl Fn(&str) -> bool) {
        let started = Instant::now();
        while !condition(&self.screen()) {
            assert!(started.elapsed() < Duration::from_secs(60), "no {what}:\n{}", self.screen());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for this text as the last line.
    #[track_caller]
    fn wait_for_status(&self, status: &str) {
        self.wait_until(status, |_| self.status() == status);
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for the end of the shell. Returns the screen.
    #[track_caller]
    fn end(&mut self) -> String {
        self.wait_until("end", |screen| screen.contains("the end"));
        self.child.wait().unwrap();
        self.screen()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The shell command that runs the watch, and then prints its exit code and the mode.
fn watch(args: &str) -> String {
    format!(
        "trap : INT QUIT; ulimit -c 0; \"$KDEV\" kdev up --watch {args}; echo \"code $?\"; {MODE}; echo the end"
    )
}

fn save(project: &Project, text: &str) {
    project.write("fake/saved", text);
    fs::rename(project.path("fake/saved"), project.path("src/main.rs")).unwrap();
}

const STATUS: &str = "Watching app:kdev-0123456789ab, 2 pods, N inputs | r p l t w q";
const RESTORED: &str = "\nicanon\necho \nthe end";

#[test]
fn keys_pause_and_deploy_and_show_times() {
    let project = Project::new();
    let mut terminal = Terminal::start(&project, 100, &watch("--timings"));
    terminal.wait_for_status(STATUS);
    terminal.wait_until("keys", |screen| screen.contains("Note keys: `r` deploys again"));
    let builds = || project.calls().matches("docker build ").count();
    terminal.press("p");
    terminal.wait_for_status(&STATUS.replace("Watching", "Paused"));
    save(&project, "fn main() { }\n");
    let newer = "Paused app:kdev-0123456789ab, 2 pods, N inputs, 1 newer change | r p l t w q";
    terminal.wait_for_status(newer);
    assert_eq!(builds(), 1);
    terminal.press("p");
    terminal.wait_until("change", |screen| screen.contains("Changed src/main.rs"));
    terminal.wait_for_status(STATUS);
    terminal.press("r");
    terminal.wait_until("deployment", |screen| screen.matches("  Ready in ").count() == 2);
    terminal.wait_for_status(STATUS);
    assert_eq!(builds(), 3);
    terminal.press("t");
    terminal.wait_until("times", |screen| screen.contains("\n  median"));
    terminal.press("w");
    terminal.wait_until("cause", |screen| screen.contains("no pods or workloads found"));
    terminal.wait_for_status(STATUS);
    for state in ["hidden", "shown"] {
        terminal.press("l");
        terminal.wait_until(state, |screen| screen.contains(&format!("the logs are {state}")));
    }
    terminal.press("xq");
    let screen = terminal.end();
    assert!(
        screen.contains("Note the pods keep running; run `cargo kdev down --context kind-test`"),
        "{screen}"
    );
    assert!(screen.contains("code 0\n") && screen.contains(RESTORED), "{screen}");
    assert_eq!(screen.matches("\n  median").count(), 2, "{screen}");
}

#[test]
fn interrupt_restores_terminal() {
    for (key, code) in [("\x03", 130), ("\x1c", 131)] {
        let project = Project::new();
        let mut terminal = Terminal::start(&project, 80, &watch(""));
        terminal.wait_for_status(STATUS);
        terminal.press(key);
        let screen = terminal.end();
        assert!(screen.contains(&format!("code {code}\n")), "{screen}");
        assert!(screen.contains(RESTORED), "{screen}");
    }
}

#[test]
fn quit_signal_ends_children() {
    let project = Project::new();
    let then = "--then \"echo \\$\\$ > fake/pid; exec sleep 600\"";
    let mut terminal = Terminal::start(&project, 80, &watch(then));
    terminal.wait_for_status(STATUS);
    let pid = || fs::read_to_string(project.path("fake/pid")).unwrap_or_default();
    terminal.wait_until("command", |_| pid().ends_with('\n'));
    let process = format!("/proc/{}", pid().trim());
    assert!(fs::exists(&process).unwrap());
    terminal.press("\x1c");
    let screen = terminal.end();
    assert!(screen.contains("code 131\n"), "{screen}");
    terminal.wait_until("end of the command", |_| !fs::exists(&process).unwrap());
}

#[test]
fn keys_do_not_wait_for_explanation() {
    let project = Project::new();
    let mut terminal = Terminal::start(&project, 80, &watch(""));
    terminal.wait_for_status(STATUS);
    project.write("fake/kubectl-get-hangs", "");
    terminal.press("wp");
    terminal.wait_for_status(&STATUS.replace("Watching", "Paused"));
    terminal.press("q");
    assert!(terminal.end().contains("code 0\n"));
}

#[test]
fn narrow_terminal_has_short_status() {
    let project = Project::new();
    let mut terminal = Terminal::start(&project, 40, &watch(""));
    terminal.wait_for_status("Watching app, 2 pods");
    terminal.press("p");
    terminal.wait_for_status("Paused app, 2 pods");
    save(&project, "fn main() { }\n");
    terminal.wait_for_status("Paused app, 1 newer change");
    terminal.press("q");
    terminal.end();
}

#[test]
fn stopped_watch_restores_terminal() {
    let project = Project::new();
    let mut terminal = Terminal::start(&project, 100, "exec /bin/bash --norc --noprofile -i");
    terminal.press("PS1='> '; \"$KDEV\" kdev up --watch\n");
    terminal.wait_for_status(STATUS);
    terminal.press("\x1a");
    terminal.wait_until("stop", |screen| screen.contains("Stopped"));
    terminal.press(&format!("{MODE}; echo stopped\n"));
    terminal.wait_until("mode", |screen| screen.contains("\nicanon\necho \nstopped"));
    terminal.press("fg\n");
    terminal.wait_for_status(STATUS);
    save(&project, "fn main() { }\n");
    terminal.wait_until("change", |screen| screen.contains("Changed src/main.rs"));
    terminal.wait_for_status(STATUS);
    terminal.press("q");
    terminal.wait_until("end", |screen| screen.contains("the pods keep running"));
    terminal.press(&format!("echo \"code $?\"; {MODE}; echo 'the end'; exit\n"));
    let screen = terminal.end();
    assert!(screen.contains("code 0\nicanon\necho \nthe end"), "{screen}");
}

#[test]
fn question_reads_line() {
    let project = Project::new();
    let contexts = fs::read_to_string(project.path("fake/contexts.json")).unwrap();
    let contexts =
        contexts.replace("\"current-context\":\"kind-test\"", "\"current-context\":\"prod\"");
    project.write("fake/contexts.json", &contexts);
    let mut terminal = Terminal::start(&project, 100, &watch(""));
    terminal.wait_until("question", |screen| screen.contains("[y/N]"));
    terminal.press("y\n");
    terminal.wait_for_status(STATUS);
    assert!(terminal.screen().contains("[y/N] y\n"), "{}", terminal.screen());
    terminal.press("q");
    terminal.end();
}
