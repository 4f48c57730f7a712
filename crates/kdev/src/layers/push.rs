//! A registry endpoint on loopback, for docker to push to: it says of each
//! layer whether that is needed, so that docker reads and compresses just what
//! is.
//!
//! The protocol is that of the OCI distribution spec ("Pushing blobs", "Pushing
//! manifests"), as far as docker uses it. docker remembers under which digest
//! it has pushed a layer to a host, asks for that one with HEAD, and sends what
//! is said to be absent. A layer that it has never pushed here it sends
//! unasked. Where those are too many to be worth it, the endpoint is in a
//! hurry: it confirms each upload after its first bytes. That teaches docker a
//! name for the layer, good for the next push, and costs nothing.
//!
//! A docker with the containerd image store knows layers by their blobs. It asks
//! for each of them, tells in `Accept` that it is a layer, and sends it as it
//! lies there, in one request: nothing is compressed, and there is no hurry.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io::{self, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ACCEPT, CONTENT_LENGTH, HeaderMap, LOCATION, RANGE};
use hyper::http::response::Builder;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kdev_core::image::archive;
use kdev_core::image::built::BuiltImage;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

use crate::layers::cache::{Blob, LayerCache};

/// docker's memory is one of host and port, so an image keeps to one of these
/// as long as no other run is using it.
const FIRST_PORT: u16 = 47_600;
const PORT_COUNT: u16 = 100;
/// How much of an upload is read in a hurry. Two layers must not look alike.
const SNIFF_BYTES: u64 = 16 << 10;
/// How much compressed data is worth it, whatever the image's size. docker
/// compresses about 30 MB a second; a whole image goes at about 75.
pub(crate) const MAX_PUSH_BYTES: u64 = 16 << 20;

/// Which layers docker shall send.
pub(crate) enum LayerRequest {
    /// Those that it has never pushed here.
    Unpushed,
    /// These.
    These(BTreeSet<String>),
}

/// One push: what is wanted of it, and what came.
struct PushSession {
    layers: LayerCache,
    endpoint: String,
    /// Digest → diffID, as far as docker's memory is known.
    known_digests: BTreeMap<String, String>,
    requested: BTreeSet<String>,
    /// The image's layers, from the lowest up.
    diff_ids: Vec<String>,
    /// How much compressed data may come.
    max_bytes: u64,
    abbreviate_uploads: AtomicBool,
    uploads: AtomicUsize,
    compressed_bytes: AtomicU64,
    received: Mutex<Received>,
}

/// What came.
#[derive(Default)]
struct Received {
    committed: BTreeSet<String>,
    stored: BTreeMap<String, String>,
    digests: BTreeMap<String, String>,
    config_digest: Option<String>,
    /// Uploads that were confirmed early. Dropped, they would be reset before
    /// docker has read that.
    abandoned_uploads: Vec<Incoming>,
}

/// The image manifest: what of it tells how docker names layers.
#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
}

/// How an upload comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Upload {
    /// docker compresses it on its way.
    Compressed,
    /// As it lies in docker's store.
    Stored,
}

/// Takes a port and lets `push` run, if that would bring anything. Gives the
/// digest of the image's configuration, if docker has told it.
pub(crate) fn serve<T>(
    layers: &LayerCache,
    wanted: &LayerRequest,
    image: &BuiltImage,
    push: impl FnOnce(&str) -> T,
) -> io::Result<Option<String>> {
    let listener = listen(&image.reference.name().to_string())?;
    let endpoint = listener.local_addr()?.to_string();
    let desk = Arc::new(PushSession::new(layers.clone(), &endpoint, wanted, image));
    if desk.is_complete(image) {
        return Ok(None);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (stop, stopped) = oneshot::channel::<()>();
    thread::scope(|scope| {
        let serving =
            scope.spawn(|| runtime.block_on(accept(listener, Arc::clone(&desk), stopped)));
        push(&endpoint);
        drop(stop);
        serving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        desk.record_digests();
        Ok(desk.received().config_digest.take())
    })
}

fn listen(image: &str) -> io::Result<TcpListener> {
    let own = image.bytes().fold(0, |sum: u16, byte| sum.wrapping_mul(31) ^ u16::from(byte));
    let port = |turn| FIRST_PORT + (own % PORT_COUNT + turn) % PORT_COUNT;
    let bind = |turn| TcpListener::bind((Ipv4Addr::LOCALHOST, port(turn))).ok();
    let listener = (0..PORT_COUNT).find_map(bind).ok_or(io::ErrorKind::AddrInUse)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves until `stopped` is dropped.
async fn accept(
    listener: TcpListener,
    desk: Arc<PushSession>,
    stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let desk = Arc::clone(&desk);
            let service = service_fn(move |request| handle_request(Arc::clone(&desk), request));
            // Whatever goes wrong with a connection, docker will tell.
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    let _ = stopped.await;
    Ok(())
}

async fn handle_request(
    desk: Arc<PushSession>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let last = path.rsplit('/').next().unwrap_or_default();
    let response = match head.method {
        Method::HEAD if path.contains("/blobs/") => desk.head_blob(last, is_layer(&head.headers)),
        Method::POST => accepted(path, 0),
        Method::PATCH => accepted(path, desk.receive_upload(body, Upload::Compressed).await),
        Method::PUT if path.contains("/manifests/") => desk.receive_manifest(body).await,
        Method::PUT => {
            if !body.is_end_stream() {
                desk.receive_upload(body, Upload::Stored).await;
            }
            desk.commit_upload(head.uri.query().unwrap_or_default())
        }
        Method::GET if path == "/v2/" => status(StatusCode::OK),
        _ => status(StatusCode::NOT_FOUND),
    };
    // Only a header that is no header could fail.
    Ok(response.body(Full::default()).unwrap_or_default())
}

/// Whether docker asks for a layer, as far as it tells (`…image.layer.v1.tar…` of
/// the OCI image spec, "Media types", or docker's `…image.rootfs.diff.tar…`).
fn is_layer(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.contains(".layer.") || accept.contains(".rootfs.")
}

fn status(code: StatusCode) -> Builder {
    Response::builder().status(code)
}

/// An upload goes on at its own place; its id is of no use to anybody.
fn accepted(path: &str, bytes: u64) -> Builder {
    let place = format!("{}/upload", path.trim_end_matches('/').trim_end_matches("/upload"));
    let range = format!("0-{}", bytes.saturating_sub(1));
    status(StatusCode::ACCEPTED).header(LOCATION, place).header(RANGE, range)
}

fn created(digest: &str) -> Builder {
    status(StatusCode::CREATED)
        .header("Docker-Content-Digest", digest)
        .header(LOCATION, format!("/v2/kdev/blobs/{digest}"))
}

impl PushSession {
    fn new(layers: LayerCache, endpoint: &str, wanted: &LayerRequest, image: &BuiltImage) -> Self {
        let memory = layers.known_digests(endpoint);
        let wanted = match wanted {
            LayerRequest::Unpushed => unpushed_layers(image, &layers, &memory),
            LayerRequest::These(these) => these.clone(),
        };
        Self {
            known_digests: memory,
            layers,
            endpoint: endpoint.to_owned(),
            abbreviate_uploads: AtomicBool::new(wanted.is_empty()),
            requested: wanted,
            diff_ids: image.layers.clone(),
            max_bytes: MAX_PUSH_BYTES.max(image.size / 5),
            uploads: AtomicUsize::new(0),
            compressed_bytes: AtomicU64::new(0),
            received: Mutex::default(),
        }
    }

    /// Whether nothing is wanted, and there is nothing that docker could learn.
    fn is_complete(&self, image: &BuiltImage) -> bool {
        let learned: BTreeSet<&String> = self.known_digests.values().collect();
        self.requested.is_empty()
            && self.layers.config(&image.config_digest).is_some()
            && image.layers.iter().all(|diff_id| learned.contains(diff_id))
    }

    fn received(&self) -> std::sync::MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn head_blob(&self, digest: &str, is_layer: bool) -> Builder {
        let unwanted = match self.known_digests.get(digest) {
            Some(diff_id) => !self.requested.contains(diff_id),
            // It may be any of them.
            None => is_layer && self.requested.is_empty(),
        };
        if unwanted || self.received().committed.contains(digest) {
            // docker reads the length of a layer that it need not send, and
            // puts it into the manifest; nobody else does.
            let found = status(StatusCode::OK).header("Docker-Content-Digest", digest);
            return found.header(CONTENT_LENGTH, 1);
        }
        status(StatusCode::NOT_FOUND)
    }

    /// Takes an upload in, or its first bytes if in a hurry. What cannot be
    /// kept is a reason to hurry, too: docker would repeat a refused upload for
    /// most of a minute.
    async fn receive_upload(&self, mut body: Incoming, upload: Upload) -> u64 {
        let (send, frames) = mpsc::channel::<Bytes>(16);
        let (done, kept) = oneshot::channel();
        let layers = self.layers.clone();
        thread::spawn(move || done.send(layers.store(UploadReader { frames, rest: Bytes::new() })));
        let (mut bytes, mut is_config) = (0, false);
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(data) = frame.into_data() else { continue };
            if bytes == 0 {
                is_config = data.first() == Some(&b'{');
            }
            if upload == Upload::Compressed && !is_config {
                self.count_upload(data.len() as u64, bytes == 0);
            }
            bytes += data.len() as u64;
            if send.send(data).await.is_err() {
                self.abbreviate_uploads.store(true, Ordering::SeqCst);
            }
            let is_enough = upload == Upload::Compressed && bytes >= SNIFF_BYTES && !is_config;
            if is_enough && self.abbreviate_uploads.load(Ordering::SeqCst) {
                self.received().abandoned_uploads.push(body);
                return bytes;
            }
        }
        drop(send);
        if let Ok(Ok((digest, Blob::Layer(layer)))) = kept.await {
            self.received().stored.insert(digest, layer.diff_id);
        }
        bytes
    }

    /// More uploads than wanted layers: docker remembers too little. More bytes
    /// than are worth it: a whole image is there sooner.
    fn count_upload(&self, bytes: u64, is_new: bool) {
        let uploads = self.uploads.fetch_add(usize::from(is_new), Ordering::SeqCst);
        let is_unasked = is_new && uploads >= self.requested.len();
        if is_unasked || self.compressed_bytes.fetch_add(bytes, Ordering::SeqCst) > self.max_bytes {
            self.abbreviate_uploads.store(true, Ordering::SeqCst);
        }
    }

    fn commit_upload(&self, query: &str) -> Builder {
        let digest = query.split('&').find_map(|pair| pair.strip_prefix("digest="));
        let digest = digest.unwrap_or_default().replace("%3A", ":");
        self.received().committed.insert(digest.clone());
        created(&digest)
    }

    /// The manifest's layers stand in the order of the image's diffIDs: so it
    /// tells which digest docker has for which layer. Of several manifests, one
    /// for each platform, it is the one whose configuration names these layers.
    async fn receive_manifest(&self, body: Incoming) -> Builder {
        let Ok(body) = body.collect().await else { return status(StatusCode::BAD_REQUEST) };
        let bytes = body.to_bytes();
        if let Ok(Manifest { config, layers }) = serde_json::from_slice(&bytes)
            && self.layers.config(&config.digest).and_then(|json| archive::diff_ids(&json)).as_ref()
                == Some(&self.diff_ids)
        {
            let digests = layers.into_iter().map(|layer| layer.digest);
            let mut taken = self.received();
            taken.digests = digests.zip(self.diff_ids.iter().cloned()).collect();
            taken.config_digest = Some(config.digest);
        }
        created(&kdev_core::image::digest::sha256(&bytes))
    }

    fn record_digests(&self) {
        let mut taken = self.received();
        let came = std::mem::take(&mut taken.stored);
        let learned = taken.digests.iter().map(|(k, v)| (k.clone(), v.clone()));
        let known: BTreeMap<String, String> = came.into_iter().chain(learned).collect();
        if !known.is_empty() {
            self.layers.record_digests(&self.endpoint, &known);
        }
    }
}

/// The layers that docker has never pushed here; none if they are too many to
/// be worth it.
fn unpushed_layers(image: &BuiltImage, layers: &LayerCache, memory: &BTreeMap<String, String>) -> BTreeSet<String> {
    let learned: BTreeSet<&String> = memory.values().collect();
    let is_new = |diff_id: &&String| !learned.contains(diff_id) && layers.get(diff_id).is_none();
    let new: BTreeSet<String> = image.layers.iter().filter(is_new).cloned().collect();
    let is_all = image.layers.iter().all(|diff_id| new.contains(diff_id));
    if is_all && image.size > MAX_PUSH_BYTES { BTreeSet::new() } else { new }
}

/// An upload, read by a thread that may block.
struct UploadReader {
    frames: mpsc::Receiver<Bytes>,
    rest: Bytes,
}

impl Read for UploadReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.frames.blocking_recv() {
                Some(frame) => self.rest = frame,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.rest.len());
        buffer[..count].copy_from_slice(&self.rest.split_to(count));
        Ok(count)
    }
}
