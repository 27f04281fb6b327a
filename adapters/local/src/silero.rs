//! Voice activity by Silero v6: core computes it, and here are its weights.

use offhook::audio::silero::Silero;
use offhook::error::{Error, ErrorKind, Result};

use crate::weights::Models;

/// Loads the model for both of its rates from `models`.
pub fn load(models: &Models) -> Result<Silero> {
    let bytes = std::fs::read(models.silero()).map_err(|error| {
        Error::new(ErrorKind::NotFound, OPERATION, "the weights of the speech detector cannot be read")
            .with_source(error)
    })?;
    Silero::from_onnx(&bytes)
}

const OPERATION: &str = "local.detect_speech";
