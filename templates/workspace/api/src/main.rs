//! A service that returns the shared greeting.

use std::io::{Read, Write};
use std::net::TcpListener;

const ADDRESS: &str = "0.0.0.0:8080";

fn main() -> std::io::Result<()> {
    let page = greeting::greeting("api");
    let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{page}", page.len());
    let listener = TcpListener::bind(ADDRESS)?;
    println!("listening on {ADDRESS}");
    loop {
        let (mut client, _) = listener.accept()?;
        // A client may disconnect at any time.
        let _ = client.read(&mut [0; 1024]).and_then(|_| client.write_all(response.as_bytes()));
    }
}
