//! A secret in a configuration that is written out, in hexadecimal. In a store it is sealed besides.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

use super::Secret;

pub(crate) fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode(secret.expose()))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
    let text = String::deserialize(deserializer)?;
    hex::decode(text).map(Secret::new).map_err(|_| D::Error::custom("a secret is written in hexadecimal"))
}

/// A secret that may be missing.
pub(crate) mod optional {
    use super::{Deserializer, Secret, Serializer};

    pub(crate) fn serialize<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
        match secret {
            Some(secret) => super::serialize(secret, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
        #[derive(serde::Deserialize)]
        struct Wrapped(#[serde(with = "super")] Secret);
        let secret: Option<Wrapped> = serde::Deserialize::deserialize(deserializer)?;
        Ok(secret.map(|Wrapped(secret)| secret))
    }
}
