//! The end of a tenant: all that it has is removed, and of its ledger the sums are left.

use std::collections::BTreeMap;

use super::calls::{CALL, StoredCall};
use super::numbers::{NUMBER, Number, Numbers};
use super::retention::Retentions;
use super::schema;
use super::sessions::SESSION;
use super::users::{EVERYBODY, MEMBER, Member, Users};
use super::webhooks::from_value;
use crate::billing::account::{Day, day_counter, day_entries_counter, entries_counter};
use crate::billing::ledger::{ENTRY, entry_key};
use crate::billing::{Amount, Entry, EntryKind, Posting, Unit};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::TenantId;
use crate::provider::store::{Add, Batch, Expect, Order, Query, Record};

/// The key of the entries that hold the sums.
const SUM_KEY: &str = "erased";

/// Entries that are folded into sums in one commit, and rows that are removed in one.
const PAGE: u32 = 200;

/// How often a commit is tried that others keep overtaking.
const CONFLICTS_MAX: u32 = 8;

impl Retentions {
    /// Removes all that a tenant has: calls, journals, recordings, messages, agents, keys, members with their sessions, users
    /// that are members of no other tenant, and the tenant itself. Its ledger's
    /// entries become one for each kind and unit, that names no call; all accounts stand where they stood, and an audit finds
    /// nothing wrong afterwards. What broke off half-way goes on when it is asked for once more.
    ///
    /// `Conflict` while calls of the tenant go on: it must take no more before. Whoever still writes for it while it is being
    /// removed leaves something behind.
    pub async fn erase(&self, tenant: TenantId) -> Result<()> {
        self.require_quiet(tenant).await?;
        let numbers = Numbers::new(self.runtime.clone(), self.store.clone());
        let query = Query::new(Some(tenant), NUMBER).order(Order::IdAscending).limit(PAGE);
        for number in self.all(query).await? {
            numbers.remove(tenant, from_value::<Number>(&number.body)?.id).await?;
        }
        self.fold_ledger(tenant).await?;
        for call in self.all(Query::new(Some(tenant), CALL).order(Order::IdAscending).limit(PAGE)).await? {
            self.forget(call).await?;
        }
        self.remove(Query::new(Some(EVERYBODY), SESSION).equal("of_tenant", tenant.to_string()).limit(PAGE), |_| true)
            .await?;
        let users = Users::new(self.runtime.clone(), self.store.clone());
        for member in self.all(Query::new(Some(tenant), MEMBER).order(Order::IdAscending).limit(PAGE)).await? {
            users.leave(&from_value::<Member>(&member.body)?).await?;
        }
        for kind in schema().kinds.iter().filter(|kind| kind.name != ENTRY) {
            self.remove(Query::new(Some(tenant), kind.name).order(Order::IdAscending).limit(PAGE), |_| true).await?;
        }
        Ok(())
    }

    async fn require_quiet(&self, tenant: TenantId) -> Result<()> {
        for call in self.all(Query::new(Some(tenant), CALL).order(Order::IdAscending).limit(PAGE)).await? {
            if from_value::<StoredCall>(&call.body)?.lease.is_some() {
                return Err(Error::new(ErrorKind::Conflict, "retention.erase", "calls of the tenant go on"));
            }
        }
        Ok(())
    }

    async fn all(&self, query: Query) -> Result<Vec<Record>> {
        let (mut all, mut next) = (Vec::new(), query.clone());
        loop {
            let page = self.store.list(next).await?;
            all.extend(page.records);
            let Some(cursor) = page.next else { return Ok(all) };
            next = query.clone().after(cursor);
        }
    }

    /// Makes of all entries one for each kind and unit.
    async fn fold_ledger(&self, tenant: TenantId) -> Result<()> {
        let suffix = format!(":{SUM_KEY}:");
        let query = Query::new(Some(tenant), ENTRY).order(Order::IdAscending).limit(PAGE);
        let mut next = query.clone();
        loop {
            let page = self.store.list(next).await?;
            let entries: Vec<Record> =
                page.records.into_iter().filter(|record| !record.key.id.contains(&suffix)).collect();
            self.fold(tenant, entries).await?;
            let Some(cursor) = page.next else { return Ok(()) };
            next = query.clone().after(cursor);
        }
    }

    /// Folds some entries into the sums, in one commit.
    async fn fold(&self, tenant: TenantId, records: Vec<Record>) -> Result<()> {
        let mut sums: BTreeMap<(EntryKind, Unit), i64> = BTreeMap::new();
        let mut batch = Batch::default();
        batch.add(Add::new(entries_counter(tenant), -i64::try_from(records.len()).unwrap_or(i64::MAX)));
        for record in &records {
            let entry: Entry = from_value(&record.body)?;
            let sum = sums.entry((entry.kind, entry.unit)).or_default();
            *sum = sum.saturating_add(entry.amount);
            batch.delete(record.key.clone(), Expect::Revision(record.revision));
            count_day(&mut batch, tenant, &entry, -1);
        }
        if records.is_empty() {
            return Ok(());
        }
        for _ in 0..CONFLICTS_MAX {
            let mut folded = batch.clone();
            for ((kind, unit), amount) in &sums {
                self.add_sum(&mut folded, tenant, *kind, Amount { unit: *unit, value: *amount }).await?;
            }
            match self.store.commit(folded).await {
                Err(error) if error.kind() == ErrorKind::Conflict => {}
                result => return result.map(|_| ()),
            }
        }
        Err(Error::new(ErrorKind::Conflict, "retention.erase", "the ledger does not stand still"))
    }

    /// Puts `amount` on top of the sum of its kind.
    async fn add_sum(&self, batch: &mut Batch, tenant: TenantId, kind: EntryKind, amount: Amount) -> Result<()> {
        let key = format!("{SUM_KEY}:{}", amount.unit);
        let record = self.store.get(entry_key(tenant, kind, &key)).await?;
        let mut posting = Posting::new(tenant, kind, amount, key, self.runtime.wall_clock());
        let expect = match &record {
            Some(record) => {
                let before: Entry = from_value(&record.body)?;
                count_day(batch, tenant, &before, -1);
                posting.entry.amount = before.amount.saturating_add(amount.value);
                Expect::Revision(record.revision)
            }
            None => {
                batch.add(Add::new(entries_counter(tenant), 1));
                Expect::Absent
            }
        };
        count_day(batch, tenant, &posting.entry, 1);
        batch.put(posting.put(expect)?);
        Ok(())
    }
}

/// Counts an entry among those of its day, or takes it out.
fn count_day(batch: &mut Batch, tenant: TenantId, entry: &Entry, sign: i64) {
    if entry.kind.moves_balance() {
        let day = Day::of(entry.at);
        let delta = entry.balance_delta().saturating_mul(sign);
        batch.add(Add::new(day_counter(tenant, entry.unit, day, entry.kind), delta));
        batch.add(Add::new(day_entries_counter(tenant, entry.unit, day), sign));
    }
}
