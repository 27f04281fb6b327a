//! [Standard Webhooks](https://www.standardwebhooks.com): a signature over id, time and body, in base64.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Secret, equal, hmac_sha256};
use crate::error::{Error, ErrorKind, Result};
use crate::time::Timestamp;

/// How far a message's time may lie from the receiver's.
pub const TOLERANCE: Duration = Duration::from_secs(300);

/// Signatures of a message that are looked at.
pub const SIGNATURES_MAX: usize = 16;

/// Bytes in a message's id at most.
pub const ID_BYTES_MAX: usize = 512;

const MAC_BYTES: usize = 32;
/// In base64.
const MAC_CHARS: usize = 44;
const SECRET_PREFIX: &str = "whsec_";
const VERSION: &str = "v1,";

/// The three headers of a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Headers {
    /// `webhook-id`
    pub id: String,
    /// `webhook-timestamp`: Unix seconds.
    pub timestamp: String,
    /// `webhook-signature`: one or more signatures, parted by spaces.
    pub signature: String,
}

/// A secret in the form `whsec_` and base64; the prefix may be missing.
pub fn parse_secret(text: &str) -> Result<Secret> {
    let digits = text.strip_prefix(SECRET_PREFIX).unwrap_or(text);
    match STANDARD.decode(digits) {
        Ok(bytes) if !bytes.is_empty() => Ok(Secret::new(bytes)),
        _ => Err(Error::new(ErrorKind::ConfigInvalid, "signing.parse_secret", "a secret is whsec_ and base64")),
    }
}

/// The shareable form of a secret.
pub fn show_secret(secret: &Secret) -> String {
    format!("{SECRET_PREFIX}{}", STANDARD.encode(secret.expose()))
}

/// Signs a message with each secret; receivers accept any of them, so that secrets can be rotated.
pub fn sign(secrets: &[Secret], id: &str, at: Timestamp, body: &[u8]) -> Headers {
    let timestamp = at.as_unix_seconds().to_string();
    let signatures: Vec<_> = secrets
        .iter()
        .map(|secret| format!("{VERSION}{}", STANDARD.encode(mac(secret, id, &timestamp, body))))
        .collect();
    Headers { id: id.to_owned(), signature: signatures.join(" "), timestamp }
}

/// `Unauthenticated` unless one of the signatures fits one of the secrets and the time is within [`TOLERANCE`] of `now`.
///
/// Headers may be anything: of more than [`SIGNATURES_MAX`] signatures the rest is not looked at, and none of another
/// version. How long it takes tells nothing of a secret.
pub fn verify(secrets: &[Secret], headers: &Headers, body: &[u8], now: Timestamp) -> Result<()> {
    let refused = |message| Err(Error::new(ErrorKind::Unauthenticated, "signing.verify", message));
    if headers.id.is_empty() || headers.id.len() > ID_BYTES_MAX {
        return refused("the message has no id, or too long a one");
    }
    let is_number = !headers.timestamp.is_empty() && headers.timestamp.bytes().all(|byte| byte.is_ascii_digit());
    let Some(seconds) = headers.timestamp.parse::<i64>().ok().filter(|_| is_number) else {
        return refused("the time is not a number of seconds");
    };
    if now.as_unix_seconds().abs_diff(seconds) > TOLERANCE.as_secs() {
        return refused("the message is too old or from the future");
    }
    let given: Vec<_> = headers.signature.split(' ').take(SIGNATURES_MAX).filter_map(decode).collect();
    let fits = |secret: &Secret| {
        let expected = mac(secret, &headers.id, &headers.timestamp, body);
        given.iter().fold(false, |found, given| equal(given, &expected) | found)
    };
    // Each is tried, so that the time does not tell which one fits.
    if secrets.iter().fold(false, |found, secret| fits(secret) | found) {
        Ok(())
    } else {
        refused("no signature matches the message")
    }
}

/// The bytes of a signature of our version.
fn decode(signature: &str) -> Option<[u8; MAC_BYTES]> {
    let digits = signature.strip_prefix(VERSION).filter(|digits| digits.len() == MAC_CHARS)?;
    STANDARD.decode(digits).ok()?.try_into().ok()
}

fn mac(secret: &Secret, id: &str, timestamp: &str, body: &[u8]) -> [u8; MAC_BYTES] {
    hmac_sha256(secret, &[id.as_bytes(), b".", timestamp.as_bytes(), b".", body])
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;

    /// The example of the Standard Webhooks reference libraries.
    #[test]
    fn signs_as_the_reference_does() {
        let secret = parse_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let at = Timestamp::from_unix_micros(1_614_265_330_000_000);
        let headers = sign(&[secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", at, br#"{"test": 2432232314}"#);
        assert_eq!(headers.signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(headers.timestamp, "1614265330");
    }

    #[test]
    fn verification_takes_any_live_secret_and_refuses_the_rest() {
        let (old, new) = (Secret::new("old"), Secret::new("new"));
        let at = Timestamp::from_unix_micros(1_000_000_000_000);
        let headers = sign(&[old.clone(), new.clone()], "id", at, b"body");
        verify(slice::from_ref(&new), &headers, b"body", at).unwrap();
        verify(&[old], &headers, b"body", at + TOLERANCE).unwrap();
        assert!(verify(slice::from_ref(&new), &headers, b"body", at + TOLERANCE + Duration::from_secs(1)).is_err());
        assert!(verify(slice::from_ref(&new), &headers, b"other", at).is_err());
        assert!(verify(&[Secret::new("x")], &headers, b"body", at).is_err());
        let moved = Headers { id: "other".to_owned(), ..headers.clone() };
        assert!(verify(slice::from_ref(&new), &moved, b"body", at).is_err());
        let nonsense = Headers { signature: "v2,abc v1,%%".to_owned(), ..headers };
        assert!(verify(&[new], &nonsense, b"body", at).is_err());
    }

    #[test]
    fn secrets_round_trip() {
        let secret = Secret::new("0123456789abcdef");
        assert_eq!(parse_secret(&show_secret(&secret)).unwrap().expose(), secret.expose());
        assert!(parse_secret("whsec_").is_err());
        assert!(parse_secret("whsec_!").is_err());
    }
}
