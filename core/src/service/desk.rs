//! What is done at a desk: the records of tenants, without an engine that holds calls.

use std::sync::Arc;

use super::agents::Agents;
use super::credits::Credits;
use super::keys::ApiKeys;
use super::numbers::Numbers;
use super::tenants::Tenants;
use super::trunks::Trunks;
use super::users::Users;
use super::vault::{Vault, VaultKey};
use crate::provider::Store;
use crate::provider::reach::Reach;
use crate::runtime::Runtime;

/// The services that need no engine. Beside an engine on the same store it changes nothing that the engine does not see at
/// once.
#[derive(Clone)]
#[non_exhaustive]
pub struct Desk {
    /// Agents as they are kept.
    pub agents: Agents,
    /// Prepaid time and money.
    pub credits: Credits,
    /// Keys to the APIs of a server.
    pub keys: ApiKeys,
    /// Which agent answers where.
    pub numbers: Numbers,
    /// The customers of a server.
    pub tenants: Tenants,
    /// Lines to the telephone network.
    pub trunks: Trunks,
    /// The people who manage tenants.
    pub users: Users,
}

impl Desk {
    /// The services over `store`, with the engine's own vault keys and reach.
    pub fn new(runtime: Arc<dyn Runtime>, store: Arc<dyn Store>, vault_keys: Vec<VaultKey>, reach: Reach) -> Self {
        let vault = Vault::new(runtime.clone(), vault_keys);
        let numbers = Numbers::new(runtime.clone(), store.clone());
        Self {
            agents: Agents::new(store.clone(), numbers.clone(), vault.clone(), reach),
            credits: Credits::new(runtime.clone(), store.clone()),
            keys: ApiKeys::new(runtime.clone(), store.clone()),
            numbers,
            tenants: Tenants::new(runtime.clone(), store.clone(), vault.clone()),
            trunks: Trunks::new(runtime.clone(), store.clone(), vault),
            users: Users::new(runtime, store),
        }
    }
}
