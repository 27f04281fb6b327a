//! What the engine plugs in: one trait a file, each object-safe, each with an options struct by value.
//!
//! Every streaming provider is a stream in and a stream out; dropping the output cancels the work. A capability that is
//! claimed works, one that is not claimed answers [`ErrorKind::Unsupported`](crate::error::ErrorKind::Unsupported).
//! The suites of `offhook-testkit` hold stores, object stores and models to these pages.

pub mod blob;
pub mod embed;
pub mod llm;
pub mod reach;
pub mod realtime;
pub mod store;
pub mod stt;
pub mod telephony;
pub mod transport;
pub mod tts;

pub use blob::Blob;
pub use embed::Embed;
pub use llm::Llm;
pub use realtime::Realtime;
pub use store::Store;
pub use stt::SpeechToText;
pub use telephony::Telephony;
pub use transport::{HttpTransport, SocketTransport};
pub use tts::TextToSpeech;

pub use futures_util::stream::BoxStream;

/// Who implements a provider.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProviderInfo {
    /// A short stable name, such as `openai` or `sqlite`.
    pub name: &'static str,
    /// What it runs: a model, a file, a region. Empty when there is nothing to say.
    pub detail: String,
}
