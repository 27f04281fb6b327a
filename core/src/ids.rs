//! Identifiers: one UUIDv7 (RFC 9562) per thing, a type per kind of thing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{Error, ErrorKind};
use crate::runtime::{Runtime, random_id_bytes};
use crate::time::Timestamp;

/// A UUIDv7 from a moment and ten random bytes, sortable by the moment.
pub fn uuid_v7(moment: Timestamp, random: [u8; 10]) -> Uuid {
    let millis = u64::try_from(moment.as_unix_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id from a moment and ten random bytes.
            pub fn new(moment: Timestamp, random: [u8; 10]) -> Self {
                Self(uuid_v7(moment, random))
            }

            /// A new id of this moment.
            pub fn generate(runtime: &dyn Runtime) -> Self {
                Self::new(runtime.wall_clock(), random_id_bytes(runtime))
            }

            /// Wraps an existing UUID.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID.
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                text.parse().map(Self).map_err(|error: uuid::Error| {
                    Error::new(ErrorKind::ConfigInvalid, "id.parse", "not a UUID").with_source(error)
                })
            }
        }
    )*};
}

ids! {
    /// An agent: prompt, voice, tools and policies.
    AgentId
    /// A key to an API.
    ApiKeyId
    /// A call, from its first ring to its settlement.
    CallId
    /// One delivery of one event to one webhook endpoint.
    DeliveryId
    /// A running engine: new with each start of one.
    EngineId
    /// One entry in a tenant's ledger.
    EntryId
    /// Credits held for a call that has not been settled.
    HoldId
    /// A telephone number of a tenant.
    NumberId
    /// A wish to call somebody.
    TaskId
    /// A customer of the engine: everything belongs to exactly one.
    TenantId
    /// A person who manages a tenant.
    UserId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_round_trip() {
        let early = CallId::new(Timestamp::from_unix_micros(1_000_000), [0xff; 10]);
        let late = CallId::new(Timestamp::from_unix_micros(2_000_000), [0; 10]);
        assert!(early < late);
        assert_eq!(early.as_uuid().get_version_num(), 7);
        assert_eq!(early.to_string().parse::<CallId>().unwrap(), early);
        assert_eq!("nonsense".parse::<CallId>().unwrap_err().kind(), ErrorKind::ConfigInvalid);
    }
}
