//! Random histories of a ledger on any store, held after each step against a model that knows nothing of double entry.

mod model;

use std::sync::Arc;
use std::time::Duration;

use offhook::billing::account::{Day, balance_counter, entries_counter};
use offhook::billing::{Account, Amount, Entry, EntryKind, Increment, Posting, Rules, Tariff, Terms, Unit};
use offhook::call::record::CallRecord;
use offhook::call::{Call, LedgerSummary};
use offhook::error::{Error, ErrorKind, Result};
use offhook::ids::{CallId, EngineId, TenantId};
use offhook::provider::Store;
use offhook::provider::store::{Add, Batch, Expect, Put, Query, RecordKey};
use offhook::service::calls::{CALL, Hold, Lease, StoredCall};
use offhook::service::credits::Credits;
use offhook::service::statements::{LineOrder, Period};
use offhook::service::tasks::TASK_KEY;
use offhook::service::webhooks::Told;
use offhook::time::{Instant, Timestamp};
use serde_json::json;

use self::model::Model;
use crate::behaviour::on_threads;
use crate::machine;
use crate::random::Dice;
use crate::runtime::VirtualRuntime;

/// Steps between two statements.
const STATEMENT_INTERVAL: u64 = 400;

/// Steps between two audits.
const AUDIT_INTERVAL: u64 = 2_000;

/// Where it is noted that a balance runs low; any kind that nothing else is kept in will do.
const NOTICE: &str = TASK_KEY;

/// Calls that go on at once.
const LIVE_MAX: usize = 12;

/// The first moment of a history.
const START: Timestamp = Timestamp::from_unix_micros(1_800_000_000_000_000);

/// In how long a time its payments are made: some days.
const SPAN_MS: u64 = 6 * 24 * 3_600 * 1_000;

/// What a history consisted of.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// Steps.
    pub operations: u64,
    /// Entries that were written.
    pub entries: u64,
    /// Steps that repeated an earlier one and were answered with it.
    pub repeated: u64,
    /// Steps that were refused, for want of funds, as a conflict or as nonsense.
    pub refused: u64,
    /// Times that a balance sank below its threshold.
    pub crossings: u64,
    /// Audits that proved all of it.
    pub audits: u64,
}

impl Tally {
    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.entries += other.entries;
        self.repeated += other.repeated;
        self.refused += other.refused;
        self.crossings += other.crossings;
        self.audits += other.audits;
    }
}

/// Takes `operations` random steps in the ledger of one tenant, which `seed` names. The store is opened with
/// [`service::schema`](offhook::service::schema) and does not know the tenant.
///
/// Fails the test at the first answer, balance, statement or audit that is not the model's.
pub async fn run(store: Arc<dyn Store>, seed: u64, operations: u64) -> Result<Tally> {
    let mut history = History::new(store, seed);
    for number in 0..operations {
        let dice = history.dice.at(number);
        history.step(dice).await?;
        history.check_counters().await?;
        if (number + 1) % STATEMENT_INTERVAL == 0 {
            history.check_statement(dice.at(90)).await?;
        }
        if (number + 1) % AUDIT_INTERVAL == 0 {
            history.check_audit().await?;
        }
        history.tally.operations += 1;
    }
    history.check_statement(history.dice.at(operations)).await?;
    history.check_audit().await?;
    Ok(history.tally)
}

/// Lets `tasks` hold, hold more and settle on one balance at once, on threads of their own. No matter who wins, it never
/// passes its floor, and in the end everything is where it should be.
pub async fn race(store: Arc<dyn Store>, seed: u64, tasks: usize, calls: u64) -> Result<()> {
    let history = History::new(store.clone(), seed);
    let (tenant, floor, bought) = (history.tenant, -5_000, 60_000);
    history.credits.set_terms(tenant, &Terms { floor, low: Some(20_000), ..Terms::default() }).await?;
    history.credits.purchase(tenant, Duration::from_millis(bought), "once").await?;
    let rules = Rules { floor, low: None };
    let settled = on_threads(tasks, |task| {
        let (store, rules, dice) = (store.clone(), rules.clone(), history.dice.at(task as u64));
        let template = history.template.clone();
        async move {
            let mut settled = 0;
            for number in 0..calls {
                let dice = dice.at(number);
                let mut call = StoredCall::draw(template.clone(), dice);
                let mut held = 0;
                for part in 1..=1 + dice.below(1, 3) {
                    let more = 1 + dice.at(2).below(part, 9_000).cast_signed();
                    let before = call.clone();
                    match call.hold_more(&*store, more, &rules).await {
                        Ok(()) => held += more,
                        Err(error) if error.kind() == ErrorKind::InsufficientFunds => call = before,
                        Err(error) => return Err(error),
                    }
                    let available = available(&*store, tenant).await?;
                    assert!(available >= floor, "{available} is available");
                }
                if held > 0 {
                    // Most of it comes back, so that the race goes on.
                    let used = held / 50;
                    call.settle(&*store, used, &rules).await?;
                    settled += used;
                }
            }
            Ok(settled)
        }
    });
    let settled: i64 = settled.await.expect("no refusal but for want of funds").into_iter().sum();
    let balance = history.credits.balance(tenant, Unit::Time).await?;
    assert_eq!((balance.held, balance.used), (0, settled));
    assert_eq!(balance.available, bought.cast_signed() - settled);
    let audit = history.credits.audit(tenant).await?;
    assert!(audit.is_clean(), "{:?}", audit.findings);
    Ok(())
}

async fn available(store: &dyn Store, tenant: TenantId) -> Result<i64> {
    let counter = Account::Available.counter(tenant, Unit::Time);
    let mut batch = Batch::default();
    batch.add(Add::read(counter.clone()));
    Ok(store.commit(batch).await?.counters[&counter])
}

struct History {
    credits: Credits,
    dice: Dice,
    live: Vec<StoredCall>,
    model: Model,
    over: Vec<CallId>,
    posted: Vec<Posting>,
    store: Arc<dyn Store>,
    tally: Tally,
    template: CallRecord,
    tenant: TenantId,
}

impl History {
    fn new(store: Arc<dyn Store>, seed: u64) -> Self {
        let dice = Dice::new(seed);
        let mut random = [0; 10];
        // The bits that tell small seeds apart come last: an identifier keeps the first of some bytes to itself.
        random[2..].copy_from_slice(&seed.to_be_bytes());
        let tenant = TenantId::new(START, random);
        let config = machine::config(offhook::call::Policy::default());
        let mut template = Call::new(config, machine::inbound(), Instant::default()).record();
        template.tenant = tenant;
        Self {
            credits: Credits::new(Arc::new(VirtualRuntime::new(seed)), store.clone()),
            dice,
            live: Vec::new(),
            model: Model::default(),
            over: Vec::new(),
            posted: Vec::new(),
            store,
            tally: Tally::default(),
            template,
            tenant,
        }
    }

    async fn step(&mut self, dice: Dice) -> Result<()> {
        match dice.below(0, 100) {
            0..22 => self.pay_in(dice).await,
            22..30 => self.correct(dice).await,
            30..50 => self.hold(dice).await,
            50..62 => self.hold_more(dice).await,
            62..80 => self.settle(dice).await,
            80..86 => self.refund(dice).await,
            86..97 => self.repeat(dice).await,
            _ => self.change_terms(dice).await,
        }
    }

    async fn pay_in(&mut self, dice: Dice) -> Result<()> {
        let kind = dice.pick(1, &[EntryKind::Grant, EntryKind::Purchase]);
        let value = match dice.below(2, 40) {
            0 => 0,
            1 => -5,
            // More than the accounts can count.
            2 if self.model.stands(self.unit(dice)).1 > 0 => i64::MAX,
            _ => 1 + dice.below(3, 3_000).cast_signed(),
        };
        let posting = self.posting(kind, value, dice);
        self.post(posting).await
    }

    async fn correct(&mut self, dice: Dice) -> Result<()> {
        let value = dice.below(1, 12_000).cast_signed() - 8_000;
        let posting = self.posting(EntryKind::Adjustment, value, dice).note("counted anew");
        self.post(posting).await
    }

    async fn hold(&mut self, dice: Dice) -> Result<()> {
        if self.live.len() >= LIVE_MAX {
            return self.settle(dice).await;
        }
        let mut call = StoredCall::draw(self.template.clone(), dice);
        let value = dice.below(1, 9_000).cast_signed();
        let (unit, rules) = (self.model.terms.unit, self.rules(self.model.terms.unit, dice));
        call.hold = call.hold.map(|hold| Hold { tariff: tariff(unit), ..hold });
        let answer = call.hold_more(&*self.store, value, &rules).await;
        let posting = call.posting(EntryKind::Hold, call.record.id.to_string(), value);
        self.compare(&posting, answer)?;
        if self.model.holds(call.record.id) {
            self.live.push(call);
        }
        Ok(())
    }

    async fn hold_more(&mut self, dice: Dice) -> Result<()> {
        let Some(place) = self.pick_live(dice) else { return self.pay_in(dice).await };
        let mut call = self.live[place].clone();
        let value = dice.below(1, 9_000).cast_signed();
        let unit = call.unit();
        let answer = call.hold_more(&*self.store, value, &self.rules(unit, dice)).await;
        let is_held = answer.is_ok();
        let key = format!("{}:{}", call.record.id, call.hold.map_or(0, |hold| hold.parts));
        self.compare(&call.posting(EntryKind::Hold, key, value), answer)?;
        if is_held {
            self.live[place] = call;
        }
        Ok(())
    }

    async fn settle(&mut self, dice: Dice) -> Result<()> {
        let Some(place) = self.pick_live(dice) else { return self.pay_in(dice).await };
        let mut call = self.live.swap_remove(place);
        let (id, unit, held) = (call.record.id, call.unit(), call.hold.map_or(0, |hold| hold.held));
        let used = dice.below(1, held.unsigned_abs() + 1).cast_signed();
        let rules = self.rules(unit, dice);
        call.settle(&*self.store, used, &rules).await?;
        for (kind, value) in [(EntryKind::Settle, used), (EntryKind::Release, held - used)] {
            self.compare(&call.posting(kind, id.to_string(), value), Ok(()))?;
        }
        // Whoever settles once more is told off, and nothing moves.
        let again = call.settle(&*self.store, used, &rules).await;
        assert_eq!(again.map_err(|error| error.kind()), Err(ErrorKind::Conflict), "settled twice");
        self.over.push(id);
        Ok(())
    }

    async fn refund(&mut self, dice: Dice) -> Result<()> {
        let (unit, value) = (self.unit(dice), dice.below(1, 3_000).cast_signed());
        let call = match self.over.len() as u64 {
            0 => CallId::new(START, [0xff; 10]),
            count => self.over[usize::try_from(dice.below(2, count)).unwrap_or(0)],
        };
        let expected = self.model.refund(call, unit, value);
        let answer = self.credits.refund(self.tenant, call, Amount { unit, value }, "a bad line").await;
        match (answer, expected) {
            (Ok(entry), Ok(())) => {
                let posting = Posting { entry, key: call.to_string(), tenant: self.tenant };
                self.tally.repeated += u64::from(self.model.knows(&posting));
                self.note_down(&posting);
            }
            (answer, expected) => {
                self.tally.refused += 1;
                let answer = answer.map(|_| ()).map_err(|error| error.kind());
                assert_eq!(answer, expected, "a refund of {value} for {call}");
            }
        }
        Ok(())
    }

    async fn repeat(&mut self, dice: Dice) -> Result<()> {
        let Some(count) = u64::try_from(self.posted.len()).ok().filter(|count| *count > 0) else {
            return self.pay_in(dice).await;
        };
        let mut posting = self.posted[usize::try_from(dice.below(1, count)).unwrap_or(0)].clone();
        posting.entry.at = posting.entry.at + Duration::from_secs(5);
        match dice.below(2, 6) {
            0 => posting.entry.amount += 1,
            1 => posting.entry.note.push('!'),
            _ => {}
        }
        self.post(posting).await
    }

    async fn change_terms(&mut self, dice: Dice) -> Result<()> {
        let terms = &mut self.model.terms;
        terms.floor = dice.pick(1, &[0, 0, -3_000]);
        terms.low = dice.pick(2, &[None, Some(2_000), Some(10_000), Some(30_000)]);
        terms.unit = dice.pick(3, &[Unit::Time, Unit::Time, Unit::Money("IDR".parse()?)]);
        self.credits.set_terms(self.tenant, terms).await
    }

    /// Posts through the service, which must answer as the model does.
    async fn post(&mut self, posting: Posting) -> Result<()> {
        let first = self.model.entry(&posting).cloned();
        let answer = self.credits.post(posting.clone()).await;
        if let (Ok(entry), Some(first)) = (&answer, first) {
            assert_eq!(*entry, first, "a repeated posting answers the first");
            assert!(first.repeats(&posting.entry), "another posting passed for the first");
            self.tally.repeated += 1;
            return Ok(());
        }
        let is_new = answer.is_ok();
        self.compare(&posting, answer.map(|_| ()))?;
        if is_new {
            self.posted.push(posting);
        }
        Ok(())
    }

    /// Holds an answer against the model's, which then takes the step, too.
    fn compare(&mut self, posting: &Posting, answer: Result<()>) -> Result<()> {
        let expected = self.model.judge(posting);
        let answer = answer.map_err(|error| error.kind());
        assert_eq!(answer, expected, "{posting:?}");
        match expected {
            Ok(()) => self.note_down(posting),
            Err(_) => self.tally.refused += 1,
        }
        Ok(())
    }

    fn note_down(&mut self, posting: &Posting) {
        if self.model.knows(posting) {
            return;
        }
        self.tally.entries += 1;
        let crosses = self.model.take(posting);
        // Only a call's own postings bear a note here: the service tells webhooks, of which there are none.
        self.tally.crossings += u64::from(crosses && posting.entry.kind == EntryKind::Settle);
    }

    fn posting(&self, kind: EntryKind, value: i64, dice: Dice) -> Posting {
        let amount = Amount { unit: self.unit(dice), value };
        let at = START + dice.millis(11, 0, SPAN_MS);
        Posting::new(self.tenant, kind, amount, format!("{:016x}", dice.number()), at)
    }

    fn unit(&self, dice: Dice) -> Unit {
        if dice.chance(10, 700) { self.model.terms.unit } else { Unit::Time }
    }

    fn pick_live(&self, dice: Dice) -> Option<usize> {
        let count = u64::try_from(self.live.len()).ok().filter(|count| *count > 0)?;
        usize::try_from(dice.below(12, count)).ok()
    }

    /// What a call's postings are bound by, as the service binds its own.
    fn rules(&self, unit: Unit, dice: Dice) -> Rules {
        let terms = &self.model.terms;
        if unit != terms.unit {
            return Rules::default();
        }
        let key = RecordKey::new(self.tenant, NOTICE, format!("{:016x}", dice.number()));
        let low = terms.low.map(|below| {
            let then = vec![Put::new(key, Expect::Absent, json!({ "event": "credits.low", "threshold": below }))];
            offhook::provider::store::Crossing { below, then }
        });
        Rules { floor: terms.floor, low }
    }
}

/// What must hold whenever nobody is writing.
impl History {
    async fn check_counters(&self) -> Result<()> {
        let mut batch = Batch::default();
        let units: Vec<Unit> = self.model.units().collect();
        for unit in &units {
            for account in Account::ALL {
                batch.add(Add::read(account.counter(self.tenant, *unit)));
            }
            batch.add(Add::read(balance_counter(self.tenant, *unit)));
        }
        batch.add(Add::read(entries_counter(self.tenant)));
        let counters = self.store.commit(batch).await?.counters;
        for unit in units {
            let stands = Account::ALL.map(|account| counters[&account.counter(self.tenant, unit)]);
            let balance = counters[&balance_counter(self.tenant, unit)];
            assert_eq!(stands.iter().map(|value| i128::from(*value)).sum::<i128>(), 0, "double entry");
            assert_eq!((stands, balance), self.model.stands(unit), "{unit}");
            let [_, held, _, used] = stands;
            assert!(held >= 0 && used >= 0, "{unit}: {stands:?}");
        }
        assert_eq!(counters[&entries_counter(self.tenant)], self.model.entries());
        Ok(())
    }

    async fn check_statement(&self, dice: Dice) -> Result<()> {
        let bound = |branch| {
            let moment = START + dice.millis(branch + 1, 0, SPAN_MS);
            // Whole days are added up in another way.
            let moment = if dice.chance(branch + 20, 500) { Day::of(moment).start() } else { moment };
            dice.chance(branch, 700).then_some(moment)
        };
        let (from, to) = (bound(1), bound(3));
        let to = to.filter(|to| from.is_none_or(|from| from < *to));
        let period = Period { unit: self.unit(dice), from, to };
        let statement = self.credits.statement(self.tenant, period).await?;
        let (expected, lines) = self.model.statement(period);
        assert_eq!(statement, expected, "{period:?}");
        let limit = 1 + u32::try_from(dice.below(6, 40)).unwrap_or(0);
        for order in [LineOrder::OldestFirst, LineOrder::NewestFirst] {
            let mut expected = lines.clone();
            if order == LineOrder::NewestFirst {
                expected.reverse();
            }
            let (mut found, mut next) = (Vec::new(), None);
            // A few pages say as much as all.
            for _ in 0..4 {
                let page = self.credits.statement_lines(self.tenant, period, order, limit, next.as_deref()).await?;
                found.extend(page.lines.into_iter().map(|line| (line.id, line.balance_after)));
                next = page.next;
                if next.is_none() {
                    break;
                }
            }
            assert_eq!(found.len(), expected.len().min(4 * limit as usize));
            assert_eq!(found, expected[..found.len()], "{order:?}");
        }
        Ok(())
    }

    async fn check_audit(&mut self) -> Result<()> {
        let audit = self.credits.audit(self.tenant).await?;
        assert!(audit.is_clean(), "{:?}", audit.findings);
        assert_eq!(audit.entries.cast_signed(), self.model.entries());
        assert_eq!(audit.calls, (self.live.len() + self.over.len()) as u64);
        let mut query = Query::new(Some(self.tenant), NOTICE);
        let mut notices = 0;
        loop {
            let page = self.store.list(query.clone()).await?;
            notices += page.records.len() as u64;
            let Some(next) = page.next else { break };
            query = query.after(next);
        }
        assert_eq!(notices, self.tally.crossings, "each way down is told once");
        self.tally.audits += 1;
        Ok(())
    }
}

/// A call as the service keeps it, and what it does to the ledger.
trait Billed: Sized {
    fn draw(template: CallRecord, dice: Dice) -> Self;
    fn unit(&self) -> Unit;
    fn posting(&self, kind: EntryKind, key: String, value: i64) -> Posting;
    async fn hold_more(&mut self, store: &dyn Store, value: i64, rules: &Rules) -> Result<()>;
    async fn settle(&mut self, store: &dyn Store, used: i64, rules: &Rules) -> Result<()>;
}

impl Billed for StoredCall {
    fn draw(mut record: CallRecord, dice: Dice) -> Self {
        let mut random = [0; 10];
        random[..8].copy_from_slice(&dice.at(77).number().to_le_bytes());
        record.id = CallId::new(START, random);
        let hold = Hold { before: 0, held: 0, parts: 0, tariff: tariff(Unit::Time) };
        let lease = Lease { holder: EngineId::new(START, [0; 10]), renewed_at: START };
        Self {
            after: None,
            analysis: None,
            costs: Vec::new(),
            hold: Some(hold),
            is_recorded: false,
            lease: Some(lease),
            ledger: None,
            number: None,
            legs: Vec::new(),
            record,
            told: Told::default(),
            usage: Default::default(),
        }
    }

    fn unit(&self) -> Unit {
        self.hold.map_or(Unit::Time, |hold| hold.tariff.unit())
    }

    fn posting(&self, kind: EntryKind, key: String, value: i64) -> Posting {
        let amount = Amount { unit: self.unit(), value };
        Posting::new(self.record.tenant, kind, amount, key, START).for_call(self.record.id)
    }

    async fn hold_more(&mut self, store: &dyn Store, value: i64, rules: &Rules) -> Result<()> {
        let expect = match self.hold.map_or(0, |hold| hold.parts) {
            0 => Expect::Absent,
            parts => Expect::Revision(parts.into()),
        };
        self.hold = self.hold.map(|hold| Hold { held: hold.held + value, parts: hold.parts + 1, ..hold });
        let parts = self.hold.map_or(0, |hold| hold.parts);
        let id = self.record.id;
        let key = if parts == 1 { id.to_string() } else { format!("{id}:{parts}") };
        let mut batch = Batch::default();
        batch.put(row(self, expect)?);
        self.posting(EntryKind::Hold, key, value).post(&mut batch, rules)?;
        store.commit(batch).await.map(|_| ())
    }

    async fn settle(&mut self, store: &dyn Store, used: i64, rules: &Rules) -> Result<()> {
        let (parts, held) = self.hold.map_or((0, 0), |hold| (hold.parts, hold.held));
        let unit = self.unit();
        self.lease = None;
        self.ledger = Some(LedgerSummary { unit, before: 0, held, settled: used, after: 0 });
        let mut batch = Batch::default();
        batch.put(row(self, Expect::Revision(parts.into()))?);
        let held = Amount { unit, value: held };
        for posting in Posting::settlement(self.record.tenant, self.record.id, held, used, START) {
            posting.post(&mut batch, rules)?;
        }
        store.commit(batch).await.map(|_| ())
    }
}

fn row(call: &StoredCall, expect: Expect) -> Result<Put> {
    let body = serde_json::to_value(call)
        .map_err(|error| Error::new(ErrorKind::Unexpected, "ledger.row", "cannot be written").with_source(error))?;
    Ok(Put::new(RecordKey::new(call.record.tenant, CALL, call.record.id), expect, body))
}

fn tariff(unit: Unit) -> Tariff {
    match unit {
        Unit::Money(currency) => Tariff::money(
            currency,
            &offhook::billing::Rate {
                prefix: String::new(),
                per_minute_micros: 60_000,
                connection_fee_micros: 0,
                increment: Increment::EXACT,
                valid_from: None,
                valid_until: None,
            },
        ),
        Unit::Time => Tariff::time(Increment::EXACT),
    }
}

/// The entry as it would be found.
fn id_of(entry: &Entry, key: &str) -> String {
    format!("{}:{key}", entry.kind.as_str())
}
