//! A signature over the raw body alone: `sha256=` and lower-case hex.

use super::{Secret, equal, hmac_sha256};
use crate::error::{Error, ErrorKind, Result};

const PREFIX: &str = "sha256=";
/// Of 32 bytes.
const DIGITS: usize = 64;

/// The header's value for `body`.
pub fn sign(secret: &Secret, body: &[u8]) -> String {
    format!("{PREFIX}{}", hex::encode(hmac_sha256(secret, &[body])))
}

/// `Unauthenticated` unless `header` is the signature of `body`. Takes the same time wherever they differ.
pub fn verify(secret: &Secret, body: &[u8], header: &str) -> Result<()> {
    let digits = header.strip_prefix(PREFIX).filter(|digits| digits.len() == DIGITS && !has_capitals(digits));
    let given = digits.and_then(|digits| hex::decode(digits).ok());
    match given {
        Some(given) if equal(&given, &hmac_sha256(secret, &[body])) => Ok(()),
        _ => Err(Error::new(ErrorKind::Unauthenticated, "signing.verify", "the signature does not match the body")),
    }
}

/// One signature is written in one way.
fn has_capitals(digits: &str) -> bool {
    digits.bytes().any(|byte| byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_signed_verifies_and_nothing_else() {
        let secret = Secret::new("key");
        let header = sign(&secret, b"body");
        verify(&secret, b"body", &header).unwrap();
        for (secret, body, header) in [
            (Secret::new("other"), b"body", header.as_str()),
            (secret.clone(), b"bodz", header.as_str()),
            (secret.clone(), b"body", &header[7..]),
            (secret.clone(), b"body", &header[..header.len() - 2]),
            (secret.clone(), b"body", "sha256="),
            (secret.clone(), b"body", ""),
        ] {
            assert_eq!(verify(&secret, body, header).unwrap_err().kind(), ErrorKind::Unauthenticated);
        }
    }
}
