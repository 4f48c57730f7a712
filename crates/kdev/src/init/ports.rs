//! Finds the ports that a program listens on, in its source code.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::init::code::{self, Line};

/// A port that the program listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) number: u16,
    /// Whether only clients on the same machine reach it.
    pub(crate) is_loopback: bool,
    /// The line in the source file.
    pub(crate) line: usize,
}

/// Calls that listen on their argument.
const LISTENS: [&str; 5] = ["bind(", "listen(", "serve(", "Server::http(", "Server::new("];
/// An address before a port as a number, without spaces, and whether it is a loopback address.
const ADDRESSES: [(&str, bool); 12] = [
    ("[0,0,0,0],", false),
    ("(0,0,0,0),", false),
    ("UNSPECIFIED,", false),
    ("UNSPECIFIED),", false),
    ("UNSPECIFIED.into(),", false),
    ("\"0.0.0.0\",", false),
    ("\"::\",", false),
    ("[127,0,0,1],", true),
    ("(127,0,0,1),", true),
    ("LOCALHOST,", true),
    ("\"127.0.0.1\",", true),
    ("\"localhost\",", true),
];

/// Returns the ports in the order of the lines, each once.
pub(crate) fn find(lines: &[Line]) -> Vec<Port> {
    let mut ports: Vec<Port> = Vec::new();
    for line in lines {
        let port = |(number, is_loopback)| Port { number, is_loopback, line: line.number };
        if let Some(port) = in_line(lines, line).map(port)
            && !ports.iter().any(|known| known.number == port.number)
        {
            ports.push(port);
        }
    }
    ports
}

/// Returns the port in a line, and whether it is on a loopback address.
fn in_line(lines: &[Line], line: &Line) -> Option<(u16, bool)> {
    let code = &line.code;
    let literal = code::literals(code).find_map(parse_address);
    let compact: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    let tuple = || {
        ADDRESSES.iter().find_map(|(address, is_loopback)| {
            let (_, rest) = compact.split_once(address)?;
            Some((leading_number(rest)?, *is_loopback))
        })
    };
    match literal.or_else(tuple) {
        // Programs also connect to ports of this machine.
        Some((_, true)) if !is_listening(lines, code) => None,
        Some(found) => Some(found),
        None => constant(lines, &compact).map(|port| (port, false)),
    }
}

/// Parses `0.0.0.0:8080`, `[::]:8080`, `localhost:8080` and similar addresses.
fn parse_address(text: &str) -> Option<(u16, bool)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    if host == "localhost" {
        return Some((port, true));
    }
    let v6 = || host.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    let (is_any, is_loopback) = match host.parse::<Ipv4Addr>() {
        Ok(address) => (address.is_unspecified(), address.is_loopback()),
        Err(_) => v6().map(|address| (address.is_unspecified(), address.is_loopback()))?,
    };
    (is_any || is_loopback).then_some((port, is_loopback))
}

/// Returns whether the line listens on its address, or defines a name on which another line
/// listens.
fn is_listening(lines: &[Line], code: &str) -> bool {
    let listens = |code: &str| LISTENS.iter().any(|call| code.contains(call));
    let mut words = code::words(code).skip_while(|word| !["const", "static", "let"].contains(word));
    let name = words.find(|word| !["const", "static", "let", "mut"].contains(word));
    listens(code)
        || name.is_some_and(|name| {
            lines.iter().any(|line| {
                line.code != code
                    && listens(&line.code)
                    && code::words(&line.code).any(|word| word == name)
            })
        })
}

/// Returns the value of a constant such as `const PORT: u16 = 8080;`, if a line listens.
fn constant(lines: &[Line], compact: &str) -> Option<u16> {
    let (before, value) = compact.split_once(":u16=")?;
    let name = before.to_lowercase();
    let is_used = || lines.iter().any(|line| LISTENS.iter().any(|call| line.code.contains(call)));
    if !name.ends_with("port") || !is_used() {
        return None;
    }
    leading_number(value)
}

fn leading_number(text: &str) -> Option<u16> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    text[..end].replace('_', "").parse().ok().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_found_where_program_listens() {
        let table: [(&str, &[(u16, bool)]); 16] = [
            (r#"TcpListener::bind("0.0.0.0:8080")?;"#, &[(8080, false)]),
            (r#"TcpListener::bind("[::]:8080")?;"#, &[(8080, false)]),
            (r#"TcpListener::bind(("0.0.0.0", 8_080)).await"#, &[(8080, false)]),
            ("let addr = SocketAddr::from(([0, 0, 0, 0], 3000));", &[(3000, false)]),
            ("warp::serve(routes).run(([127, 0, 0, 1], 3030)).await;", &[(3030, true)]),
            ("bind((Ipv4Addr::UNSPECIFIED, 9000))", &[(9000, false)]),
            ("SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9000)", &[(9000, false)]),
            (r#"HttpServer::new(app).bind("127.0.0.1:8080")"#, &[(8080, true)]),
            ("const A: &str = \"localhost:80\";\nServer::http(A)", &[(80, true)]),
            ("const PORT: u16 = 7000;\nbind(format!(\"0.0.0.0:{PORT}\"))", &[(7000, false)]),
            // Other programs, and addresses without a port.
            (r#"let db = connect("127.0.0.1:5432");"#, &[]),
            (r#"get("http://localhost:8080/")"#, &[]),
            (r#"bind("0.0.0.0:0")"#, &[]),
            ("// bind(\"0.0.0.0:1\")", &[]),
            ("const PORT: u16 = 7000;", &[]),
            ("bind(\"0.0.0.0:80\");\nbind(\"0.0.0.0:81\");", &[(80, false), (81, false)]),
        ];
        for (text, expected) in table {
            let found = find(&code::lines(text));
            let found: Vec<_> = found.iter().map(|port| (port.number, port.is_loopback)).collect();
            assert_eq!(found, expected, "{text}");
        }
    }
}
