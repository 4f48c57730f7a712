//! A small HTTP service that returns a greeting, its pod and its node.

use std::env;
use std::io;
use std::sync::Arc;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tiny_http::{Response, Server};

const ADDRESS: &str = "0.0.0.0:8080";
const GREETING: &str = "hello, cluster";

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let server = Arc::new(Server::http(ADDRESS)?);
    let stopping = Arc::clone(&server);
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    thread::spawn(move || {
        signals.forever().next();
        stopping.unblock();
    });
    println!("listening on {ADDRESS}");
    serve(&server)?;
    println!("stopped");
    Ok(())
}

/// Serves requests until the server is unblocked.
fn serve(server: &Server) -> io::Result<()> {
    for request in server.incoming_requests() {
        let answer = match request.url() {
            "/" => Response::from_string(page()),
            "/healthz" => Response::from_string("ok\n"),
            _ => Response::from_string("not found\n").with_status_code(404),
        };
        // A client may disconnect before it reads the response.
        let _ = request.respond(answer);
    }
    Ok(())
}

fn page() -> String {
    let known = |name: &str| env::var(name).unwrap_or_else(|_| "unknown".to_owned());
    format!("{GREETING}\npod {} on node {}\n", known("POD_NAME"), known("NODE_NAME"))
}
