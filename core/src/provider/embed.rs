//! Text embeddings.

use async_trait::async_trait;

use super::ProviderInfo;
use crate::error::Result;

/// Maps texts to vectors whose cosine tells how close their meanings are.
#[async_trait]
pub trait Embed: Send + Sync {
    /// Who this is.
    fn info(&self) -> ProviderInfo;

    /// What it can do.
    fn capabilities(&self) -> EmbedCapabilities;

    /// One vector of unit length per text, in the order of the texts.
    async fn embed(&self, texts: Vec<String>) -> Result<Vec<Vec<f32>>>;
}

/// What an embedder can do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EmbedCapabilities {
    /// Length of each vector.
    pub dimensions: usize,
    /// Texts in one call at most.
    pub texts_max: usize,
}
