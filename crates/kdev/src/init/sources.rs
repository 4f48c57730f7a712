//! Finds the source files of a program, and the facts in them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::init::Result;
use crate::init::code::{self, Line};
use crate::init::ports::{self, Port};
use crate::process;

/// Words of a program that keeps running: loops, waiting, and calls of servers.
const KEEPS_RUNNING: [&str; 22] = [
    "accept",
    "await",
    "bind",
    "block_on",
    "forever",
    "incoming",
    "join",
    "launch",
    "listen",
    "loop",
    "park",
    "recv",
    "recv_timeout",
    "run",
    "serve",
    "sleep",
    "spawn",
    "start",
    "wait",
    "while",
    "main_loop",
    "event_loop",
];
/// Words of a program that handles SIGTERM. `actix_web` and `rocket` do it themselves.
const HANDLES_SIGTERM: [&str; 6] =
    ["SIGTERM", "terminate", "ctrlc", "signal_hook", "actix_web", "rocket"];
/// Words of a program that writes temporary files.
const USES_TMP: [&str; 4] = ["temp_dir", "tempfile", "tempdir", "NamedTempFile"];
/// Frameworks that parse HTTP, so that an empty connection does no harm.
const PARSES_HTTP: [&str; 8] =
    ["actix_web", "axum", "hyper", "poem", "rocket", "salvo", "tiny_http", "warp"];
/// Paths of health checks.
const HEALTH_PATHS: [&str; 7] =
    ["/healthz", "/readyz", "/livez", "/health", "/ready", "/health/ready", "/actuator/health"];
/// Variables that the pod can get from Kubernetes, with their fields.
const POD_FIELDS: [(&str, &str); 5] = [
    ("POD_NAME", "metadata.name"),
    ("POD_NAMESPACE", "metadata.namespace"),
    ("POD_IP", "status.podIP"),
    ("NODE_NAME", "spec.nodeName"),
    ("HOST_IP", "status.hostIP"),
];

/// A source file: its path relative to the package, and its code.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) lines: Vec<Line>,
}

/// A place in a source file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) path: PathBuf,
    pub(crate) line: usize,
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.line)
    }
}

/// The facts in the source code of a program.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "one per fact")]
pub(crate) struct SourceFacts {
    /// The ports that the program listens on; those of the main file come first.
    pub(crate) ports: Vec<(Port, Location)>,
    /// Where the variable `PORT` is read.
    pub(crate) port_variable: Option<Location>,
    /// The path of a health check.
    pub(crate) health_path: Option<(&'static str, Location)>,
    /// Whether the program writes HTTP responses without a framework.
    pub(crate) writes_http: bool,
    /// The first sign that the program keeps running.
    pub(crate) keeps_running: Option<Location>,
    pub(crate) handles_sigterm: bool,
    /// Whether the program uses tokio.
    pub(crate) is_async: bool,
    pub(crate) uses_tmp: bool,
    /// The variables that Kubernetes can set, with their fields.
    pub(crate) pod_fields: Vec<(&'static str, &'static str)>,
}

/// Reads the source files of the package: the main file, then the others in the folder of
/// sources. Other binaries in `src/bin` are left out.
pub(crate) fn read(dir: &Path, main: &Path) -> Result<Vec<Source>> {
    let mut paths = vec![main.to_owned()];
    let folder = main.parent().unwrap_or(dir);
    collect(folder, main, &mut paths)?;
    let read = |path: &PathBuf| {
        // Not UTF-8: cargo reports it.
        let bytes = fs::read(path).map_err(process::Error::read(path))?;
        let lines = code::lines(&String::from_utf8_lossy(&bytes));
        Ok(Source { path: path.strip_prefix(dir).unwrap_or(path).to_owned(), lines })
    };
    paths.iter().map(read).collect()
}

fn collect(folder: &Path, main: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(process::Error::read(folder))?;
    let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        let is_other_program = path.ends_with("src/bin") || path.ends_with("target");
        // A linked folder may contain itself.
        if path.is_dir() && !path.is_symlink() && !is_other_program {
            collect(&path, main, paths)?;
        } else if path.extension().is_some_and(|end| end == "rs") && path != main && path.is_file()
        {
            paths.push(path);
        }
    }
    Ok(())
}

impl SourceFacts {
    /// Finds the facts in the sources.
    pub(crate) fn find(sources: &[Source]) -> Self {
        let mut facts = Self::default();
        let (mut has_framework, mut has_http) = (false, false);
        for source in sources {
            let location = |line| Location { path: source.path.clone(), line };
            for port in ports::find(&source.lines) {
                let line = port.line;
                facts.ports.push((port, location(line)));
            }
            for Line { number, code } in &source.lines {
                let has = |words: &[&str]| code::words(code).any(|word| words.contains(&word));
                has_framework |= has(&PARSES_HTTP);
                facts.handles_sigterm |= has(&HANDLES_SIGTERM);
                facts.uses_tmp |= has(&USES_TMP);
                facts.is_async |= has(&["tokio"]);
                if has(&KEEPS_RUNNING) || (has(&["main"]) && has(&["tokio", "actix_web"])) {
                    facts.keeps_running.get_or_insert_with(|| location(*number));
                }
                for literal in code::literals(code) {
                    has_http |= literal.contains("HTTP/1.");
                    facts.uses_tmp |= literal == "/tmp" || literal.starts_with("/tmp/");
                    facts.add_literal(literal, || location(*number));
                }
            }
        }
        facts.writes_http = has_http && !has_framework;
        // A server that other machines reach is more likely the service.
        facts.ports.sort_by_key(|(port, _)| port.is_loopback);
        facts
    }

    fn add_literal(&mut self, literal: &str, location: impl Fn() -> Location) {
        if literal == "PORT" {
            self.port_variable.get_or_insert_with(&location);
        }
        if let Some(path) = HEALTH_PATHS.into_iter().find(|path| *path == literal) {
            self.health_path.get_or_insert_with(|| (path, location()));
        }
        if let Some(field) = POD_FIELDS.into_iter().find(|(name, _)| *name == literal)
            && !self.pod_fields.contains(&field)
        {
            self.pod_fields.push(field);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(text: &str) -> SourceFacts {
        let source = Source { path: "src/main.rs".into(), lines: code::lines(text) };
        SourceFacts::find(&[source])
    }

    #[test]
    fn program_that_ends_has_no_sign_of_running() {
        let table = [
            ("fn main() {\n    println!(\"Hello, world!\");\n}", None),
            ("fn main() { for x in 0..3 { println!(\"{x}\"); } }", None),
            ("fn main() { // loop\n println!(\"while\") }", None),
            ("fn main() {\n loop {} }", Some(2)),
            ("fn main() { for s in listener.incoming() {} }", Some(1)),
            ("#[tokio::main]\nasync fn main() { app::go().await }", Some(1)),
            ("fn main() { app::run() }", Some(1)),
        ];
        for (text, expected) in table {
            assert_eq!(facts(text).keeps_running.map(|at| at.line), expected, "{text}");
        }
    }

    #[test]
    fn facts_of_source_are_found() {
        let found = facts(
            "fn main() {
                let l = TcpListener::bind(\"127.0.0.1:7000\")?;
                TcpListener::bind(\"0.0.0.0:8080\")?;
                s.write_all(b\"HTTP/1.1 200 OK\");
                env::var(\"POD_NAME\"); env::var(\"PORT\"); \"/healthz\"; \"/tmp/x\";
            }",
        );
        let numbers: Vec<u16> = found.ports.iter().map(|(port, _)| port.number).collect();
        assert_eq!(numbers, [8080, 7000]);
        assert_eq!(found.ports[0].1.to_string(), "src/main.rs:3");
        assert!(found.writes_http && found.uses_tmp && !found.handles_sigterm && !found.is_async);
        assert_eq!(found.pod_fields, [("POD_NAME", "metadata.name")]);
        assert_eq!(found.health_path.unwrap().0, "/healthz");
        assert_eq!(found.port_variable.unwrap().line, 5);
        assert!(!facts("use axum; \"HTTP/1.1\"").writes_http);
    }

    #[test]
    fn sigterm_handlers_are_found() {
        for text in [
            "Signals::new([SIGTERM])",
            "signal(SignalKind::terminate())",
            "ctrlc::set_handler(f)",
            "use actix_web::App;",
        ] {
            assert!(facts(text).handles_sigterm, "{text}");
        }
        // It only handles SIGINT.
        assert!(!facts("tokio::signal::ctrl_c().await").handles_sigterm);
    }
}
