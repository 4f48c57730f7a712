//! SHA-256 digests of bytes and streams, and chain IDs.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// Returns the digest of `bytes`, as `sha256:…`.
pub fn sha256(bytes: &[u8]) -> String {
    digest_text(&Sha256::digest(bytes))
}

fn digest_text(hash: &[u8]) -> String {
    hash.iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// Returns the chain ID of each layer, bottom layer first (OCI image spec, "Layer
/// `ChainID`").
pub fn chain_ids(diff_ids: &[String]) -> Vec<String> {
    let mut chain: Vec<String> = Vec::new();
    for diff_id in diff_ids {
        let id = match chain.last() {
            None => diff_id.clone(),
            Some(below) => sha256(format!("{below} {diff_id}").as_bytes()),
        };
        chain.push(id);
    }
    chain
}

/// A reader that hashes everything read through it.
pub struct Hasher<R> {
    reader: R,
    hash: Sha256,
}

impl<R: Read> Hasher<R> {
    pub fn new(reader: R) -> Self {
        Self { reader, hash: Sha256::new() }
    }

    pub fn digest(self) -> String {
        digest_text(&self.hash.finalize())
    }
}

impl<R: Read> Read for Hasher<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_id_depends_on_all_lower_layers() {
        let chain = chain_ids(&["sha256:a".to_owned(), "sha256:b".to_owned()]);
        assert_eq!(chain[0], "sha256:a");
        assert_eq!(chain[1], sha256(b"sha256:a sha256:b"));
        assert!(chain_ids(&[]).is_empty());
    }

    #[test]
    fn hasher_hashes_bytes_read() {
        let mut hasher = Hasher::new(&b"abc"[..]);
        io::copy(&mut hasher, &mut io::sink()).unwrap();
        assert_eq!(
            hasher.digest(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
