//! The whole engine over scripted providers: in virtual time, under tokio and under smol.

mod calls;
mod runtimes;
mod world;
