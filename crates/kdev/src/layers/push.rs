//! A registry endpoint on the loopback interface that Docker pushes to. It reports which
//! layers are needed, so that Docker reads and compresses no others.
//!
//! It implements the OCI distribution spec ("Pushing blobs", "Pushing manifests") as far as
//! Docker uses it. Docker records the digest of each layer that it has pushed to a host. In
//! the next push it checks for this digest with HEAD, and only uploads the layer if it does
//! not exist. A layer that was never pushed to the host is always uploaded. If too many
//! layers are new, the endpoint acknowledges each upload after its first bytes without
//! reading the rest. Docker then has a digest for the layer, which the next push can use.
//!
//! With the containerd image store, Docker has the digests of all layers. It checks for each
//! of them with HEAD, with a layer's media type in `Accept`, and uploads the stored blob in
//! one request. Nothing is compressed, so these uploads are always read completely.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io::{self, Read};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ACCEPT, CONTENT_LENGTH, HeaderMap, LOCATION, RANGE};
use hyper::http::response::Builder;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kdev_core::image::archive;
use kdev_core::image::built::BuiltImage;
use kdev_core::image::pushed::PushedManifests;
use tokio::sync::{mpsc, oneshot};
use tokio::task;

use crate::cx::Cx;
use crate::docker::{self, Docker};
use crate::layers::cache::{Blob, LayerCache};
use crate::layers::unavailable::Unavailable;

/// How much of an abbreviated upload is read. It must be enough to distinguish layers.
const SNIFF_BYTES: u64 = 16 << 10;
/// How much compressed data is always accepted, for an image of any size. Docker compresses
/// about 25 MB/s, while `docker save` writes about 75 MB/s.
pub(crate) const MAX_PUSH_BYTES: u64 = 16 << 20;
/// How many uploads are recorded: other users of the machine can push any number.
const MAX_COMMITTED: usize = 1024;
/// The length of a digest is at most this.
const MAX_DIGEST_BYTES: usize = 256;
/// Larger manifests are rejected; containerd has the same limit.
const MAX_MANIFEST_BYTES: usize = 8 << 20;

/// The layers that Docker must push.
pub(crate) enum LayerRequest {
    /// The layers that it has never pushed to this endpoint.
    Unpushed,
    /// The layers with these diffIDs.
    These(BTreeSet<String>),
}

/// One push: the requested and the received layers.
struct PushSession {
    layers: LayerCache,
    endpoint: String,
    /// The diffIDs of the digests that Docker is known to have recorded.
    known_digests: BTreeMap<String, String>,
    requested: BTreeSet<String>,
    /// The image's layers, the base first.
    diff_ids: Vec<String>,
    /// How much compressed data is accepted.
    max_bytes: u64,
    abbreviate_uploads: AtomicBool,
    /// Whether Docker has sent a request.
    is_reached: AtomicBool,
    uploads: AtomicUsize,
    compressed_bytes: AtomicU64,
    received: Mutex<Received>,
}

/// A part of an upload; `None` after the last one.
type Frame = Option<Bytes>;

/// What was received.
#[derive(Default)]
struct Received {
    committed: BTreeSet<String>,
    stored: BTreeMap<String, String>,
    manifests: PushedManifests,
    /// Why an upload was not stored.
    failure: Option<Unavailable>,
    /// Uploads that were acknowledged early. They are kept because dropping them would reset
    /// the connection before Docker has read the response.
    abandoned_uploads: Vec<Incoming>,
}

/// The source of an upload.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Upload {
    /// A layer that Docker compresses during the upload.
    Compressed,
    /// A blob in Docker's image store.
    Stored,
}

/// The result of a push.
#[derive(Default)]
pub(crate) struct Pushed {
    /// Whether Docker has pushed the image.
    pub(crate) has_succeeded: bool,
    /// The digest of the image's configuration, if Docker has pushed a manifest.
    pub(crate) config_digest: Option<String>,
    /// Why a layer was not stored.
    pub(crate) failure: Option<Unavailable>,
}

/// Makes Docker push an image to an endpoint, unless nothing is missing. Records if Docker
/// cannot reach it.
pub(crate) fn push(
    cx: &Cx,
    docker: &Docker,
    layers: &LayerCache,
    request: &LayerRequest,
    image: &BuiltImage,
) -> Pushed {
    let name = image.reference.name().to_string();
    let usual = docker.usual_endpoint(cx, &name);
    if PushSession::new(layers.clone(), &usual, request, image).is_complete(image) {
        return Pushed::default();
    }
    let Some(endpoint) = docker.open_endpoint(cx, &name) else { return Pushed::default() };
    let session = PushSession::new(layers.clone(), &endpoint.cache_key(), request, image);
    let session = Arc::new(session);
    let push = || docker.push(cx, image, &endpoint.address());
    let served = endpoint.listener().and_then(|listener| serve(listener, &session, push));
    let Ok(pushed) = served else { return Pushed::default() };
    if let Err(docker::Error::Command { source, .. }) = &pushed
        && session.is_unreached()
        && endpoint.is_intact()
        // Docker may also have failed before it has tried to connect.
        && source.stderr.contains(&endpoint.address())
        && !source.is_interrupt()
    {
        docker.refuse_endpoint(cx, &endpoint);
    }
    let failure = session.received().failure.take();
    let config_digest = session.record(&image.id, pushed.as_deref().unwrap_or_default());
    Pushed { has_succeeded: pushed.is_ok(), config_digest, failure }
}

/// Serves an endpoint while `push` runs.
fn serve<T>(
    listener: TcpListener,
    session: &Arc<PushSession>,
    push: impl FnOnce() -> T,
) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (stop, stopped) = oneshot::channel::<()>();
    thread::scope(|scope| {
        let server =
            scope.spawn(|| runtime.block_on(accept(listener, Arc::clone(session), stopped)));
        let pushed = push();
        drop(stop);
        server.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok(pushed)
    })
}

/// Serves until `stopped` is dropped.
async fn accept(
    listener: TcpListener,
    session: Arc<PushSession>,
    stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let session = Arc::clone(&session);
            let service = service_fn(move |request| handle_request(Arc::clone(&session), request));
            // Docker reports connection errors.
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    let _ = stopped.await;
    Ok(())
}

async fn handle_request(
    session: Arc<PushSession>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    session.is_reached.store(true, Ordering::SeqCst);
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let last = path.rsplit('/').next().unwrap_or_default();
    let response = match head.method {
        Method::HEAD if path.contains("/blobs/") => {
            session.head_blob(last, is_layer(&head.headers))
        }
        Method::POST => accepted(path, 0),
        Method::PATCH => match session.receive_upload(body, Upload::Compressed).await {
            Some(bytes) => accepted(path, bytes),
            None => status(StatusCode::BAD_REQUEST),
        },
        Method::PUT if path.contains("/manifests/") => session.receive_manifest(body).await,
        Method::PUT => {
            let is_lost = !body.is_end_stream()
                && session.receive_upload(body, Upload::Stored).await.is_none();
            if is_lost {
                status(StatusCode::BAD_REQUEST)
            } else {
                session.commit_upload(head.uri.query().unwrap_or_default())
            }
        }
        Method::GET if path == "/v2/" => status(StatusCode::OK),
        _ => status(StatusCode::NOT_FOUND),
    };
    // This can only fail with an invalid header.
    Ok(response.body(Full::default()).unwrap_or_default())
}

/// Returns whether Docker checks for a layer, according to `Accept` (`…image.layer.v1.tar…`
/// of the OCI image spec, "Media types", or Docker's `…image.rootfs.diff.tar…`).
fn is_layer(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.contains(".layer.") || accept.contains(".rootfs.")
}

fn status(code: StatusCode) -> Builder {
    Response::builder().status(code)
}

/// Returns the response to a part of an upload. An upload ID is not needed.
fn accepted(path: &str, bytes: u64) -> Builder {
    let location = format!("{}/upload", path.trim_end_matches('/').trim_end_matches("/upload"));
    let range = format!("0-{}", bytes.saturating_sub(1));
    status(StatusCode::ACCEPTED).header(LOCATION, location).header(RANGE, range)
}

fn created(digest: &str) -> Builder {
    status(StatusCode::CREATED)
        .header("Docker-Content-Digest", digest)
        .header(LOCATION, format!("/v2/kdev/blobs/{digest}"))
}

impl PushSession {
    fn new(layers: LayerCache, endpoint: &str, request: &LayerRequest, image: &BuiltImage) -> Self {
        let known_digests = layers.known_digests(endpoint);
        let requested = match request {
            LayerRequest::Unpushed => unpushed_layers(image, &layers, &known_digests),
            LayerRequest::These(these) => these.clone(),
        };
        Self {
            known_digests,
            layers,
            endpoint: endpoint.to_owned(),
            abbreviate_uploads: AtomicBool::new(requested.is_empty()),
            is_reached: AtomicBool::new(false),
            requested,
            diff_ids: image.layers.clone(),
            max_bytes: MAX_PUSH_BYTES.max(image.size / 5),
            uploads: AtomicUsize::new(0),
            compressed_bytes: AtomicU64::new(0),
            received: Mutex::default(),
        }
    }

    /// Returns whether no layer is requested, and Docker has recorded the digests of all.
    fn is_complete(&self, image: &BuiltImage) -> bool {
        let pushed: BTreeSet<&String> = self.known_digests.values().collect();
        self.requested.is_empty()
            && self.layers.config(&image.config_digest).is_some()
            && image.layers.iter().all(|diff_id| pushed.contains(diff_id))
    }

    fn is_unreached(&self) -> bool {
        !self.is_reached.load(Ordering::SeqCst)
    }

    fn received(&self) -> std::sync::MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn head_blob(&self, digest: &str, is_layer: bool) -> Builder {
        let is_unneeded = match self.known_digests.get(digest) {
            Some(diff_id) => !self.requested.contains(diff_id),
            // It may be any layer.
            None => is_layer && self.requested.is_empty(),
        };
        if is_unneeded || self.received().committed.contains(digest) {
            // Docker reads the length of an existing layer and writes it to the manifest.
            // Its value is not used.
            let found = status(StatusCode::OK).header("Docker-Content-Digest", digest);
            return found.header(CONTENT_LENGTH, 1);
        }
        status(StatusCode::NOT_FOUND)
    }

    /// Receives an upload, or only its first bytes if uploads are abbreviated. Uploads are
    /// also abbreviated if one cannot be stored, because Docker would retry a rejected upload
    /// for most of a minute.
    ///
    /// Returns the number of bytes, or `None` if the connection was lost.
    async fn receive_upload(self: &Arc<Self>, mut body: Incoming, upload: Upload) -> Option<u64> {
        let (send, frames) = mpsc::channel::<Frame>(16);
        let session = Arc::clone(self);
        // The runtime waits for it, so that no incomplete file stays behind.
        let stored = task::spawn_blocking(move || session.store(UploadReader::new(frames)));
        let (mut bytes, mut is_config) = (0, false);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.ok()?.into_data() else { continue };
            if bytes == 0 {
                is_config = data.first() == Some(&b'{');
            }
            if upload == Upload::Compressed && !is_config {
                self.count_upload(data.len() as u64, bytes == 0);
            }
            bytes += data.len() as u64;
            if send.send(Some(data)).await.is_err() {
                self.abbreviate_uploads.store(true, Ordering::SeqCst);
            }
            let is_enough = upload == Upload::Compressed && bytes >= SNIFF_BYTES && !is_config;
            if is_enough && self.abbreviate_uploads.load(Ordering::SeqCst) {
                self.received().abandoned_uploads.push(body);
                return Some(bytes);
            }
        }
        let _ = send.send(None).await;
        drop(send);
        let _ = stored.await;
        Some(bytes)
    }

    fn store(&self, upload: UploadReader) {
        match self.layers.store(upload) {
            Ok((digest, Blob::Layer(layer))) => {
                self.received().stored.insert(digest, layer.diff_id);
            }
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                self.received().failure = Some(error.into());
            }
            // It is a configuration, or incomplete.
            _ => {}
        }
    }

    /// Abbreviates further uploads if there are more of them than requested layers, because
    /// Docker has not recorded enough digests, or if they are too large, because `docker save`
    /// is faster.
    fn count_upload(&self, bytes: u64, is_new: bool) {
        let uploads = self.uploads.fetch_add(usize::from(is_new), Ordering::SeqCst);
        let is_unrequested = is_new && uploads >= self.requested.len();
        if is_unrequested
            || self.compressed_bytes.fetch_add(bytes, Ordering::SeqCst) > self.max_bytes
        {
            self.abbreviate_uploads.store(true, Ordering::SeqCst);
        }
    }

    fn commit_upload(&self, query: &str) -> Builder {
        let digest = query.split('&').find_map(|pair| pair.strip_prefix("digest="));
        let digest = digest.unwrap_or_default().replace("%3A", ":");
        let committed = &mut self.received().committed;
        if committed.len() < MAX_COMMITTED && digest.len() <= MAX_DIGEST_BYTES {
            committed.insert(digest.clone());
        }
        created(&digest)
    }

    async fn receive_manifest(&self, body: Incoming) -> Builder {
        match Limited::new(body, MAX_MANIFEST_BYTES).collect().await {
            Ok(body) => created(&self.received().manifests.add(body.to_bytes().to_vec())),
            Err(_) => status(StatusCode::BAD_REQUEST),
        }
    }

    /// Records which digest belongs to which layer: the layers of a manifest are in the order
    /// of the image's diffIDs. Returns the digest of the configuration.
    ///
    /// Only a manifest counts whose digest is the ID of the image, or was printed by Docker: other
    /// users of the machine can also push. If there is one manifest per platform, only the one
    /// whose configuration has these diffIDs is used.
    fn record(&self, id: &str, printed: &str) -> Option<String> {
        let received = std::mem::take(&mut *self.received());
        let is_confirmed =
            |digest: &str| digest == id || printed.split_whitespace().any(|word| word == digest);
        let diff_ids = |config: &str| archive::diff_ids(&self.layers.config(config)?);
        let pushed =
            received.manifests.confirmed(is_confirmed).into_iter().find(|manifest| {
                diff_ids(&manifest.config_digest).as_ref() == Some(&self.diff_ids)
            });
        let mut known = received.stored;
        if let Some(manifest) = &pushed {
            known.extend(manifest.layers.iter().cloned().zip(self.diff_ids.iter().cloned()));
        }
        if !known.is_empty() {
            self.layers.record_digests(&self.endpoint, &known);
        }
        pushed.map(|manifest| manifest.config_digest)
    }
}

/// Returns the layers that Docker has never pushed to this endpoint, or none if a large image
/// is entirely new.
fn unpushed_layers(
    image: &BuiltImage,
    layers: &LayerCache,
    known_digests: &BTreeMap<String, String>,
) -> BTreeSet<String> {
    let pushed: BTreeSet<&String> = known_digests.values().collect();
    let is_new = |diff_id: &&String| !pushed.contains(diff_id) && layers.get(diff_id).is_none();
    let new: BTreeSet<String> = image.layers.iter().filter(is_new).cloned().collect();
    let is_all = image.layers.iter().all(|diff_id| new.contains(diff_id));
    if is_all && image.size > MAX_PUSH_BYTES { BTreeSet::new() } else { new }
}

/// Reads an upload in a thread that may block.
struct UploadReader {
    frames: mpsc::Receiver<Frame>,
    rest: Bytes,
    is_complete: bool,
}

impl UploadReader {
    fn new(frames: mpsc::Receiver<Frame>) -> Self {
        Self { frames, rest: Bytes::new(), is_complete: false }
    }
}

impl Read for UploadReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() && !self.is_complete {
            match self.frames.blocking_recv() {
                Some(Some(frame)) => self.rest = frame,
                Some(None) => self.is_complete = true,
                // Otherwise, the first part of a layer would be stored as another layer.
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let count = buffer.len().min(self.rest.len());
        buffer[..count].copy_from_slice(&self.rest.split_to(count));
        Ok(count)
    }
}

#[cfg(test)]
#[path = "push_tests.rs"]
mod tests;
