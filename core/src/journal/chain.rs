//! The digest of everything that a call put out, kept up as it comes.

use sha2::{Digest as _, Sha256};

use super::Digest;
use crate::call::Output;

/// After each output: SHA-256 of the digest before it and the output's JSON.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain {
    digest: Digest,
    json: Vec<u8>,
    outputs: u64,
}

impl Chain {
    pub(super) fn push(&mut self, output: &Output) {
        self.json.clear();
        // Numbers, texts and maps with text keys: this cannot fail.
        let _ = serde_json::to_writer(&mut self.json, output);
        self.digest = Sha256::new().chain_update(self.digest).chain_update(&self.json).finalize().into();
        self.outputs += 1;
    }

    /// A short form of the digest, which is enough to notice a difference where nobody wants to hide it.
    pub(super) fn check(&self) -> u32 {
        let [a, b, c, d, ..] = self.digest;
        u32::from_le_bytes([a, b, c, d])
    }

    pub(super) fn digest(&self) -> Digest {
        self.digest
    }

    pub(super) fn outputs(&self) -> u64 {
        self.outputs
    }
}
