//! The pod of a Deployment, and its answers.

use crate::bench::inner_loop::service::Save;
use crate::bench::methods::Bench;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How often a pod is asked for its marker.
const INTERVAL: Duration = Duration::from_millis(10);
/// How long a pod that does not answer is waited for, until the newest one is asked again.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(100);
const TIMEOUT: Duration = Duration::from_secs(120);
/// The name and the address of a pod.
const COLUMNS: &str = r#"jsonpath={.metadata.name} {.status.podIP}{"\n"}"#;

/// The newest pod of a namespace.
pub(super) struct NewestPod {
    child: Child,
    found: Arc<Mutex<Vec<(String, String)>>>,
}

impl NewestPod {
    pub(super) fn follow(bench: &Bench, namespace: &str) -> Result<Self> {
        let get = bench.kubectl(namespace, &["get", "pods", "--watch", "--output", COLUMNS]);
        let mut child = Command::from(get).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        let found: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let list = found.clone();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let Some((name, address)) = line.split_once(' ') else { continue };
                let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
                if !address.is_empty() && !list.iter().any(|(known, _)| known == name) {
                    list.push((name.to_owned(), address.to_owned()));
                }
            }
        });
        Ok(Self { child, found })
    }

    fn newest(&self) -> Option<(String, String)> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).last().cloned()
    }

    pub(super) fn name(&self) -> Result<String> {
        Ok(self.newest().context("no pod was found")?.0)
    }

    /// Waits until the pod answers with the marker. Returns the seconds since the save.
    pub(super) fn wait_for(&self, save: &Save) -> Result<f64> {
        loop {
            let asked = Instant::now();
            let answer = self.newest().and_then(|(_, address)| ask(&address));
            if answer.is_some_and(|answer| answer.contains(&save.marker)) {
                return Ok(save.start.elapsed().as_secs_f64());
            }
            if save.start.elapsed() > TIMEOUT {
                bail!("no pod has answered with `{}` in {TIMEOUT:?}", save.marker);
            }
            thread::sleep(INTERVAL.saturating_sub(asked.elapsed()));
        }
    }
}

impl Drop for NewestPod {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ask(address: &str) -> Option<String> {
    let address = SocketAddr::new(address.parse().ok()?, 8080);
    let mut stream = TcpStream::connect_timeout(&address, REQUEST_TIMEOUT).ok()?;
    stream.set_read_timeout(Some(REQUEST_TIMEOUT)).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
