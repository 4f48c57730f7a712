//! A small HTTP server with only the standard library.

use std::io::{Read, Write};
use std::net::TcpListener;

const ADDRESS: &str = "0.0.0.0:8080";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\nhello, cluster\n";

fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind(ADDRESS)?;
    println!("listening on {ADDRESS}");
    loop {
        let (mut client, _) = listener.accept()?;
        // A client may disconnect at any time.
        let _ = client.read(&mut [0; 1024]).and_then(|_| client.write_all(RESPONSE));
    }
}
