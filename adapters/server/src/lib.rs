//! offhook as a server: the public APIs of the vendors over one engine.
//!
//! The engine's services do the work. A dialect only translates: paths, header of authentication, names, envelope, words
//! and errors. Each is mounted at `/{dialect}`, followed by the vendor's own path; one of them can stand at `/` too, so
//! that a vendor's client needs a new base URL and nothing else (X17).
//!
//! | module | what |
//! |---|---|
//! | [`dialect`] | a folder a vendor |
//! | [`native`] | what is nobody's: health, recordings by link, events of a call |
//! | [`password`] | passwords and their hashes |
//! | [`request`] | taking requests apart, with typed refusals |
//! | [`problem`] | a refusal, before a dialect gives it its form |
//! | [`gate`] | who may come in, and how often |
//! | [`serve`](mod@serve) | the port: limits, time-outs, TLS, an orderly end |

pub mod app;
pub mod dialect;
pub mod gate;
pub mod native;
pub mod password;
pub mod problem;
pub mod request;
pub mod serve;

mod describe;
mod id;
mod metrics;
mod mount;
mod pages;

pub use app::{App, Options, Streams};
pub use mount::router;
pub use serve::{Held, Limits, Peer, serve};
