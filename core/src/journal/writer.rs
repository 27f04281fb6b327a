//! A journal while its call lives.

use bytes::Bytes;

use super::chain::Chain;
use super::codec::{Body, Codec};
use crate::call::{CallConfig, Input, Offer, Output};
use crate::time::Instant;

/// Writes one call's journal. It is told everything that the call is told, before the call is, and everything that the
/// call puts out.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    chain: Chain,
    codec: Codec,
}

impl Writer {
    /// The writer and the first entry of a journal.
    pub fn new(at: Instant, config: &CallConfig, offer: &Offer) -> (Self, Bytes) {
        let mut writer = Self::default();
        let start = writer.entry(at, Body::Start { config, offer });
        (writer, start)
    }

    /// The entry of an input that the call is about to be given.
    pub fn input(&mut self, at: Instant, input: &Input) -> Bytes {
        self.entry(at, Body::Input(input))
    }

    /// The entry of a timeout that the call is about to be told of.
    pub fn timeout(&mut self, at: Instant) -> Bytes {
        self.entry(at, Body::Timeout)
    }

    /// Takes note of what the call put out.
    pub fn output(&mut self, output: &Output) {
        self.chain.push(output);
    }

    /// The last entry: the call has ended and will put nothing out any more.
    pub fn end(&mut self, at: Instant) -> Bytes {
        let digest = self.chain.digest();
        self.entry(at, Body::End { digest: &digest, outputs: self.chain.outputs() })
    }

    fn entry(&mut self, at: Instant, body: Body<'_>) -> Bytes {
        self.codec.encode(at, body, self.chain.check())
    }
}
