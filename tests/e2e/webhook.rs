//! A validating admission webhook in the test process.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::{fs, thread};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::lab::state;

/// Starts a webhook that denies an object if `rule` returns a reason. Returns the
/// `clientConfig` with which the API server calls it.
pub(crate) fn serve(rule: fn(&Value) -> Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // The certificate of the API server is also valid for this address.
    let chain = CertificateDer::from_pem_file(state("pki/apiserver.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(state("pki/apiserver.key")).unwrap();
    let config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![chain], key).unwrap();
    let config = Arc::new(config);
    thread::spawn(move || {
        for stream in listener.incoming() {
            // Errors are ignored: the API server repeats an aborted request.
            let _ = respond(Arc::clone(&config), stream.unwrap(), rule);
        }
    });
    let authority = BASE64_STANDARD.encode(fs::read(state("pki/ca.crt")).unwrap());
    format!("{{url: \"https://127.0.0.1:{port}/\", caBundle: {authority}}}")
}

fn respond(
    config: Arc<ServerConfig>,
    stream: TcpStream,
    rule: fn(&Value) -> Option<&'static str>,
) -> io::Result<()> {
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    let mut length = 0;
    let mut line = String::new();
    while stream.read_line(&mut line)? > "\r\n".len() {
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        line.clear();
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let review: Value = serde_json::from_slice(&body)?;
    let refusal = rule(&review["request"]["object"]);
    let mut response = json!({"uid": review["request"]["uid"], "allowed": refusal.is_none()});
    if let Some(why) = refusal {
        response["status"] = json!({"message": why});
    }
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": response})
    .to_string();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
    let stream = stream.get_mut();
    write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{review}", review.len())?;
    stream.flush()
}
