//! Host names to addresses, with an error that can be told from other failures to connect.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The system found no address for a name.
#[derive(Debug)]
pub(crate) struct ResolveError(io::Error);

/// Addresses of `host`, which may be a literal address without brackets.
pub(crate) async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
    let addresses: Vec<_> = tokio::net::lookup_host((host, port)).await.map_err(ResolveError)?.collect();
    if addresses.is_empty() {
        return Err(ResolveError(io::Error::from(io::ErrorKind::NotFound)));
    }
    Ok(addresses)
}

/// [`resolve`] as reqwest takes it.
pub(crate) struct Resolver;

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // Port zero lets reqwest fill in the one of the URL.
            let addresses = resolve(name.as_str(), 0).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the host name cannot be resolved: {}", self.0)
    }
}

// The inner error is shown above and not chained: its kind would be taken for that of a missing file.
impl std::error::Error for ResolveError {}
