//! [`Tls`]: whom the transports trust.

use std::sync::Arc;

use offhook::{Error, ErrorKind, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::map::map;

/// Trusted certificate authorities, shared by the HTTP and the WebSocket transport.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
}

impl Tls {
    /// Trusts the public web's authorities (Mozilla's list).
    pub fn public() -> Result<Self> {
        Self::trusting(&[])
    }

    /// Trusts the public web's authorities and those in `pem`; `ConfigInvalid` when it cannot be read.
    pub fn trusting(pem: &[u8]) -> Result<Self> {
        const OPERATION: &str = "tls.trusting";
        let invalid =
            || Error::new(ErrorKind::ConfigInvalid, OPERATION, "the certificates are not PEM or not of an authority");
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| invalid().with_source(error))?;
            roots.add(certificate).map_err(|error| invalid().with_source(error))?;
        }
        // Named here and not taken from the process: two providers may be linked, and then there is no default.
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| map(OPERATION, error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { config: Arc::new(config) })
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_is_not_trusted() {
        let pem = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(Tls::trusting(pem).unwrap_err().kind(), ErrorKind::ConfigInvalid);
        assert!(Tls::public().is_ok());
    }
}
