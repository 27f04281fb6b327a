//! A tenant's prepaid talk time.

use std::sync::Arc;
use std::time::Duration;

use crate::billing::{Account, EntryKind, Posting};
use crate::error::{ErrorKind, Result};
use crate::ids::TenantId;
use crate::provider::Store;
use crate::provider::store::{Add, Batch, Committed};
use crate::runtime::Runtime;
use crate::time::millis;

/// Prepaid talk time, for all tenants.
#[derive(Clone)]
pub struct Credits {
    runtime: Arc<dyn Runtime>,
    store: Arc<dyn Store>,
}

/// Where a tenant's talk time is, in milliseconds: purchased = available + held + used.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Balance {
    /// What calls may still take.
    pub available_ms: i64,
    /// What live calls hold.
    pub held_ms: i64,
    /// All that was bought or given.
    pub purchased_ms: i64,
    /// What was talked.
    pub used_ms: i64,
}

impl Credits {
    pub(crate) fn new(runtime: Arc<dyn Runtime>, store: Arc<dyn Store>) -> Self {
        Self { runtime, store }
    }

    /// Gives talk time. The same `key` gives it once, however often it is called.
    pub async fn grant(&self, tenant: TenantId, time: Duration, key: &str) -> Result<Balance> {
        let posting = Posting {
            amount_ms: i64::try_from(millis(time)).unwrap_or(i64::MAX),
            at: self.runtime.wall_clock(),
            call: None,
            key: key.to_owned(),
            kind: EntryKind::Grant,
            tenant,
        };
        let mut batch = Batch::default();
        posting.post(&mut batch);
        match self.store.commit(batch).await {
            Ok(_) => self.balance(tenant).await,
            Err(error) if error.kind() == ErrorKind::Conflict => self.balance(tenant).await,
            Err(error) => Err(error),
        }
    }

    /// The balance now.
    pub async fn balance(&self, tenant: TenantId) -> Result<Balance> {
        let mut batch = Batch::default();
        for account in Account::ALL {
            batch.add(Add::read(account.counter(tenant)));
        }
        let committed = self.store.commit(batch).await?;
        let balance = |account| balance_of(&committed, account, tenant);
        Ok(Balance {
            available_ms: balance(Account::Available),
            held_ms: balance(Account::Held),
            purchased_ms: -balance(Account::Purchased),
            used_ms: balance(Account::Used),
        })
    }
}

/// The balance of an account after a commit that moved it.
pub(super) fn balance_of(committed: &Committed, account: Account, tenant: TenantId) -> i64 {
    committed.counters.get(&account.counter(tenant)).copied().unwrap_or(0)
}
