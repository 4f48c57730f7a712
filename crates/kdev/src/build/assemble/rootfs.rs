//! The files that a program expects in an image without a base. They never change, so a node
//! gets their layer once.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kdev_core::image::assembly::{Content, Entry};

/// Where OpenSSL and most other libraries look for certificates.
const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";
/// The users and groups: `root`, and the default user of the container.
const PASSWD: &str =
    "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnonroot:x:65532:\n";
/// The C libraries look up names in `/etc/hosts` first, which Kubernetes writes.
const NSSWITCH: &str = "hosts: files dns\n";
/// The characters of a line in a PEM file (RFC 7468).
const PEM_LINE: usize = 64;

/// Returns the files. A base has its own, except for the certificates, perhaps.
pub(super) fn entries(has_base: bool, has_certificates: bool) -> Vec<Entry<'static>> {
    let mut entries = if has_base { Vec::new() } else { own_entries() };
    if has_certificates {
        entries.push(file(CERTIFICATES, certificates().into_bytes()));
    }
    entries
}

fn own_entries() -> Vec<Entry<'static>> {
    vec![
        file("etc/group", GROUP.as_bytes().to_vec()),
        file("etc/nsswitch.conf", NSSWITCH.as_bytes().to_vec()),
        file("etc/passwd", PASSWD.as_bytes().to_vec()),
        directory("home/nonroot", 0o700, (65532, 65532)),
        directory("tmp", 0o1777, (0, 0)),
    ]
}

fn file(path: &str, content: Vec<u8>) -> Entry<'static> {
    let size = content.len() as u64;
    Entry {
        path: path.to_owned(),
        mode: 0o644,
        owner: (0, 0),
        content: Content::File(Box::new(std::io::Cursor::new(content)), size),
    }
}

fn directory(path: &str, mode: u32, owner: (u64, u64)) -> Entry<'static> {
    Entry { path: path.to_owned(), mode, owner, content: Content::Directory }
}

/// Returns Mozilla's certificate authorities as PEM.
fn certificates() -> String {
    let mut pem = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = STANDARD.encode(certificate.as_ref());
        for line in encoded.as_bytes().chunks(PEM_LINE) {
            pem.extend(line.iter().map(|byte| char::from(*byte)));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    pem
}
