//! What a ledger should be: three sums and a list.

use std::collections::{BTreeMap, BTreeSet};

use offhook::billing::{Entry, EntryKind, Posting, Terms, Unit};
use offhook::error::ErrorKind;
use offhook::ids::CallId;
use offhook::service::statements::{Period, Statement};

use super::id_of;

/// The ledger of one tenant.
#[derive(Default)]
pub(super) struct Model {
    entries: BTreeMap<String, Entry>,
    held_for: BTreeSet<CallId>,
    pub(super) terms: Terms,
    units: BTreeMap<Unit, Sums>,
}

/// What was bought, is held and was used.
#[derive(Clone, Copy, Default)]
struct Sums {
    bought: i128,
    held: i128,
    used: i128,
}

impl Sums {
    fn available(self) -> i128 {
        self.bought - self.held - self.used
    }

    fn after(self, entry: &Entry) -> Self {
        let amount = i128::from(entry.amount);
        let Self { bought, held, used } = self;
        match entry.kind {
            EntryKind::Adjustment | EntryKind::Grant | EntryKind::Purchase => Self { bought: bought + amount, ..self },
            EntryKind::Hold => Self { held: held + amount, ..self },
            EntryKind::Refund => Self { used: used - amount, ..self },
            EntryKind::Release => Self { held: held - amount, ..self },
            EntryKind::Settle => Self { held: held - amount, used: used + amount, ..self },
        }
    }
}

impl Model {
    pub(super) fn units(&self) -> impl Iterator<Item = Unit> {
        let mut units: BTreeSet<Unit> = self.units.keys().copied().collect();
        units.insert(Unit::Time);
        units.into_iter()
    }

    /// Available, held, purchased, used, and the balance.
    pub(super) fn stands(&self, unit: Unit) -> ([i64; 4], i64) {
        let sums = self.sums(unit);
        let narrow = |value: i128| i64::try_from(value).expect("within 64 bits");
        let accounts = [sums.available(), sums.held, -sums.bought, sums.used].map(narrow);
        (accounts, narrow(sums.bought - sums.used))
    }

    pub(super) fn entries(&self) -> i64 {
        i64::try_from(self.entries.len()).expect("within 64 bits")
    }

    pub(super) fn entry(&self, posting: &Posting) -> Option<&Entry> {
        self.entries.get(&id_of(&posting.entry, &posting.key))
    }

    pub(super) fn knows(&self, posting: &Posting) -> bool {
        self.entry(posting).is_some()
    }

    pub(super) fn holds(&self, call: CallId) -> bool {
        self.held_for.contains(&call)
    }

    /// Whether a posting of something new goes through.
    pub(super) fn judge(&self, posting: &Posting) -> Result<(), ErrorKind> {
        let entry = &posting.entry;
        let is_sound = match entry.kind {
            EntryKind::Adjustment => entry.amount != 0,
            EntryKind::Grant | EntryKind::Purchase | EntryKind::Refund => entry.amount > 0,
            EntryKind::Hold | EntryKind::Release | EntryKind::Settle => entry.amount >= 0,
        };
        if !is_sound {
            return Err(ErrorKind::ConfigInvalid);
        }
        if self.knows(posting) {
            return Err(ErrorKind::Conflict);
        }
        let floor = if entry.unit == self.terms.unit { self.terms.floor } else { 0 };
        let (before, after) = (self.sums(entry.unit), self.sums(entry.unit).after(entry));
        let sinks = after.available() < before.available() && after.available() < i128::from(floor);
        if sinks || after.used < 0 || after.held < 0 {
            return Err(ErrorKind::InsufficientFunds);
        }
        let is_too_large = |value: i128| i64::try_from(value).is_err();
        if is_too_large(after.bought) || is_too_large(after.available()) {
            return Err(ErrorKind::ConfigInvalid);
        }
        Ok(())
    }

    /// Whether a refund goes through; one that repeats the first does.
    pub(super) fn refund(&self, call: CallId, unit: Unit, amount: i64) -> Result<(), ErrorKind> {
        let settled = self.entries.get(&format!("settle:{call}")).filter(|entry| entry.unit == unit);
        let settled = settled.ok_or(ErrorKind::NotFound)?;
        if amount > settled.amount {
            return Err(ErrorKind::InsufficientFunds);
        }
        if amount <= 0 {
            return Err(ErrorKind::ConfigInvalid);
        }
        match self.entries.get(&format!("refund:{call}")) {
            Some(first) if first.amount != amount || first.unit != unit => Err(ErrorKind::Conflict),
            _ => Ok(()),
        }
    }

    /// Takes an entry on; says whether the balance sank below its threshold.
    pub(super) fn take(&mut self, posting: &Posting) -> bool {
        let entry = &posting.entry;
        let sums = self.units.entry(entry.unit).or_default();
        let before = sums.bought - sums.used;
        *sums = sums.after(entry);
        let after = sums.bought - sums.used;
        if let (EntryKind::Hold, Some(call)) = (entry.kind, entry.call) {
            self.held_for.insert(call);
        }
        self.entries.insert(id_of(entry, &posting.key), entry.clone());
        let watched = self.terms.low.filter(|_| self.terms.unit == entry.unit).map(i128::from);
        watched.is_some_and(|low| before >= low && after < low)
    }

    /// The statement, and its lines with the balance after each, the oldest first.
    pub(super) fn statement(&self, period: Period) -> (Statement, Vec<(String, i64)>) {
        let visible = |kind| !matches!(kind, EntryKind::Hold | EntryKind::Release);
        let mut entries: Vec<(&String, &Entry)> =
            self.entries.iter().filter(|(_, entry)| entry.unit == period.unit && visible(entry.kind)).collect();
        entries.sort_by_key(|(id, entry)| (entry.at, *id));
        let (mut statement, mut lines) = (Statement::default(), Vec::new());
        for (id, entry) in entries {
            let delta = if entry.kind == EntryKind::Settle { -entry.amount } else { entry.amount };
            if period.to.is_some_and(|to| entry.at >= to) {
                break;
            }
            if period.from.is_some_and(|from| entry.at < from) {
                statement.opening += delta;
                statement.closing += delta;
                continue;
            }
            statement.closing += delta;
            statement.entries += 1;
            *statement.totals.entry(entry.kind).or_default() += delta;
            lines.push((id.clone(), statement.closing));
        }
        statement.totals.retain(|_, total| *total != 0);
        (statement, lines)
    }

    fn sums(&self, unit: Unit) -> Sums {
        self.units.get(&unit).copied().unwrap_or_default()
    }
}
