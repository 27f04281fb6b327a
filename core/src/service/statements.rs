//! Statements: what moved a tenant's balance in a period, and how it stood before and after each entry.

use std::collections::BTreeMap;

use super::credits::Credits;
use super::webhooks::from_value;
use crate::billing::account::{Day, day_counter, day_entries_counter};
use crate::billing::ledger::ENTRY;
use crate::billing::{Entry, EntryKind, Unit};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::TenantId;
use crate::provider::store::{Add, Batch, IndexValue, LIMIT_MAX, Order, Page, Query};
use crate::time::Timestamp;

/// How often a ledger is read again that others write to meanwhile. Then a statement is added up from its first day.
const SNAPSHOTS_MAX: u32 = 3;

/// Days whose counters are read at once, and those of a statement at most; a longer one is added up entry by entry.
const DAYS_AT_ONCE: u64 = 1_000;
const DAYS_MAX: u64 = 50_000;

/// Between a balance and a store's cursor.
const SEPARATOR: char = '~';

/// Which entries a statement is about.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Period {
    /// Of which accounts.
    pub unit: Unit,
    /// The first moment inside; `None` for the very first.
    pub from: Option<Timestamp>,
    /// The first moment outside; `None` for no end.
    pub to: Option<Timestamp>,
}

/// What a period did to a balance: `opening` + all `totals` = `closing`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Statement {
    /// The balance before the period.
    pub opening: i64,
    /// The balance after it.
    pub closing: i64,
    /// How many entries moved it.
    pub entries: u64,
    /// By how much, for each kind that did.
    pub totals: BTreeMap<EntryKind, i64>,
}

/// An entry of a statement.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// Unique in the tenant.
    pub id: String,
    /// The entry.
    pub entry: Entry,
    /// The balance after it, in the order of the entries' times.
    pub balance_after: i64,
}

/// A part of a statement's lines.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Lines {
    /// In the order that was asked for.
    pub lines: Vec<Line>,
    /// Where to go on, if there is more.
    pub next: Option<String>,
}

/// Which lines first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LineOrder {
    /// The latest.
    NewestFirst,
    /// The earliest.
    OldestFirst,
}

impl Credits {
    /// The statement of a period. Of the entries, it reads those of the days on which the period begins and ends.
    pub async fn statement(&self, tenant: TenantId, period: Period) -> Result<Statement> {
        let Period { unit, from, to } = period;
        for _ in 0..SNAPSHOTS_MAX {
            let before = self.standing(tenant, unit).await?;
            let within = self.sum(tenant, period).await?;
            let later = match to {
                Some(to) => self.sum(tenant, Period { unit, from: Some(to), to: None }).await?.closing,
                None => 0,
            };
            if self.standing(tenant, unit).await?.entries == before.entries {
                let closing = before.counted.saturating_sub(later);
                let opening = closing.saturating_sub(within.closing);
                return Ok(within.opened_at(opening));
            }
        }
        let earlier = match from {
            Some(from) => self.sum(tenant, Period { unit, from: None, to: Some(from) }).await?.closing,
            None => 0,
        };
        Ok(self.sum(tenant, period).await?.opened_at(earlier))
    }

    /// At most `limit` lines of a statement, after the page that gave `after`.
    ///
    /// `ConfigInvalid` for an `after` that is not of this list.
    pub async fn statement_lines(
        &self,
        tenant: TenantId,
        period: Period,
        order: LineOrder,
        limit: u32,
        after: Option<&str>,
    ) -> Result<Lines> {
        let mut query = entries(tenant, period, order).limit(limit);
        if let Some(after) = after {
            let place = after.split_once(SEPARATOR).and_then(|(balance, cursor)| Some((balance.parse().ok()?, cursor)));
            let (balance, cursor) = place.ok_or_else(|| {
                Error::new(ErrorKind::ConfigInvalid, "credits.statement", "not a cursor of this statement")
            })?;
            query = query.after(cursor);
            return lines(self.store.list(query).await?, balance, order);
        }
        for _ in 0..SNAPSHOTS_MAX {
            let before = self.standing(tenant, period.unit).await?.entries;
            let start = self.start(tenant, period, order).await?;
            let page = self.store.list(query.clone()).await?;
            if self.standing(tenant, period.unit).await?.entries == before {
                return lines(page, start, order);
            }
        }
        // Entries that come now are as late as now: up to here nothing changes any more.
        let to = Some(period.to.unwrap_or(self.runtime.wall_clock()));
        let period = Period { to, ..period };
        let start = self.start(tenant, period, order).await?;
        lines(self.store.list(entries(tenant, period, order).limit(limit)).await?, start, order)
    }

    /// The balance that the first line goes on from.
    async fn start(&self, tenant: TenantId, period: Period, order: LineOrder) -> Result<i64> {
        let Period { unit, from, to } = period;
        let moment = match order {
            LineOrder::NewestFirst => to,
            LineOrder::OldestFirst if from.is_none() => return Ok(0),
            LineOrder::OldestFirst => from,
        };
        let counted = self.standing(tenant, unit).await?.counted;
        let Some(moment) = moment else { return Ok(counted) };
        let later = self.sum(tenant, Period { unit, from: Some(moment), to: None }).await?.closing;
        Ok(counted.saturating_sub(later))
    }

    /// Adds up a period as if it opened with nothing: its whole days by their counters, and what is left entry by entry.
    async fn sum(&self, tenant: TenantId, period: Period) -> Result<Statement> {
        let mut statement = Statement::default();
        match self.whole_days(tenant, period).await? {
            Some((first, end)) => {
                self.add_days(&mut statement, tenant, period.unit, first, end).await?;
                let (start, end) = (Some(first.start()), Some(end.start()));
                if period.from.is_some() && period.from < start {
                    self.add_entries(&mut statement, tenant, Period { to: start, ..period }).await?;
                }
                if period.to > end {
                    self.add_entries(&mut statement, tenant, Period { from: end, ..period }).await?;
                }
            }
            None => self.add_entries(&mut statement, tenant, period).await?,
        }
        statement.totals.retain(|_, total| *total != 0);
        Ok(statement)
    }

    /// The first of the days that lie in a period as a whole and the one after the last, as far as there are entries.
    async fn whole_days(&self, tenant: TenantId, period: Period) -> Result<Option<(Day, Day)>> {
        let mut bounds = Vec::with_capacity(2);
        for order in [LineOrder::OldestFirst, LineOrder::NewestFirst] {
            let page = self.store.list(entries(tenant, period, order).limit(1)).await?;
            let Some(record) = page.records.first() else { return Ok(None) };
            bounds.push(Day::of(from_value::<Entry>(&record.body)?.at));
        }
        let is_cut = |moment: &Timestamp| Day::of(*moment).start() != *moment;
        let (earliest, latest) = (bounds[0], bounds[1].next());
        let first = period.from.map(|from| if is_cut(&from) { Day::of(from).next() } else { Day::of(from) });
        let first = first.map_or(earliest, |first| first.max(earliest));
        let end = period.to.map_or(latest, |to| Day::of(to).min(latest));
        Ok((1..=DAYS_MAX).contains(&first.until(end)).then_some((first, end)))
    }

    async fn add_days(
        &self,
        statement: &mut Statement,
        tenant: TenantId,
        unit: Unit,
        mut day: Day,
        end: Day,
    ) -> Result<()> {
        while day < end {
            let mut batch = Batch::default();
            let first = day;
            while day < end && first.until(day) < DAYS_AT_ONCE {
                for kind in EntryKind::MOVING {
                    batch.add(Add::read(day_counter(tenant, unit, day, kind)));
                }
                batch.add(Add::read(day_entries_counter(tenant, unit, day)));
                day = day.next();
            }
            let counters = self.store.commit(batch).await?.counters;
            let value = |counter| counters.get(&counter).copied().unwrap_or(0);
            let mut read = first;
            while read < day {
                for kind in EntryKind::MOVING {
                    statement.add(kind, value(day_counter(tenant, unit, read, kind)));
                }
                let entries = u64::try_from(value(day_entries_counter(tenant, unit, read))).unwrap_or(0);
                statement.entries = statement.entries.saturating_add(entries);
                read = read.next();
            }
        }
        Ok(())
    }

    async fn add_entries(&self, statement: &mut Statement, tenant: TenantId, period: Period) -> Result<()> {
        let mut query = entries(tenant, period, LineOrder::OldestFirst);
        loop {
            let page = self.store.list(query.clone()).await?;
            for record in &page.records {
                let entry: Entry = from_value(&record.body)?;
                statement.add(entry.kind, entry.balance_delta());
                statement.entries += 1;
            }
            let Some(next) = page.next else { return Ok(()) };
            query = query.after(next);
        }
    }
}

impl Statement {
    fn add(&mut self, kind: EntryKind, delta: i64) {
        let total = self.totals.entry(kind).or_default();
        // The store's counters are 64 bits wide, too, and took all of it.
        *total = total.saturating_add(delta);
        self.closing = self.closing.saturating_add(delta);
    }

    fn opened_at(self, opening: i64) -> Self {
        Self { opening, closing: opening.saturating_add(self.closing), ..self }
    }
}

/// The entries that moved a balance.
fn entries(tenant: TenantId, period: Period, order: LineOrder) -> Query {
    let bound = |moment: Timestamp| IndexValue::Integer(moment.as_unix_micros());
    let order = match order {
        LineOrder::NewestFirst => Order::IndexDescending("at".to_owned()),
        LineOrder::OldestFirst => Order::IndexAscending("at".to_owned()),
    };
    Query::new(Some(tenant), ENTRY)
        .equal("statement", period.unit.to_string())
        .range("at", period.from.map(bound), period.to.map(bound))
        .order(order)
        .limit(LIMIT_MAX)
}

fn lines(page: Page, mut balance: i64, order: LineOrder) -> Result<Lines> {
    let mut lines = Vec::with_capacity(page.records.len());
    for record in page.records {
        let entry: Entry = from_value(&record.body)?;
        let delta = entry.balance_delta();
        let balance_after = match order {
            LineOrder::NewestFirst => balance,
            LineOrder::OldestFirst => balance.saturating_add(delta),
        };
        balance = match order {
            LineOrder::NewestFirst => balance.saturating_sub(delta),
            LineOrder::OldestFirst => balance_after,
        };
        lines.push(Line { id: record.key.id, entry, balance_after });
    }
    Ok(Lines { lines, next: page.next.map(|cursor| format!("{balance}{SEPARATOR}{cursor}")) })
}
