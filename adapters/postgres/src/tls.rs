//! Encryption as `sslmode` asks for it (PostgreSQL's documentation, 34.19).

use std::path::Path;
use std::sync::Arc;

use offhook::{Error, ErrorKind, Result};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

/// Whether to encrypt, and whom to believe then.
#[derive(Clone)]
pub(crate) struct Trust {
    ssl_mode: SslMode,
    config: ClientConfig,
}

impl Trust {
    /// For the values of `sslmode` and `sslrootcert`.
    pub(crate) fn new(mode: Option<&str>, root_file: Option<&Path>) -> Result<Self> {
        let (ssl_mode, checks) = match (mode.unwrap_or("prefer"), root_file) {
            ("disable", _) => (SslMode::Disable, Checks::Nothing),
            ("prefer", _) => (SslMode::Prefer, Checks::Nothing),
            ("require", None) => (SslMode::Require, Checks::Nothing),
            ("require" | "verify-ca", _) => (SslMode::Require, Checks::Authority),
            ("verify-full", _) => (SslMode::Require, Checks::AuthorityAndName),
            _ => return Err(invalid("sslmode is not one of disable, prefer, require, verify-ca and verify-full")),
        };
        Ok(Self { ssl_mode, config: client_config(checks, root_file)? })
    }

    pub(crate) fn ssl_mode(&self) -> SslMode {
        self.ssl_mode
    }

    pub(crate) fn connector(self) -> MakeRustlsConnect {
        MakeRustlsConnect::new(self.config)
    }
}

/// What is checked of the server's certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Checks {
    Authority,
    AuthorityAndName,
    Nothing,
}

fn client_config(checks: Checks, root_file: Option<&Path>) -> Result<ClientConfig> {
    let broken = |error: rustls::Error| invalid("TLS cannot be used").with_source(error);
    // Named here and not taken from the process: two providers may be linked, and then there is no default.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().map_err(broken)?;
    let roots = || roots(root_file).map(Arc::new);
    let verifier: Arc<dyn ServerCertVerifier> = match checks {
        Checks::AuthorityAndName => return Ok(builder.with_root_certificates(roots()?).with_no_client_auth()),
        Checks::Authority => {
            let inner = WebPkiServerVerifier::builder_with_provider(roots()?, provider).build();
            let broken = |error| invalid("sslrootcert names no authority").with_source(error);
            Arc::new(AnyName(inner.map_err(broken)?))
        }
        Checks::Nothing => Arc::new(Anybody(provider)),
    };
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn roots(file: Option<&Path>) -> Result<RootCertStore> {
    let Some(file) = file else {
        return Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
    };
    let unreadable = || invalid("sslrootcert cannot be read as certificates in PEM");
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| unreadable().with_source(error))? {
        let certificate = certificate.map_err(|error| unreadable().with_source(error))?;
        roots.add(certificate).map_err(|error| unreadable().with_source(error))?;
    }
    if roots.is_empty() {
        return Err(unreadable());
    }
    Ok(roots)
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::ConfigInvalid, "store.open", message)
}

/// A server that a trusted authority vouches for, whatever its name.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        // The name is what is checked last.
        match self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Any server that holds the key of its own certificate: encryption against listeners and not against impostors.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
