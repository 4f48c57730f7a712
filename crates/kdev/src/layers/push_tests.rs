//! Tests of the endpoint that Docker pushes to.

use std::io::Write;
use std::net::TcpStream;

use super::*;

#[test]
fn forged_manifest_of_other_user_is_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let layers = LayerCache::open_in(dir.path()).unwrap();
    let diff_id = format!("sha256:{}", "1".repeat(64));
    let config = |command: &str| {
        let json = format!(r#"{{"cmd":"{command}","rootfs":{{"diff_ids":["{diff_id}"]}}}}"#);
        layers.store(json.as_bytes()).unwrap().0
    };
    let manifest = |config: &str, layer: &str| {
        format!(r#"{{"config":{{"digest":"{config}"}},"layers":[{{"digest":"{layer}"}}]}}"#)
    };
    let (own, forged) = (config("own"), config("forged"));
    let image = BuiltImage {
        reference: kdev_core::image::reference::Reference::parse("app:1").unwrap(),
        config_digest: String::new(),
        platform: "linux/amd64".to_owned(),
        size: 1,
        id: String::new(),
        layers: vec![diff_id.clone()],
    };
    let record = |endpoint: &str, id: &str, printed: &str| {
        let session = PushSession::new(layers.clone(), endpoint, &LayerRequest::Unpushed, &image);
        for manifest in [manifest(&own, "own"), manifest(&forged, "forged")] {
            session.received().manifests.add(manifest.into_bytes());
        }
        session.record(id, printed)
    };
    let pushed = kdev_core::image::digest::sha256(manifest(&own, "own").as_bytes());
    let printed = format!("push: digest: {pushed} size: 9\n");
    assert_eq!(record("printed", "", &printed), Some(own.clone()));
    assert_eq!(record("id", &pushed, ""), Some(own.clone()));
    assert_eq!(record("unconfirmed", "", ""), None);
    let known = BTreeMap::from([("own".to_owned(), diff_id.clone())]);
    assert_eq!(layers.known_digests("printed"), known);
    assert!(layers.known_digests("unconfirmed").is_empty());
}

/// A session in a temporary cache, and the directory of incomplete files.
struct Served {
    dir: tempfile::TempDir,
    session: Arc<PushSession>,
}

impl Served {
    fn new(is_disk_full: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layers = LayerCache::open_in(dir.path()).unwrap();
        let layers = if is_disk_full { layers.on_full_disk() } else { layers };
        let image = BuiltImage {
            reference: kdev_core::image::reference::Reference::parse("app:1").unwrap(),
            config_digest: String::new(),
            platform: "linux/amd64".to_owned(),
            size: 1,
            id: String::new(),
            layers: Vec::new(),
        };
        let request = LayerRequest::These(["sha256:1".to_owned()].into());
        Self { dir, session: Arc::new(PushSession::new(layers, "test", &request, &image)) }
    }

    /// Serves the endpoint while `client` uses a connection to it.
    fn run(&self, client: impl FnOnce(TcpStream)) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        serve(listener, &self.session, || client(TcpStream::connect(address).unwrap())).unwrap();
    }

    /// Returns the number of files in a directory of the cache.
    fn count(&self, subdirectory: &str) -> usize {
        std::fs::read_dir(self.dir.path().join("layers").join(subdirectory)).unwrap().count()
    }
}

/// Begins an upload of a stored blob, which is always read completely.
fn begin_upload(to: &mut TcpStream) -> io::Result<()> {
    let digest = format!("sha256:{}", "1".repeat(64));
    let head = format!("PUT /v2/kdev/blobs/upload?digest={digest} HTTP/1.1\r\nHost: kdev\r\n");
    to.write_all(format!("{head}Transfer-Encoding: chunked\r\n\r\n").as_bytes())
}

fn send_chunk(to: &mut TcpStream) -> io::Result<()> {
    to.write_all(b"10000\r\n")?;
    to.write_all(&vec![7; 0x10000])?;
    to.write_all(b"\r\n")
}

#[test]
fn upload_to_full_disk_is_acknowledged_but_not_stored() {
    let served = Served::new(true);
    served.run(|mut client| {
        begin_upload(&mut client).unwrap();
        (0..64).for_each(|_| send_chunk(&mut client).unwrap());
        client.write_all(b"0\r\n\r\n").unwrap();
        let mut response = [0; 12];
        client.read_exact(&mut response).unwrap();
        // Docker would retry a rejected upload.
        assert_eq!(&response, b"HTTP/1.1 201");
    });
    let failure = served.session.received().failure.take().unwrap();
    let dir = served.dir.path().join("layers").display().to_string();
    assert_eq!(
        failure,
        Unavailable::cache_disk_full(format!("the disk of `{dir}` is almost full"))
    );
    assert_eq!((served.count("blobs/sha256"), served.count("ingest")), (0, 0));
}

#[test]
fn incomplete_upload_leaves_nothing() {
    let ends: [fn(TcpStream); 2] = [
        drop,
        // The endpoint closes first.
        |client| std::mem::forget(client),
    ];
    for end in ends {
        let served = Served::new(false);
        served.run(|mut client| {
            begin_upload(&mut client).unwrap();
            while served.count("ingest") == 0 {
                send_chunk(&mut client).unwrap();
            }
            end(client);
        });
        assert_eq!((served.count("blobs/sha256"), served.count("ingest")), (0, 0));
        let received = served.session.received();
        assert!(received.stored.is_empty() && received.committed.is_empty());
        assert!(received.failure.is_none());
    }
}

#[test]
fn number_of_recorded_uploads_is_limited() {
    let served = Served::new(false);
    for number in 0..2 * MAX_COMMITTED {
        served.session.commit_upload(&format!("digest=sha256%3A{number}"));
    }
    served.session.commit_upload(&format!("digest={}", "1".repeat(1 << 20)));
    let committed = std::mem::take(&mut served.session.received().committed);
    assert_eq!(committed.len(), MAX_COMMITTED);
    assert!(committed.contains("sha256:0"));
}
