//! Work with files and models, off the threads that keep the time of calls.

use std::fmt::Display;

use crate::failure::{Failure, Outcome};

/// Runs `work` on a thread where it may block. A failure says that `what` failed.
pub async fn run<T, E>(what: impl Display, work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Outcome<T>
where
    T: Send + 'static,
    E: Display + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Failure::new(format_args!("{what}: {error}"))),
        Err(_) => Err(Failure::new(format_args!("{what}: it was broken off"))),
    }
}
