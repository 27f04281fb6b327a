//! The ledger under any postings: balances never pass their floor, entries always explain the balances.

#![allow(clippy::expect_used, reason = "helpers of tests fail tests")]

use futures_lite::future::block_on;
use offhook::billing::ledger::ENTRY;
use offhook::billing::{Account, Entry, EntryKind, Posting};
use offhook::error::ErrorKind;
use offhook::ids::TenantId;
use offhook::memory::MemoryStore;
use offhook::provider::Store;
use offhook::provider::store::{Add, Batch, Query};
use offhook::service;
use offhook::time::Timestamp;
use proptest::prelude::*;

const KINDS: [EntryKind; 4] = [EntryKind::Grant, EntryKind::Hold, EntryKind::Release, EntryKind::Settle];

async fn balances(store: &MemoryStore, tenant: TenantId) -> [i64; 4] {
    let mut batch = Batch::default();
    for account in Account::ALL {
        batch.add(Add::read(account.counter(tenant)));
    }
    let counters = store.commit(batch).await.expect("a read").counters;
    Account::ALL.map(|account| counters[&account.counter(tenant)])
}

/// What the stored entries add up to.
async fn sums(store: &MemoryStore, tenant: TenantId) -> [i64; 4] {
    let page = store.list(Query::new(Some(tenant), ENTRY)).await.expect("a page");
    let entries =
        page.records.iter().map(|record| serde_json::from_value::<Entry>(record.body.clone()).expect("an entry"));
    entries.fold([0; 4], |mut sums, entry| {
        let (from, to) = entry.kind.accounts();
        let index = |wanted| Account::ALL.iter().position(|account| *account == wanted).expect("an account");
        sums[index(from)] -= entry.amount_ms;
        sums[index(to)] += entry.amount_ms;
        sums
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn entries_and_balances_agree_whatever_is_posted(
        postings in proptest::collection::vec((0_usize..4, 0_i64..5_000, 0_u8..40), 1..60),
    ) {
        let tenant = TenantId::new(Timestamp::default(), [1; 10]);
        let store = MemoryStore::new(service::schema()).expect("a store");
        let mut seen = std::collections::BTreeSet::new();
        for (kind, amount_ms, key) in postings {
            let before = block_on(balances(&store, tenant));
            let kind = KINDS[kind];
            let posting = Posting {
                amount_ms,
                at: Timestamp::default(),
                call: None,
                key: key.to_string(),
                kind,
                tenant,
            };
            let mut batch = Batch::default();
            posting.post(&mut batch);
            match block_on(store.commit(batch)) {
                Ok(_) => prop_assert!(seen.insert((kind, key)), "posted twice"),
                Err(error) => {
                    let expected = if seen.contains(&(kind, key)) { ErrorKind::Conflict } else { ErrorKind::InsufficientFunds };
                    prop_assert_eq!(error.kind(), expected);
                    prop_assert_eq!(block_on(balances(&store, tenant)), before, "a refused posting moved something");
                }
            }
            let after = block_on(balances(&store, tenant));
            prop_assert_eq!(after, block_on(sums(&store, tenant)));
            prop_assert_eq!(after.iter().sum::<i64>(), 0);
            let [available, held, _, used] = after;
            prop_assert!(available >= 0 && held >= 0 && used >= 0);
        }
    }
}
