//! Carriers' media-stream WebSockets, over core's [`Socket`](offhook::provider::transport::Socket): no runtime and no
//! network code of its own.
//!
//! [`twilio`] holds both ends of Twilio Media Streams: the server that carriers connect to, and a caller that behaves as
//! Twilio does towards any such server.

pub mod twilio;

mod legs;
