//! The stream to a node: compressed where the link is slower than that, and as
//! a patch against what the node has where it has something alike.
//!
//! Each chunk is a zstd frame or a gzip member of its own, so that one may be
//! compressed and the next one not: both formats may be joined end to end
//! (RFC 8878, section 3; RFC 1952, section 2.2).

use std::io::{self, Write};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use zstd::stream::write::Encoder;

/// What is compressed at once.
const CHUNK_SIZE: usize = 1 << 20;
/// Bytes a second, above which compression only costs time: what one core
/// compresses, with what the other end needs for it.
const FAST_LINK_RATE: f64 = 120e6;
/// zstd's and gzip's cheapest level. More is never worth it on its way.
const LEVEL: i32 = 1;
/// So much may lie in the buffers between here and the node, and says nothing
/// of the link.
const BUFFER_ESTIMATE: u64 = 2 << 20;
/// A dictionary and what is like it must fit in: the node is told the same.
const WINDOW_LOG: u32 = 27;

/// What a node can undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    /// Nothing: the node is this machine, so that there is no link, or has
    /// neither of the others.
    Plain,
    /// `gzip -dc`.
    Gzip,
    /// `zstd -dc`.
    Zstd,
}

impl Codec {
    /// As the node's script knows it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// Counts what passes, and how long that takes.
struct ByteCounter<W> {
    to: W,
    bytes: u64,
    waited: Duration,
}

impl<W: Write> ByteCounter<W> {
    fn new(to: W) -> Self {
        Self { to, bytes: 0, waited: Duration::ZERO }
    }

    /// Whether the link takes data faster than it can be compressed.
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
        let begun = Instant::now();
        let count = self.to.write(bytes)?;
        self.waited += begun.elapsed();
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// What went over a link.
pub(crate) struct Transfer {
    pub(crate) bytes: u64,
    /// Bytes a second, if that was enough to tell.
    pub(crate) rate: Option<f64>,
}

/// A stream of chunks.
pub(crate) struct CompressedStream<W> {
    counter: ByteCounter<W>,
    codec: Codec,
    chunk: Vec<u8>,
}

impl<W: Write> CompressedStream<W> {
    pub(crate) fn new(to: W, codec: Codec) -> Self {
        Self { counter: ByteCounter::new(to), codec, chunk: Vec::new() }
    }

    /// Where it goes; what was not sent yet is lost.
    pub(crate) fn into_inner(self) -> W {
        self.counter.to
    }

    /// Sends the rest.
    pub(crate) fn finish(mut self) -> io::Result<Transfer> {
        self.send()?;
        self.counter.flush()?;
        Ok(self.counter.transfer())
    }

    fn send(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let packed = compress(&self.chunk, self.codec, self.counter.is_fast())?;
        self.chunk.clear();
        self.counter.write_all(&packed)
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

fn compress(chunk: &[u8], codec: Codec, stores: bool) -> io::Result<Vec<u8>> {
    match codec {
        Codec::Plain => Ok(chunk.to_vec()),
        Codec::Zstd => {
            // The fastest of its levels all but stores.
            let level = if stores { *zstd::compression_level_range().start() } else { LEVEL };
            zstd::bulk::compress(chunk, level)
        }
        Codec::Gzip => {
            let level = if stores { Compression::none() } else { Compression::fast() };
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(chunk)?;
            encoder.finish()
        }
    }
}

/// Whether a patch is done sooner than the layers themselves, of which about
/// half is left when compressed: they are taken to be as large as the
/// dictionary. It costs two programs more on the node, which reads and proves
/// the dictionary, and here the search for what is alike. A link whose rate
/// nobody knows yet is taken for a slow one.
#[expect(clippy::cast_precision_loss, reason = "a rough time")]
pub(crate) fn patch_is_faster(rate: Option<f64>, dictionary: u64) -> bool {
    let size = dictionary as f64;
    rate.is_none_or(|rate| size / 2.0 / rate > 0.1 + size / 60e6)
}

/// Sends what `write` writes as one patch against a dictionary.
pub(crate) fn send_patch(
    to: impl Write,
    dictionary: &[u8],
    size: u64,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<Transfer> {
    let mut meter = ByteCounter::new(to);
    let mut encoder = Encoder::with_ref_prefix(&mut meter, LEVEL, dictionary)?;
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

    /// Bytes that no compressor makes smaller.
    fn noise(count: usize) -> Vec<u8> {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..count).map(|_| next()).collect()
    }

    fn through(codec: Codec, bytes: &[u8]) -> Vec<u8> {
        let mut sent = Vec::new();
        let mut wire = CompressedStream::new(&mut sent, codec);
        wire.write_all(bytes).unwrap();
        let count = wire.finish().unwrap().bytes;
        assert_eq!(count, sent.len() as u64);
        sent
    }

    #[test]
    fn every_codec_gives_back_what_went_in() {
        // Written to memory, which is fast: so chunks of both kinds are in it.
        let bytes = [vec![b'x'; 3 << 20], noise(8 << 20)].concat();
        assert_eq!(through(Codec::Plain, &bytes), bytes);
        assert_eq!(zstd::decode_all(through(Codec::Zstd, &bytes).as_slice()).unwrap(), bytes);
        let mut back = Vec::new();
        let packed = through(Codec::Gzip, &bytes);
        flate2::read::MultiGzDecoder::new(packed.as_slice()).read_to_end(&mut back).unwrap();
        assert!(back == bytes);
    }

    #[test]
    fn a_slow_link_gets_all_of_it_compressed() {
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
        let mut wire = CompressedStream::new(&mut slow, Codec::Zstd);
        wire.write_all(&noise(2 << 20)).unwrap();
        wire.write_all(&text).unwrap();
        wire.finish().unwrap();
        assert!(slow.0.len() < (2 << 20) + (text.len() / 100), "{}", slow.0.len());
    }

    #[test]
    fn a_patch_pays_on_a_slow_link() {
        let mbit = |rate: f64| Some(rate * 1e6 / 8.0);
        assert!(patch_is_faster(mbit(50.0), 22_000_000));
        assert!(patch_is_faster(mbit(50.0), 5_000_000));
        assert!(!patch_is_faster(mbit(1000.0), 22_000_000));
        assert!(!patch_is_faster(mbit(50.0), 100_000));
        assert!(patch_is_faster(None, 5_000_000));
    }

    #[test]
    fn a_rate_needs_more_than_what_buffers_hold() {
        let mut meter = ByteCounter::new(io::sink());
        meter.write_all(&vec![0; 3 << 20]).unwrap();
        assert!(meter.transfer().rate.is_none());
        meter.write_all(&vec![0; 3 << 20]).unwrap();
        assert!(meter.transfer().rate.is_some());
    }

    #[test]
    fn a_patch_holds_only_what_differs() {
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
