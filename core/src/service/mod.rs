//! What the engine does for a tenant beside its calls: one noun a file, all over a [`Store`](crate::provider::Store).

pub mod after_call;
pub mod agents;
pub mod analysis;
pub mod audit;
pub mod calls;
pub mod capacity;
mod clock;
pub mod credits;
pub mod desk;
mod erasure;
pub mod functions;
pub mod hours;
pub mod keys;
pub mod numbers;
pub mod outbox;
pub mod prefetch;
pub mod recordings;
pub(crate) mod recovery;
pub mod retention;
mod rows;
pub mod sessions;
pub mod statements;
pub mod tasks;
pub mod tenants;
pub mod trunks;
pub mod users;
pub mod vault;
pub mod webhooks;

use crate::billing::ledger::ENTRY;
use crate::provider::store::{IndexType, KindSchema, Schema};

/// Kinds that are read at every request or call and seldom written: worth [remembering](crate::wrap::Cached).
pub const SELDOM_WRITTEN: [&str; 7] = [
    agents::AGENT,
    capacity::LIMITS,
    credits::TERMS,
    numbers::NUMBER,
    numbers::NUMBER_OWNER,
    tenants::TENANT,
    webhooks::ENDPOINT,
];

/// The records of the engine: what a store must be opened with.
pub fn schema() -> Schema {
    use IndexType::{Integer, Text};
    let kind = |name, indexes: &[(&'static str, IndexType)]| KindSchema { name, indexes: indexes.to_vec() };
    Schema {
        kinds: vec![
            kind(after_call::AFTER_CALL, &[]),
            kind(agents::AGENT, &[("active", Text), ("agent", Text), ("name", Text)]),
            kind(keys::API_KEY, &[("hash", Text)]),
            kind(
                calls::CALL,
                &[
                    ("agent", Text),
                    ("dialro", Text),
                    ("direction", Text),
                    ("started_at", Integer),
                    ("status", Text),
                    ("task", Text),
                    ("voxstack", Text),
                ],
            ),
            kind(capacity::LIMITS, &[]),
            kind(credits::TERMS, &[]),
            kind(ENTRY, &[("statement", Text), ("call", Text), ("at", Integer)]),
            kind(numbers::NUMBER, &[("agent", Text)]),
            kind(numbers::NUMBER_OWNER, &[]),
            kind(recordings::RECORDING, &[("created_at", Integer)]),
            kind(retention::RETENTION, &[]),
            kind(
                tasks::TASK,
                &[("agent", Text), ("due", Integer), ("rank", Integer), ("status", Text), ("voxstack", Text)],
            ),
            kind(tasks::TASK_KEY, &[]),
            kind(tasks::TASK_QUEUE, &[]),
            kind(tenants::TENANT, &[]),
            kind(outbox::BELL, &[]),
            kind(outbox::DELIVERY, &[("lane", Text), ("standing", Text), ("turn", Text)]),
            kind(outbox::QUEUE, &[]),
            kind(sessions::SESSION, &[("of_tenant", Text)]),
            kind(trunks::TRUNK, &[]),
            kind(users::INVITATION, &[("hash", Text)]),
            kind(users::MEMBER, &[("user", Text)]),
            kind(users::USER, &[("email", Text)]),
            kind(webhooks::ENDPOINT, &[]),
        ],
    }
}
