//! What calls do to their tenant's ledger: holds that grow, limits that hold, prices, statements, low balances, audits.

use std::future::Future;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use offhook::billing::account::balance_counter;
use offhook::billing::cost::{Exchange, Price};
use offhook::billing::ledger::{ENTRY, entry_key};
use offhook::billing::{
    Account, Amount, EntryKind, Increment, Posting, PriceList, Rate, RateCard, Resource, Rules, Terms, Unit,
};
use offhook::call::record::{CallStatus, EndReason};
use offhook::call::{CallRecord, LedgerSummary, Speaker};
use offhook::engine::{CallHandle, Engine, Providers};
use offhook::error::ErrorKind;
use offhook::ids::{CallId, TenantId};
use offhook::money::{Currency, Money};
use offhook::provider::Store as _;
use offhook::provider::llm::LlmEvent;
use offhook::provider::store::{Add, Batch, Expect, Query};
use offhook::provider::telephony::HangupCause;
use offhook::service::audit::{CallFault, Finding};
use offhook::service::calls::StoredCall;
use offhook::service::statements::{LineOrder, Period};
use offhook_testkit::carrier::Caller;
use offhook_testkit::runtime::VirtualRuntime;
use offhook_testkit::script::ScriptedModel;

use crate::world::{WEBHOOK_URL, World};

const SECOND: Duration = Duration::from_secs(1);
const SPEECH: u8 = 0x80;
const SILENCE: u8 = 0xff;

/// A tenant with nothing yet, whose agent bears any silence and holds little at a time.
struct Customer {
    engine: Engine,
    tenant: TenantId,
    world: World,
}

impl Customer {
    fn ring(&self) -> (CallHandle, Caller) {
        let mut agent = (*self.world.agent).clone();
        agent.policy.reserve = SECOND * 20;
        agent.policy.silence.timeout = SECOND * 3_600;
        let (incoming, caller) = self.world.carrier.ring("+628123456789", "+622150001000");
        (self.engine.accept(self.tenant, Arc::new(agent), incoming).unwrap(), caller)
    }

    /// A call in which nobody says a word, hung up after `talk`.
    async fn silent_call(&self, talk: Duration) -> (CallRecord, LedgerSummary) {
        let (handle, caller) = self.ring();
        caller.sound(SILENCE, talk).await;
        caller.hang_up(HangupCause::NORMAL_CLEARING);
        let (record, ledger) = handle.finished().await.unwrap();
        (record, ledger.unwrap())
    }

    async fn buy(&self, amount: impl Into<Amount>, key: &str) {
        self.engine.credits().purchase(self.tenant, amount, key).await.unwrap();
    }

    async fn stored(&self, call: CallId) -> StoredCall {
        self.engine.calls().get(self.tenant, call).await.unwrap().unwrap()
    }

    async fn check(&self) {
        let audit = self.engine.credits().audit(self.tenant).await.unwrap();
        assert!(audit.is_clean(), "{:?}", audit.findings);
    }
}

fn in_virtual_time<F: Future<Output = ()>>(story: impl FnOnce(Customer) -> F) {
    let runtime = VirtualRuntime::new(11);
    runtime.block_on(async {
        let world = World::new(Arc::new(runtime.clone()), &["What time do you open?"]).await;
        let tenant = TenantId::new(world.runtime.wall_clock(), [21; 10]);
        story(Customer { engine: world.engine.clone(), tenant, world }).await;
    });
}

#[test]
fn a_hold_grows_with_the_talk_until_there_is_no_more() {
    in_virtual_time(|customer| async move {
        customer.buy(SECOND * 90, "first").await;
        let (handle, caller) = customer.ring();
        caller.sound(SILENCE, SECOND * 10).await;
        let live = customer.stored(handle.id()).await.hold.unwrap();
        assert!(live.held < 90_000, "not more than is needed: {}", live.held);
        caller.sound(SILENCE, SECOND * 110).await;
        let (record, ledger) = handle.finished().await.unwrap();
        assert_eq!((record.talk_time_ms, record.end_reason), (90_000, Some(EndReason::CreditsExhausted)));
        let ledger = ledger.unwrap();
        assert_eq!((ledger.held, ledger.settled, ledger.after), (90_000, 90_000, 0));
        assert_eq!(customer.stored(record.id).await.hold.unwrap().parts, 5);
        let last = record.transcript.last().unwrap();
        assert_eq!(last.speaker, Speaker::Agent);
        assert!(last.text.contains("Goodbye") && !last.cut, "{last:?}");
        customer.check().await;
    });
}

#[test]
fn a_purchase_in_the_last_seconds_keeps_the_call_alive() {
    in_virtual_time(|customer| async move {
        customer.buy(SECOND * 30, "first").await;
        let (handle, caller) = customer.ring();
        caller.sound(SILENCE, SECOND * 22).await;
        customer.buy(SECOND * 60, "second").await;
        caller.sound(SILENCE, SECOND * 20).await;
        caller.hang_up(HangupCause::NORMAL_CLEARING);
        let (record, ledger) = handle.finished().await.unwrap();
        assert_eq!(record.end_reason, Some(EndReason::CallerHangUp));
        assert!(record.talk_time_ms > 40_000);
        assert_eq!(ledger.unwrap().settled.unsigned_abs(), record.talk_time_ms);
        customer.check().await;
    });
}

#[test]
fn many_calls_on_one_balance_share_it_and_never_pass_its_floor() {
    in_virtual_time(|customer| async move {
        for (floor, bought) in [(0, 100), (-30_000, 40)] {
            let terms = Terms { floor, ..Terms::default() };
            customer.engine.credits().set_terms(customer.tenant, &terms).await.unwrap();
            customer.buy(SECOND * bought, &bought.to_string()).await;
            let before = customer.engine.credits().balance(customer.tenant, Unit::Time).await.unwrap();
            let (handles, callers): (Vec<_>, Vec<_>) = (0..6).map(|_| customer.ring()).unzip();
            let sounds = callers.iter().map(|caller| caller.sound(SILENCE, SECOND * 100));
            futures_util::future::join_all(sounds).await;
            let mut settled = 0;
            for handle in handles {
                let (record, ledger) = handle.finished().await.unwrap();
                assert!(
                    matches!(record.end_reason, Some(EndReason::CreditsExhausted | EndReason::InsufficientCredits)),
                    "{record:?}"
                );
                settled += ledger.unwrap().settled;
            }
            let after = customer.engine.credits().balance(customer.tenant, Unit::Time).await.unwrap();
            assert_eq!((after.available, after.held), (floor, 0), "all of it was talked");
            assert_eq!(settled, before.available - floor);
            customer.check().await;
        }
    });
}

#[test]
fn time_is_rounded_by_the_tenants_terms() {
    in_virtual_time(|customer| async move {
        customer.buy(SECOND * 600, "first").await;
        for (increment, step) in [(Increment::PER_MINUTE_CEIL, 60_000), (Increment::PER_SECOND, 1_000)] {
            let terms = Terms { increment: Some(increment), ..Terms::default() };
            customer.engine.credits().set_terms(customer.tenant, &terms).await.unwrap();
            let (record, ledger) = customer.silent_call(Duration::from_millis(61_700)).await;
            let seconds_ms = record.talk_time_ms / 1_000 * 1_000;
            assert_eq!(ledger.settled.unsigned_abs(), seconds_ms.div_ceil(step) * step, "{increment}");
        }
        customer.check().await;
    });
}

#[test]
fn a_tenant_may_be_billed_in_money() {
    in_virtual_time(|customer| async move {
        let rupiah = |units: i64| Money::from_micros(units * 1_000_000, idr());
        customer.buy(rupiah(4_000), "first").await;
        let terms = Terms { rates: Some(card()), unit: Unit::Money(idr()), ..Terms::default() };
        customer.engine.credits().set_terms(customer.tenant, &terms).await.unwrap();
        let (record, ledger) = customer.silent_call(SECOND * 65).await;
        assert_eq!(record.end_reason, Some(EndReason::CallerHangUp));
        // 100 for the answer and two minutes at 600.
        assert_eq!((ledger.unit, ledger.settled), (Unit::Money(idr()), rupiah(1_300).micros()));
        assert_eq!(ledger.after, rupiah(2_700).micros());
        // 2,600 are 4 minutes and 20 seconds: the last step is cut to what is left.
        let (record, ledger) = customer.silent_call(SECOND * 300).await;
        assert_eq!((record.talk_time_ms, record.end_reason), (260_000, Some(EndReason::CreditsExhausted)));
        assert_eq!((ledger.settled, ledger.after), (rupiah(2_700).micros(), 0));
        let minutes = customer.engine.credits().balance(customer.tenant, Unit::Time).await.unwrap();
        assert_eq!((minutes.purchased, minutes.used), (0, 0));
        customer.check().await;
    });
}

#[test]
fn a_call_without_a_price_is_rejected() {
    in_virtual_time(|customer| async move {
        customer.buy(Money::from_micros(1_000_000_000, idr()), "first").await;
        let rates = RateCard::new(idr(), vec![Rate { prefix: "1".to_owned(), ..rate() }]).unwrap();
        let terms = Terms { rates: Some(rates), unit: Unit::Money(idr()), ..Terms::default() };
        customer.engine.credits().set_terms(customer.tenant, &terms).await.unwrap();
        let (record, ledger) = customer.silent_call(SECOND).await;
        assert_eq!((record.status, record.end_reason), (CallStatus::Rejected, Some(EndReason::Rejected)));
        assert_eq!((ledger.held, ledger.settled), (0, 0));
        customer.check().await;
    });
}

/// DR-058, DR-074: the cost is whole rupiah and part of `call.ended`.
#[test]
fn a_call_knows_what_its_providers_took() {
    in_virtual_time(|mut customer| async move {
        let usage = LlmEvent::Usage { cached_tokens: 40, input_tokens: 100, output_tokens: 7 };
        let model = ScriptedModel::new(move |_| vec![usage.clone(), LlmEvent::Text("From nine to five.".to_owned())]);
        let providers = Providers { llm: Arc::new(model), ..customer.world.providers.clone() };
        let mut settings = offhook_testkit::settings();
        settings.prices = prices();
        customer.engine = Engine::with_settings(providers, settings);
        customer.buy(SECOND * 90, "first").await;

        let (handle, caller) = customer.ring();
        caller.sound(SILENCE, SECOND * 2).await;
        caller.sound(SPEECH, Duration::from_millis(500)).await;
        caller.sound(SILENCE, SECOND * 5).await;
        caller.hang_up(HangupCause::NORMAL_CLEARING);
        let (record, _) = handle.finished().await.unwrap();
        let stored = customer.stored(record.id).await;
        let used = |resource| stored.usage.total(resource);
        let tokens = [Resource::CachedTokens, Resource::InputTokens, Resource::OutputTokens].map(used);
        let of = |provider: &str, resource| {
            let found = stored.usage.items().find(|(item, _)| item.provider == provider && item.resource == resource);
            found.unwrap().1
        };
        let asked = of("script", Resource::Requests);
        assert_eq!(tokens, [40, 60, 7].map(|told| told * asked), "as the model told");
        let spoken: usize = ["Good morning.", "From nine to five."].iter().map(|text| text.chars().count()).sum();
        assert_eq!(used(Resource::Characters), spoken as u64, "as the engine saw them go out");
        let heard_ms = of("cue", Resource::Milliseconds);
        assert!(heard_ms.abs_diff(7_500) < 200, "{heard_ms} ms of sound went to the recogniser");
        assert_eq!(of("memory", Resource::Milliseconds), record.talk_time_ms, "the carrier's time");

        // Millionths of a dollar, at 16,000 rupiah for one.
        let dollars = i64::try_from(asked * (60 * 2 + 40 + 7 * 8)).unwrap() + i64::try_from(spoken * 10).unwrap();
        let cost = stored.cost("USD").unwrap();
        assert_eq!((cost.money.micros(), cost.whole, cost.is_complete), (dollars, 0, false));
        let cost = stored.cost("IDR").unwrap();
        assert_eq!((cost.money.micros(), cost.whole), (dollars * 16_000, (dollars * 16_000 + 500_000) / 1_000_000));
    });
}

/// DR-077: told once for each time that the balance falls below the threshold.
#[test]
fn a_balance_that_runs_low_is_told_once_for_each_way_down() {
    in_virtual_time(|customer| async move {
        let endpoint = offhook::service::webhooks::NewEndpoint::new(WEBHOOK_URL);
        customer.engine.webhooks().register(customer.tenant, "crm", endpoint).await.unwrap();
        let terms = Terms { low: Some(60_000), ..Terms::default() };
        customer.engine.credits().set_terms(customer.tenant, &terms).await.unwrap();
        let told = async || {
            customer.world.wait(SECOND * 5).await;
            let requests = customer.world.http.requests();
            let bodies = requests.iter().filter_map(|request| serde_json::from_slice(&request.body).ok());
            let low = |body: &serde_json::Value| body["type"] == "credits.low";
            bodies.filter(low).map(|body: serde_json::Value| body["data"].clone()).collect::<Vec<_>>()
        };
        customer.buy(SECOND * 70, "first").await;
        customer.silent_call(SECOND * 5).await;
        assert_eq!(told().await.len(), 0, "still enough");
        let (_, ledger) = customer.silent_call(SECOND * 10).await;
        let first = told().await;
        assert_eq!(first.len(), 1, "across");
        assert_eq!((first[0]["threshold"].as_i64(), first[0]["unit"].as_str()), (Some(60_000), Some("ms")));
        assert_eq!(first[0]["balance"].as_i64(), Some(ledger.after));
        customer.silent_call(SECOND * 5).await;
        assert_eq!(told().await.len(), 1, "across already");
        customer.buy(SECOND * 60, "second").await;
        assert_eq!(told().await.len(), 1, "up again");
        let down = Amount { unit: Unit::Time, value: -60_000 };
        customer.engine.credits().adjust(customer.tenant, down, "third", "counted anew").await.unwrap();
        assert_eq!(told().await.len(), 2, "down again, by whatever");
        customer.check().await;
    });
}

/// DR-061, DR-063: the balance is what was purchased less what was used, and the lines add up to it.
#[test]
fn a_statement_adds_up() {
    in_virtual_time(|customer| async move {
        let (credits, tenant) = (customer.engine.credits(), customer.tenant);
        customer.buy(SECOND * 100, "first").await;
        customer.world.wait(SECOND).await;
        let (record, ledger) = customer.silent_call(SECOND * 30).await;
        let used = ledger.settled;
        customer.world.wait(SECOND).await;
        let noon = customer.world.runtime.wall_clock();
        credits.grant(tenant, SECOND * 50, "gift").await.unwrap();
        let part = Amount { unit: Unit::Time, value: 10_000 };
        customer.world.wait(SECOND).await;
        let refund = credits.refund(tenant, record.id, part, "a bad line").await.unwrap();
        assert_eq!(credits.refund(tenant, record.id, part, "a bad line").await.unwrap(), refund, "once");
        let more = Amount { value: used + 1, ..part };
        let kind = |result: offhook::Result<_>| result.map(|_: offhook::billing::Entry| ()).unwrap_err().kind();
        assert_eq!(kind(credits.refund(tenant, record.id, more, "").await), ErrorKind::InsufficientFunds);
        let other = Amount { value: 1, ..part };
        assert_eq!(kind(credits.refund(tenant, record.id, other, "").await), ErrorKind::Conflict);
        assert_eq!(kind(credits.purchase(tenant, SECOND, "first").await), ErrorKind::Conflict);
        assert_eq!(kind(credits.purchase(tenant, Duration::ZERO, "none").await), ErrorKind::ConfigInvalid);

        let balance = credits.balance(tenant, Unit::Time).await.unwrap();
        assert_eq!((balance.purchased, balance.used), (150_000, used - 10_000));
        assert_eq!(balance.balance(), balance.purchased - balance.used);
        let all = credits.statement(tenant, Period::default()).await.unwrap();
        assert_eq!((all.opening, all.closing, all.entries), (0, balance.balance(), 4));
        let morning = Period { to: Some(noon), ..Period::default() };
        let morning = credits.statement(tenant, morning).await.unwrap();
        assert_eq!((morning.opening, morning.closing), (0, 100_000 - used));
        let afternoon = credits.statement(tenant, Period { from: Some(noon), ..Period::default() }).await.unwrap();
        assert_eq!((afternoon.opening, afternoon.closing), (morning.closing, balance.balance()));
        let totals = [(EntryKind::Grant, 50_000), (EntryKind::Refund, 10_000)];
        assert_eq!(afternoon.totals, totals.into());

        let newest = LineOrder::NewestFirst;
        let page = credits.statement_lines(tenant, Period::default(), newest, 3, None).await.unwrap();
        let kinds: Vec<_> = page.lines.iter().map(|line| (line.entry.kind, line.balance_after)).collect();
        let first = 100_000 - used;
        let expected =
            [(EntryKind::Refund, first + 60_000), (EntryKind::Grant, first + 50_000), (EntryKind::Settle, first)];
        assert_eq!(kinds, expected);
        let next = page.next.as_deref();
        let page = credits.statement_lines(tenant, Period::default(), newest, 3, next).await.unwrap();
        assert_eq!((page.lines.len(), page.lines[0].balance_after, page.next), (1, 100_000, None));
        let refused = credits.statement_lines(tenant, Period::default(), newest, 3, Some("nonsense")).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConfigInvalid);
    });
}

#[test]
fn an_audit_names_what_is_wrong() {
    in_virtual_time(|customer| async move {
        let (credits, tenant, store) = (customer.engine.credits(), customer.tenant, &customer.world.store);
        customer.buy(SECOND * 300, "first").await;
        let mut calls = Vec::new();
        for _ in 0..3 {
            calls.push(customer.silent_call(SECOND * 5).await.0.id);
        }
        customer.check().await;
        let found = async || credits.audit(tenant).await.unwrap().findings;
        let change = async |batch: Batch| store.commit(batch).await.unwrap();

        // A counter that moved by itself.
        let counter = Account::Available.counter(tenant, Unit::Time);
        change(batch(|batch| batch.add(Add::new(counter.clone(), 5)))).await;
        let findings = found().await;
        assert!(matches!(findings[0], Finding::Account { account: Account::Available, .. }), "{findings:?}");
        assert!(matches!(findings[1], Finding::Sum { sum: 5, .. }), "{findings:?}");
        assert!(matches!(findings[2], Finding::Balance { .. }), "{findings:?}");
        change(batch(|batch| batch.add(Add::new(counter, -5)))).await;
        change(batch(|batch| batch.add(Add::new(balance_counter(tenant, Unit::Time), 1)))).await;
        assert!(matches!(found().await[..], [Finding::Balance { .. }]));
        change(batch(|batch| batch.add(Add::new(balance_counter(tenant, Unit::Time), -1)))).await;
        customer.check().await;

        // A call that was settled twice, and one of which nobody knows.
        let posting = |kind, call: CallId, key: &str| {
            let amount = Amount { unit: Unit::Time, value: 0 };
            Posting::new(tenant, kind, amount, key, customer.world.runtime.wall_clock()).for_call(call)
        };
        let mut twice = Batch::default();
        posting(EntryKind::Settle, calls[0], "again").post(&mut twice, &Rules::default()).unwrap();
        change(twice).await;
        assert_eq!(found().await, [fault(calls[0], CallFault::SettledTwice)]);
        let stranger = CallId::new(customer.world.runtime.wall_clock(), [1; 10]);
        let mut strange = Batch::default();
        posting(EntryKind::Hold, stranger, "strange").post(&mut strange, &Rules::default()).unwrap();
        change(strange).await;
        assert!(found().await.contains(&fault(stranger, CallFault::NoRecord)));

        // A settlement that is gone, a release that is gone, and a call without any entry.
        let gone = entry_key(tenant, EntryKind::Settle, &calls[1].to_string());
        change(batch(|batch| batch.delete(gone, Expect::Any))).await;
        assert!(found().await.contains(&fault(calls[1], CallFault::Unsettled)));
        assert!(found().await.iter().any(|finding| matches!(finding, Finding::Entries { .. })));
        let gone = entry_key(tenant, EntryKind::Release, &calls[2].to_string());
        change(batch(|batch| batch.delete(gone, Expect::Any))).await;
        assert!(found().await.contains(&fault(calls[2], CallFault::HoldLeft)));
        let query = Query::new(Some(tenant), ENTRY).equal("call", calls[2].to_string());
        for record in store.list(query).await.unwrap().records {
            change(batch(|batch| batch.delete(record.key, Expect::Any))).await;
        }
        assert!(found().await.contains(&fault(calls[2], CallFault::NoEntry)));
        let audits = credits.audit_all().await.unwrap();
        assert_eq!(
            audits.iter().filter(|audit| !audit.is_clean()).map(|audit| audit.tenant).collect::<Vec<_>>(),
            [tenant]
        );
        assert_eq!(audits.len(), 2, "of the other tenant, too");
    });
}

fn fault(call: CallId, fault: CallFault) -> Finding {
    Finding::Call { call, fault }
}

fn batch(fill: impl FnOnce(&mut Batch) -> &mut Batch) -> Batch {
    let mut batch = Batch::default();
    fill(&mut batch);
    batch
}

fn card() -> RateCard {
    RateCard::new(idr(), vec![rate(), Rate { prefix: "62".to_owned(), per_minute_micros: 1, ..rate() }]).unwrap()
}

/// 600 rupiah for a minute, 100 for the answer.
fn rate() -> Rate {
    Rate {
        prefix: "6221".to_owned(),
        per_minute_micros: 600_000_000,
        connection_fee_micros: 100_000_000,
        increment: "60/60".parse().unwrap(),
        valid_from: None,
        valid_until: None,
    }
}

/// Millionths of a dollar, and no price for requests or the carrier.
fn prices() -> PriceList {
    let usd: Currency = "USD".parse().unwrap();
    let price = |provider: &str, resource, micros| Price {
        provider: provider.to_owned(),
        model: None,
        resource,
        price: Money::from_micros(micros, usd),
        per: NonZeroU64::MIN,
    };
    PriceList {
        exchange: vec![Exchange { from: usd, to: Money::from_micros(16_000_000_000, idr()) }],
        prices: vec![
            price("script", Resource::InputTokens, 2),
            price("script", Resource::CachedTokens, 1),
            price("script", Resource::OutputTokens, 8),
            price("tone", Resource::Characters, 10),
        ],
        currencies: vec![idr(), usd],
    }
}

fn idr() -> Currency {
    "IDR".parse().unwrap()
}
