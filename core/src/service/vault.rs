//! Secrets of customers at rest: XChaCha20-Poly1305 (RFC 8439, draft-irtf-cfrg-xchacha-03) under a key from the configuration.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorKind, Result};
use crate::runtime::Runtime;
use crate::signing::{Secret, hmac_sha256};

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;

/// Bytes of a secret at most.
pub const SECRET_BYTES_MAX: usize = 16 * 1024;

const FORM: &str = "v1";
const KEY_ID_BYTES: usize = 8;
const NONCE_BYTES: usize = 24;
/// Tells the digest that names a key from any other digest of it.
const KEY_ID_CONTEXT: &[u8] = b"offhook vault key\0";
/// Tells a derived key from any other use.
const DERIVE_CONTEXT: &[u8] = b"offhook derived key\0";

/// A key that seals secrets. It does not show itself.
#[derive(Clone)]
pub struct VaultKey([u8; KEY_BYTES]);

impl VaultKey {
    /// Wraps key bytes, which must be random.
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// A new key.
    pub fn generate(runtime: &dyn Runtime) -> Self {
        let mut bytes = [0; KEY_BYTES];
        runtime.fill_random(&mut bytes);
        Self(bytes)
    }

    /// A key from 64 hexadecimal digits or from base64.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let bytes = hex::decode(text).ok().or_else(|| STANDARD.decode(text).ok());
        let bytes: Option<[u8; KEY_BYTES]> = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| {
            Error::new(ErrorKind::ConfigInvalid, "vault.key", "a key is 32 bytes in hexadecimal or base64")
        })
    }

    /// The form that [`VaultKey::parse`] takes.
    pub fn expose(&self) -> String {
        hex::encode(self.0)
    }

    /// A key of its own for one purpose, from which this one cannot be found.
    fn derive(&self, purpose: &str) -> Secret {
        Secret::new(hmac_sha256(&Secret::new(self.0), &[DERIVE_CONTEXT, purpose.as_bytes()]))
    }

    fn id(&self) -> [u8; KEY_ID_BYTES] {
        let digest: [u8; 32] = Sha256::new().chain_update(KEY_ID_CONTEXT).chain_update(self.0).finalize().into();
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&digest[..KEY_ID_BYTES]);
        id
    }
}

impl fmt::Debug for VaultKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VaultKey(…)")
    }
}

/// Seals secrets on their way to the store, and opens them on their way back.
///
/// The first key seals and every key opens, so that a new one is put in front of the old. A vault without a key refuses
/// both.
#[derive(Clone)]
pub struct Vault {
    keys: Arc<[VaultKey]>,
    runtime: Arc<dyn Runtime>,
}

impl Vault {
    /// A vault with these keys, the newest first.
    pub fn new(runtime: Arc<dyn Runtime>, keys: impl Into<Arc<[VaultKey]>>) -> Self {
        Self { keys: keys.into(), runtime }
    }

    /// Seals `secret`, which opens under the same `context` only, so that nobody can move it to another row.
    ///
    /// `ConfigInvalid` without a key, and for more than [`SECRET_BYTES_MAX`].
    pub fn seal(&self, context: &str, secret: &[u8]) -> Result<String> {
        let Some(key) = self.keys.first() else { return Err(no_key("vault.seal")) };
        if secret.len() > SECRET_BYTES_MAX {
            return Err(Error::new(ErrorKind::ConfigInvalid, "vault.seal", "the secret is too long"));
        }
        let mut nonce = [0; NONCE_BYTES];
        self.runtime.fill_random(&mut nonce);
        let payload = Payload { msg: secret, aad: context.as_bytes() };
        let sealed = XChaCha20Poly1305::new(&key.0.into()).encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.map_err(|_| Error::new(ErrorKind::Unexpected, "vault.seal", "the cipher failed"))?;
        let sealed = URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat());
        Ok(format!("{FORM}.{}.{sealed}", hex::encode(key.id())))
    }

    /// Opens what [`Vault::seal`] made of a secret.
    ///
    /// `ConfigInvalid` when the key that sealed it is not among the vault's; `Unexpected` when it is damaged, or was sealed
    /// under another context.
    pub fn open(&self, context: &str, sealed: &str) -> Result<Secret> {
        let damaged = || Error::new(ErrorKind::Unexpected, "vault.open", "a sealed secret is damaged or misplaced");
        if self.keys.is_empty() {
            return Err(no_key("vault.open"));
        }
        let (id, sealed) = parse(sealed).ok_or_else(damaged)?;
        let Some(key) = self.keys.iter().find(|key| key.id() == id) else {
            let message = "the key that sealed a secret is not configured";
            return Err(
                Error::new(ErrorKind::ConfigInvalid, "vault.open", message).with_context("key", hex::encode(id))
            );
        };
        let (nonce, text) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or_else(damaged)?;
        let payload = Payload { msg: text, aad: context.as_bytes() };
        let opened = XChaCha20Poly1305::new(&key.0.into()).decrypt(&XNonce::from(*nonce), payload);
        opened.map(Secret::new).map_err(|_| damaged())
    }

    /// Keys for one purpose, the newest first: one for each of the vault's.
    pub fn derive(&self, purpose: &str) -> Vec<Secret> {
        self.keys.iter().map(|key| key.derive(purpose)).collect()
    }

    /// Whether a secret should be sealed anew, under the newest key.
    pub fn is_stale(&self, sealed: &str) -> bool {
        let newest = self.keys.first().map(VaultKey::id);
        parse(sealed).map(|(id, _)| id) != newest
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

/// The name of the key and what it sealed.
fn parse(sealed: &str) -> Option<([u8; KEY_ID_BYTES], Vec<u8>)> {
    let (form, rest) = sealed.split_once('.')?;
    let (id, text) = rest.split_once('.').filter(|_| form == FORM)?;
    Some((hex::decode(id).ok()?.try_into().ok()?, URL_SAFE_NO_PAD.decode(text).ok()?))
}

fn no_key(operation: &'static str) -> Error {
    let message = "secrets are kept sealed, and there is no key to seal them: configure one";
    Error::new(ErrorKind::ConfigInvalid, operation, message)
}
