//! The records of one kind, with what they can be found by.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::ids::TenantId;
use crate::provider::store::cursor::Cursor;
use crate::provider::store::{IndexRange, IndexValue, LIMIT_MAX, Order, Page, Position, Query, Record};
use crate::time::Timestamp;

/// A record's place: ids come first, as in every order.
type Place = (String, TenantId);

#[derive(Default)]
pub(super) struct Table {
    records: BTreeMap<TenantId, BTreeMap<String, Record>>,
    /// Index by name, then the places of each value.
    indexes: BTreeMap<String, BTreeMap<IndexValue, BTreeSet<Place>>>,
    due: BTreeSet<(Timestamp, Place)>,
}

impl Table {
    pub(super) fn get(&self, tenant: TenantId, id: &str) -> Option<&Record> {
        self.records.get(&tenant)?.get(id)
    }

    /// Puts a record in, in place of one with the same key.
    pub(super) fn insert(&mut self, record: Record) {
        self.remove(record.key.tenant, &record.key.id);
        let place = (record.key.id.clone(), record.key.tenant);
        for (index, value) in &record.indexes {
            let values = self.indexes.entry(index.clone()).or_default();
            values.entry(value.clone()).or_default().insert(place.clone());
        }
        if let Some(due_at) = record.due_at {
            self.due.insert((due_at, place.clone()));
        }
        self.records.entry(record.key.tenant).or_default().insert(place.0, record);
    }

    pub(super) fn remove(&mut self, tenant: TenantId, id: &str) -> Option<Record> {
        let record = self.records.get_mut(&tenant)?.remove(id)?;
        let place = (record.key.id.clone(), tenant);
        for (index, value) in &record.indexes {
            let Some(values) = self.indexes.get_mut(index) else {
                continue;
            };
            let Some(places) = values.get_mut(value) else { continue };
            places.remove(&place);
            if places.is_empty() {
                values.remove(value);
            }
        }
        if let Some(due_at) = record.due_at {
            self.due.remove(&(due_at, place));
        }
        Some(record)
    }

    pub(super) fn claim(&mut self, now: Timestamp, until: Timestamp, limit: u32) -> Vec<Record> {
        let due = self.due.iter().take_while(|(due_at, _)| *due_at <= now).take(limit as usize);
        let places: Vec<Place> = due.map(|(_, place)| place.clone()).collect();
        let mut claimed = Vec::with_capacity(places.len());
        for (id, tenant) in places {
            let Some(mut record) = self.remove(tenant, &id) else {
                continue;
            };
            record.due_at = Some(until);
            record.revision += 1;
            self.insert(record.clone());
            claimed.push(record);
        }
        claimed
    }

    pub(super) fn list(&self, query: &Query, cursor: Option<&Cursor>) -> Page {
        let mut found: Vec<(Cursor, &Record)> = self
            .candidates(query)
            .filter(|record| matches(query, record))
            .map(|record| (Cursor::of(record, query), record))
            .filter(|(place, _)| cursor.is_none_or(|cursor| compare(&query.order, place, cursor).is_gt()))
            .collect();
        found.sort_unstable_by(|(a, _), (b, _)| compare(&query.order, a, b));
        let skipped = match &query.position {
            Position::After(_) => 0,
            Position::Offset(records) => usize::try_from(*records).unwrap_or(usize::MAX),
        };
        let limit = query.limit.clamp(1, LIMIT_MAX) as usize;
        let mut rest = found.into_iter().skip(skipped);
        let page: Vec<(Cursor, &Record)> = rest.by_ref().take(limit).collect();
        let next = page.last().filter(|_| rest.next().is_some()).map(|(place, _)| place.clone().encode(query));
        Page { records: page.into_iter().map(|(_, record)| record.clone()).collect(), next }
    }

    pub(super) fn count(&self, query: &Query) -> u64 {
        self.candidates(query).filter(|record| matches(query, record)).count() as u64
    }

    /// Records that may match: those of the rarest value asked for, else the tenant's, else all.
    fn candidates<'a>(&'a self, query: &'a Query) -> Box<dyn Iterator<Item = &'a Record> + 'a> {
        let places =
            |(index, value): (&String, &IndexValue)| self.indexes.get(index).and_then(|values| values.get(value));
        if query.equal.is_empty() {
            return match query.tenant {
                Some(tenant) => Box::new(self.records.get(&tenant).into_iter().flat_map(BTreeMap::values)),
                None => Box::new(self.records.values().flat_map(BTreeMap::values)),
            };
        }
        let rarest = query.equal.iter().map(places).min_by_key(|places| places.map_or(0, BTreeSet::len)).flatten();
        Box::new(rarest.into_iter().flatten().filter_map(|(id, tenant)| self.get(*tenant, id)))
    }
}

fn matches(query: &Query, record: &Record) -> bool {
    query.tenant.is_none_or(|tenant| tenant == record.key.tenant)
        && query.equal.iter().all(|(index, value)| record.indexes.get(index) == Some(value))
        && query.range.as_ref().is_none_or(|range| lies_in(range, record))
}

fn lies_in(range: &IndexRange, record: &Record) -> bool {
    let Some(value) = record.indexes.get(&range.index) else {
        return false;
    };
    range.from.as_ref().is_none_or(|from| value >= from) && range.to.as_ref().is_none_or(|to| value < to)
}

fn compare(order: &Order, a: &Cursor, b: &Cursor) -> Ordering {
    // Missing values come last in both directions.
    let missing = a.value.is_none().cmp(&b.value.is_none());
    let ascending = (&a.value, &a.id, a.tenant).cmp(&(&b.value, &b.id, b.tenant));
    match order {
        Order::IdAscending | Order::IndexAscending(_) => missing.then(ascending),
        Order::IdDescending | Order::IndexDescending(_) => missing.then(ascending.reverse()),
    }
}
