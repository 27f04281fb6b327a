//! Links that expire: a path with its end and a signature over both, in hexadecimal.

use super::{Secret, equal, hmac_sha256};
use crate::error::{Error, ErrorKind, Result};
use crate::time::Timestamp;

/// Tells the signature of a link from any other made with the same key.
const CONTEXT: &[u8] = b"offhook link\n";

/// `path`, which has no query, with the query that lets it be read until `expires_at`, to the second.
pub fn sign(secret: &Secret, path: &str, expires_at: Timestamp) -> String {
    let expires = expires_at.as_unix_seconds().to_string();
    let signature = hex::encode(mac(secret, path, &expires));
    format!("{path}?expires={expires}&signature={signature}")
}

/// `Unauthenticated` unless `query` is what [`sign`] gave `path` with one of the secrets, and `PermissionDenied` once it has
/// expired. Parameters may stand in any order, and others beside them.
pub fn verify(secrets: &[Secret], path: &str, query: &str, now: Timestamp) -> Result<()> {
    let parameter = |name| query.split('&').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name));
    let refused = || Error::new(ErrorKind::Unauthenticated, "link.verify", "the link is not signed by us");
    let (Some((_, expires)), Some((_, signature))) = (parameter("expires"), parameter("signature")) else {
        return Err(refused());
    };
    let given = hex::decode(signature).map_err(|_| refused())?;
    if !secrets.iter().any(|secret| equal(&given, &mac(secret, path, expires))) {
        return Err(refused());
    }
    match expires.parse::<i64>() {
        Ok(expires) if now.as_unix_seconds() < expires => Ok(()),
        _ => Err(Error::new(ErrorKind::PermissionDenied, "link.verify", "the link has expired")),
    }
}

fn mac(secret: &Secret, path: &str, expires: &str) -> [u8; 32] {
    hmac_sha256(secret, &[CONTEXT, path.as_bytes(), b"\n", expires.as_bytes()])
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;

    const PATH: &str = "/recordings/1/2.wav";

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_link_opens_its_path_until_it_expires() {
        let (old, new) = (Secret::new("old"), Secret::new("new"));
        let link = sign(&old, PATH, at(100));
        let (path, query) = link.split_once('?').unwrap();
        assert_eq!(path, PATH);
        verify(&[new.clone(), old.clone()], PATH, query, at(99)).unwrap();
        verify(slice::from_ref(&old), PATH, &format!("download=1&{query}"), at(99)).unwrap();
        let kind = |path, query: &str, now| verify(slice::from_ref(&old), path, query, now).unwrap_err().kind();
        assert_eq!(kind(PATH, query, at(100)), ErrorKind::PermissionDenied);
        assert_eq!(kind("/recordings/1/3.wav", query, at(1)), ErrorKind::Unauthenticated);
        assert_eq!(kind(PATH, &query.replace("100", "1000"), at(1)), ErrorKind::Unauthenticated);
        for nonsense in ["", "expires=100", "signature=00", "expires=100&signature=zz", "expires=&signature="] {
            assert_eq!(kind(PATH, nonsense, at(1)), ErrorKind::Unauthenticated, "{nonsense}");
        }
        assert!(verify(&[new], PATH, query, at(1)).is_err());
    }
}
