//! The stream to a node: compressed if the link is slower than the compression, or sent as a
//! patch if the node has a similar layer.
//!
//! Each chunk is a separate zstd frame or gzip member, so that one chunk can be compressed and
//! the next one stored: both formats can be concatenated (RFC 8878, section 3; RFC 1952,
//! section 2.2).

use std::io::{self, Write};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use zstd::stream::write::Encoder;

/// The size of a chunk that is compressed at once.
const CHUNK_SIZE: usize = 1 << 20;
/// The rate of a link, in bytes per second, above which compression only costs time. One core
/// compresses about as fast, including the decompression on the node.
const FAST_LINK_RATE: f64 = 120e6;
/// The fastest compression level. Higher levels never pay off during a transfer.
const LEVEL: i32 = 1;
/// The bytes that buffers between this machine and the node can hold. They are not counted
/// in the rate of the link.
const BUFFER_ESTIMATE: u64 = 2 << 20;
/// The window of a patch, in which the base must fit; the script uses the same value.
const WINDOW_LOG: u32 = 27;

/// A compression that the node can decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    /// No compression: the node is on this machine, or has neither of the programs.
    Plain,
    /// `gzip -dc`.
    Gzip,
    /// `zstd -dc`.
    Zstd,
}

impl Codec {
    /// Returns the argument for the script.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// Counts bytes, and the time that writing them takes.
struct ByteCounter<W> {
    to: W,
    bytes: u64,
    waited: Duration,
}

impl<W: Write> ByteCounter<W> {
    fn new(to: W) -> Self {
        Self { to, bytes: 0, waited: Duration::ZERO }
    }

    /// Returns whether the link is faster than the compression.
    fn is_fast(&self) -> bool {
        self.transfer().rate.is_some_and(|rate| rate > FAST_LINK_RATE)
    }

    fn transfer(&self) -> Transfer {
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let rate = |bytes: u64| bytes as f64 / self.waited.as_secs_f64().max(1e-6);
        let enough = self.bytes >= 2 * BUFFER_ESTIMATE;
        Transfer { bytes: self.bytes, rate: enough.then(|| rate(self.bytes - BUFFER_ESTIMATE)) }
    }
}

impl<W: Write> Write for ByteCounter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let started = Instant::now();
        let count = self.to.write(bytes)?;
        self.waited += started.elapsed();
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// The size and rate of a transfer.
pub(crate) struct Transfer {
    pub(crate) bytes: u64,
    /// Bytes per second, if enough bytes were sent to measure it.
    pub(crate) rate: Option<f64>,
}

/// Compresses data in chunks.
pub(crate) struct CompressedStream<W> {
    counter: ByteCounter<W>,
    codec: Codec,
    chunk: Vec<u8>,
}

impl<W: Write> CompressedStream<W> {
    pub(crate) fn new(to: W, codec: Codec) -> Self {
        Self { counter: ByteCounter::new(to), codec, chunk: Vec::new() }
    }

    /// Returns the underlying writer. Data that was not sent yet is lost.
    pub(crate) fn into_inner(self) -> W {
        self.counter.to
    }

    /// Sends the rest of the data.
    pub(crate) fn finish(mut self) -> io::Result<Transfer> {
        self.send()?;
        self.counter.flush()?;
        Ok(self.counter.transfer())
    }

    fn send(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let compressed = compress(&self.chunk, self.codec, self.counter.is_fast())?;
        self.chunk.clear();
        self.counter.write_all(&compressed)
    }
}

impl<W: Write> Write for CompressedStream<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.codec == Codec::Plain {
            return self.counter.write(bytes);
        }
        let count = bytes.len().min(CHUNK_SIZE - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..count]);
        if self.chunk.len() == CHUNK_SIZE {
            self.send()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn compress(chunk: &[u8], codec: Codec, store: bool) -> io::Result<Vec<u8>> {
    match codec {
        Codec::Plain => Ok(chunk.to_vec()),
        Codec::Zstd => {
            // The fastest level of zstd almost only stores.
            let level = if store { *zstd::compression_level_range().start() } else { LEVEL };
            zstd::bulk::compress(chunk, level)
        }
        Codec::Gzip => {
            let level = if store { Compression::none() } else { Compression::fast() };
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(chunk)?;
            encoder.finish()
        }
    }
}

/// Returns whether a patch is faster than the layers themselves, which are assumed to be as
/// large as the base and to compress to half their size. A patch needs two more programs on
/// the node, which reads and verifies the base, and the search for matches on this machine. A
/// link with unknown rate is assumed to be slow.
#[expect(clippy::cast_precision_loss, reason = "a rough time")]
pub(crate) fn patch_is_faster(rate: Option<f64>, base_size: u64) -> bool {
    let size = base_size as f64;
    rate.is_none_or(|rate| size / 2.0 / rate > 0.1 + size / 60e6)
}

/// Sends the data that `write` writes as one patch against a base.
pub(crate) fn send_patch(
    to: impl Write,
    base: &[u8],
    size: u64,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<Transfer> {
    let mut meter = ByteCounter::new(to);
    let mut encoder = Encoder::with_ref_prefix(&mut meter, LEVEL, base)?;
    encoder.long_distance_matching(true)?;
    encoder.window_log(WINDOW_LOG)?;
    encoder.set_pledged_src_size(Some(size))?;
    write(&mut encoder)?;
    encoder.finish()?.flush()?;
    Ok(meter.transfer())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// Returns incompressible bytes.
    fn noise(count: usize) -> Vec<u8> {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..count).map(|_| next()).collect()
    }

    fn encode(codec: Codec, bytes: &[u8]) -> Vec<u8> {
        let mut sent = Vec::new();
        let mut stream = CompressedStream::new(&mut sent, codec);
        stream.write_all(bytes).unwrap();
        let count = stream.finish().unwrap().bytes;
        assert_eq!(count, sent.len() as u64);
        sent
    }

    #[test]
    fn codecs_round_trip() {
        // Memory is a fast link, so this has compressed and stored chunks.
        let bytes = [vec![b'x'; 3 << 20], noise(8 << 20)].concat();
        assert_eq!(encode(Codec::Plain, &bytes), bytes);
        assert_eq!(zstd::decode_all(encode(Codec::Zstd, &bytes).as_slice()).unwrap(), bytes);
        let mut back = Vec::new();
        let compressed = encode(Codec::Gzip, &bytes);
        flate2::read::MultiGzDecoder::new(compressed.as_slice()).read_to_end(&mut back).unwrap();
        assert!(back == bytes);
    }

    #[test]
    fn slow_link_compresses_all_chunks() {
        struct Slow(Vec<u8>);
        impl Write for Slow {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                std::thread::sleep(Duration::from_millis(20));
                self.0.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let text = b"the same words again and again, ".repeat(1 << 17);
        let mut slow = Slow(Vec::new());
        let mut stream = CompressedStream::new(&mut slow, Codec::Zstd);
        stream.write_all(&noise(2 << 20)).unwrap();
        stream.write_all(&text).unwrap();
        stream.finish().unwrap();
        assert!(slow.0.len() < (2 << 20) + (text.len() / 100), "{}", slow.0.len());
    }

    #[test]
    fn patch_is_faster_on_slow_link() {
        let mbit = |rate: f64| Some(rate * 1e6 / 8.0);
        assert!(patch_is_faster(mbit(50.0), 22_000_000));
        assert!(patch_is_faster(mbit(50.0), 5_000_000));
        assert!(!patch_is_faster(mbit(1000.0), 22_000_000));
        assert!(!patch_is_faster(mbit(50.0), 100_000));
        assert!(patch_is_faster(None, 5_000_000));
    }

    #[test]
    fn rate_ignores_buffered_bytes() {
        let mut meter = ByteCounter::new(io::sink());
        meter.write_all(&vec![0; 3 << 20]).unwrap();
        assert!(meter.transfer().rate.is_none());
        meter.write_all(&vec![0; 3 << 20]).unwrap();
        assert!(meter.transfer().rate.is_some());
    }

    #[test]
    fn patch_contains_only_differences() {
        let old = noise(1 << 20);
        let mut new = old.clone();
        new[500_000] ^= 1;
        let mut sent = Vec::new();
        let write = |to: &mut dyn Write| to.write_all(&new);
        let count = send_patch(&mut sent, &old, new.len() as u64, write).unwrap().bytes;
        assert!(count < 2000, "{count}");
        let mut decoder =
            zstd::stream::read::Decoder::with_ref_prefix(sent.as_slice(), &old).unwrap();
        decoder.window_log_max(WINDOW_LOG).unwrap();
        let mut back = Vec::new();
        decoder.read_to_end(&mut back).unwrap();
        assert!(back == new);
    }
}
