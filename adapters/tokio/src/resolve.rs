//! Host names to addresses, with an error that can be told from other failures to connect.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use offhook::provider::reach::Reach;
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

/// [`resolve`] as reqwest takes it, with what is beyond [`Reach`] left out.
pub(crate) struct Resolver(pub(crate) Reach);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0.clone();
        Box::pin(async move {
            // Port zero lets reqwest fill in the one of the URL.
            let mut addresses = resolve(name.as_str(), 0).await?;
            addresses.retain(|address| reach.permits(name.as_str(), address.ip()));
            if addresses.is_empty() {
                return Err(BeyondReach.into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// A name has no address that may be reached.
#[derive(Debug)]
pub(crate) struct BeyondReach;

impl fmt::Display for BeyondReach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the host has no address that may be reached")
    }
}

impl std::error::Error for BeyondReach {}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the host name cannot be resolved: {}", self.0)
    }
}

// The inner error is shown above and not chained: its kind would be taken for that of a missing file.
impl std::error::Error for ResolveError {}
