//! What customers' systems are told of a call that is over, and what they are asked before it begins.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use offhook::ErrorKind;
use offhook::billing::cost::Price;
use offhook::billing::{Amount, PriceList, Resource, Unit};
use offhook::call::CallRecord;
use offhook::engine::Engine;
use offhook::money::{Currency, Money};
use offhook::provider::llm::{FinishReason, LlmEvent, LlmRequest, Message};
use offhook::provider::telephony::HangupCause;
use offhook::provider::transport::{HttpMethod, HttpRequest};
use offhook::service::after_call::{Push, PushForm, PushMethod, SIGNATURE_HEADER, TaskEvent, TaskWebhook};
use offhook::service::agents::Agent;
use offhook::service::analysis::{AnalysisPlan, Analyst};
use offhook::service::capacity::Limits;
use offhook::service::hours::Hours;
use offhook::service::outbox::DeliveryState;
use offhook::service::prefetch::Prefetch;
use offhook::service::tasks::NewTask;
use offhook::service::tenants::Plan;
use offhook::signing::{Secret, body};
use offhook_testkit::carrier::Answering;
use offhook_testkit::runtime::VirtualRuntime;
use offhook_testkit::script::ScriptedModel;
use serde_json::{Map, Value, json};

use crate::world::{WEBHOOK_URL, World};

const CRM_URL: &str = "http://clinic.example/crm";
const SPEECH: u8 = 0x80;
const SILENCE: u8 = 0xff;

/// A world whose agent is as `change` makes it, whose model analyses as `analyse` says, and whose customer answers `answer`.
async fn world(
    runtime: &VirtualRuntime,
    change: impl FnOnce(&mut Agent),
    analyse: impl Fn() -> Vec<LlmEvent> + Send + Sync + 'static,
    answer: impl Fn(&HttpRequest) -> offhook::Result<(u16, String)> + Send + Sync + 'static,
) -> World {
    let mut world = World::with_http(Arc::new(runtime.clone()), &["Call me on Tuesday."], answer).await;
    change(Arc::make_mut(&mut world.agent));
    let llm = ScriptedModel::new(move |request| if is_analysis(request) { analyse() } else { says("All right.") });
    world.providers.llm = Arc::new(llm);
    let mut settings = offhook_testkit::settings();
    settings.public_url = Some("https://calls.example".to_owned());
    world.engine = Engine::with_settings(world.providers.clone(), settings);
    world
}

fn is_analysis(request: &LlmRequest) -> bool {
    matches!(request.messages.first(), Some(Message::System { text }) if text.starts_with("You analyse"))
}

fn says(text: &str) -> Vec<LlmEvent> {
    vec![LlmEvent::Text(text.to_owned()), LlmEvent::Finished { reason: FinishReason::Stop }]
}

fn found_out() -> Vec<LlmEvent> {
    let answer = json!({
        "summary": "A call on Tuesday is wanted.",
        "data": { "DISPOSITION": "CALLBACK", "day": "Tuesday" },
        "qc": { "overall_score": 80, "compliance_score": "90%", "remarks": "Polite." },
    });
    says(&answer.to_string())
}

fn taken(_: &HttpRequest) -> offhook::Result<(u16, String)> {
    Ok((200, String::new()))
}

/// A caller says something and hangs up.
async fn talk(world: &World) -> CallRecord {
    let (handle, caller) = world.ring();
    caller.sound(SILENCE, Duration::from_secs(3)).await;
    caller.sound(SPEECH, Duration::from_millis(500)).await;
    caller.sound(SILENCE, Duration::from_secs(3)).await;
    caller.hang_up(HangupCause::NORMAL_CLEARING);
    let (record, _) = handle.finished().await.unwrap();
    record
}

fn push(id: &str, form: PushForm) -> Push {
    let token = Some(Secret::new("Bearer of-the-crm"));
    Push { form, id: id.to_owned(), method: PushMethod::Post, token, url: format!("{CRM_URL}/{id}") }
}

fn requests_to(world: &World, url: &str) -> Vec<HttpRequest> {
    world.http.requests().into_iter().filter(|request| request.url.starts_with(url)).collect()
}

fn signature_of(request: &HttpRequest) -> Option<&str> {
    request.headers.iter().find(|(name, _)| name == SIGNATURE_HEADER).map(|(_, value)| value.as_str())
}

fn body_of(request: &HttpRequest) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

/// FL-A5, FL-034, FL-040, FL-041, FL-047, FL-043, FL-048, FL-049, FL-050, FL-092, DF-020
#[test]
fn each_system_is_told_in_its_own_form() {
    let runtime = VirtualRuntime::new(1);
    runtime.clone().block_on(async {
        let key_mapper = json!({
            "CUSTOMER_ID": "{{crm.customer_id}}",
            "DISPOSITION": "{{result.disposition}}",
            "REMARKS": "{{result.remarks}}",
            "DAY": "{{analysis.day}}",
            "CALL_DURATION": "{{call.duration}}",
            "RECORDING_URL": "{{call.recording_url}}",
            "FLAT": "{{customer_id}}",
            "TRANSFERRED": "{{result.was_transferred}}",
            "ZONE": "{{system.timezone}}",
            "FIXED": 7,
            "LEAD": { "name": "{{crm.name}}", "tags": ["{{analysis.day}}", 1] },
            "QC": ["{{qc.overall_score}}", "{{qc.empathy_score}}", "{{qc.remarks}}"],
        });
        let Value::Object(key_mapper) = key_mapper else { unreachable!() };
        let change = |agent: &mut Agent| {
            let mut plan = AnalysisPlan::default();
            plan.insights = true;
            plan.quality = Some("Was it polite?".to_owned());
            plan.schema =
                Some(json!({ "properties": { "DISPOSITION": { "type": "string" }, "day": { "type": "string" } } }));
            agent.after_call.analysis = Some(plan);
            agent.after_call.zone = Some("Asia/Jakarta".to_owned());
            agent.after_call.pushes = vec![
                push("mapped", PushForm::KeyMapper(key_mapper)),
                push("result", PushForm::CallResult),
                push("dialflo", PushForm::Dialflo),
                Push { method: PushMethod::Get, ..push("asked", PushForm::CallResult) },
            ];
            agent.variables.insert("crm".to_owned(), json!({ "customer_id": "C-17", "name": "Budi" }));
        };
        let world = world(&runtime, change, found_out, taken).await;
        let call = talk(&world).await;
        world.wait(Duration::from_secs(5)).await;
        let one = |id: &str| {
            let requests = requests_to(&world, &format!("{CRM_URL}/{id}"));
            assert_eq!(requests.len(), 1, "{id}");
            requests[0].clone()
        };

        let mapped = one("mapped");
        let header = mapped.headers.iter().find(|(name, _)| name == "authorization").map(|(_, value)| value.as_str());
        assert_eq!(header, Some("Bearer of-the-crm"));
        let mapped = body_of(&mapped);
        assert_eq!(mapped["CUSTOMER_ID"], "C-17");
        assert_eq!((&mapped["DISPOSITION"], &mapped["DAY"]), (&json!("CALLBACK"), &json!("Tuesday")));
        assert_eq!((&mapped["REMARKS"], &mapped["FLAT"], &mapped["FIXED"]), (&json!(""), &json!("C-17"), &json!(7)));
        assert_eq!(mapped["LEAD"], json!({ "name": "Budi", "tags": ["Tuesday", 1] }));
        assert_eq!(mapped["QC"], json!(["80.0", "", "Polite."]), "a score that was left out is empty");
        assert_eq!((&mapped["TRANSFERRED"], &mapped["ZONE"]), (&json!("no"), &json!("Asia/Jakarta")));
        let seconds = call.duration_ms as f64 / 1_000.0;
        assert_eq!(mapped["CALL_DURATION"], json!(seconds).to_string());
        let url = mapped["RECORDING_URL"].as_str().unwrap();
        let (path, query) = url.strip_prefix("https://calls.example").unwrap().split_once('?').unwrap();
        assert_eq!(world.engine.recordings().open_link(path, query).unwrap(), (world.tenant, call.id));

        let result = body_of(&one("result"));
        assert_eq!(result["session_id"], json!(call.id));
        assert_eq!((&result["caller_id"], &result["disconnected_by"]), (&json!("+628123456789"), &json!("customer")));
        assert_eq!(result["call_duration_seconds"], json!(seconds));
        assert_eq!(result["transcript"][1]["speaker"], "customer");
        assert_eq!(result["post_call_analysis"]["day"], "Tuesday");
        assert_eq!(result["post_call_analysis"]["summary"], "A call on Tuesday is wanted.");

        let dialflo = body_of(&one("dialflo"));
        assert_eq!((&dialflo["from_number"], &dialflo["call_status"]), (&json!("628123456789"), &json!("ANSWERED")));
        assert_eq!(dialflo["call_insights"]["metadata"]["day"], "Tuesday");
        assert_eq!(dialflo["call_insights"]["next_action"], "NONE");
        assert!(dialflo["agent_id"].is_u64() && dialflo["call_duration"].is_u64());
        assert!(dialflo["end_time"].as_str().unwrap().ends_with("+07:00"), "{dialflo}");

        let asked = one("asked");
        assert_eq!((asked.method, asked.body.len()), (HttpMethod::Get, 0));
        assert!(asked.url.contains("disconnected_by=customer"), "{}", asked.url);

        let stored = world.engine.calls().get(world.tenant, call.id).await.unwrap().unwrap();
        let analysis = stored.analysis.unwrap();
        assert_eq!((analysis.by, analysis.summary.as_str()), (Analyst::Model, "A call on Tuesday is wanted."));
        // The transcript is told when its summary is known, and once.
        let events: Vec<_> =
            requests_to(&world, WEBHOOK_URL).iter().map(|request| body_of(request)["type"].clone()).collect();
        assert_eq!(events, ["call.started", "call.answered", "call.ended", "call.transcript"]);
    });
}

#[test]
fn a_model_that_fails_is_asked_again_and_then_rules_answer() {
    for (failures, by) in [(2, Analyst::Model), (3, Analyst::Rules)] {
        let runtime = VirtualRuntime::new(2);
        runtime.clone().block_on(async {
            let asked = Arc::new(AtomicU32::new(0));
            let change = |agent: &mut Agent| agent.after_call.analysis = Some(AnalysisPlan::default());
            let analyse = {
                let asked = asked.clone();
                move || match asked.fetch_add(1, Ordering::Relaxed) < failures {
                    true => says("I would rather not say."),
                    false => found_out(),
                }
            };
            let world = world(&runtime, change, analyse, taken).await;
            let call = talk(&world).await;
            world.wait(Duration::from_secs(60)).await;
            assert_eq!(asked.load(Ordering::Relaxed), 3);
            let stored = world.engine.calls().get(world.tenant, call.id).await.unwrap().unwrap();
            assert_eq!(stored.analysis.unwrap().by, by);
            assert_eq!(stored.after, None);
        });
    }
}

/// What the model took for the analysis, also for answers that could not be used, counts in the call's cost.
#[test]
fn an_analysis_is_part_of_what_a_call_costs() {
    let runtime = VirtualRuntime::new(7);
    runtime.clone().block_on(async {
        let asked = Arc::new(AtomicU32::new(0));
        let change = |agent: &mut Agent| agent.after_call.analysis = Some(AnalysisPlan::default());
        let analyse = {
            let asked = asked.clone();
            move || {
                let usage = LlmEvent::Usage { cached_tokens: 0, input_tokens: 1_000, output_tokens: 50 };
                let is_first = asked.fetch_add(1, Ordering::Relaxed) == 0;
                let answer = if is_first { says("I would rather not say.") } else { found_out() };
                [vec![usage], answer].concat()
            }
        };
        let mut world = world(&runtime, change, analyse, taken).await;
        let mut settings = offhook_testkit::settings();
        let idr: Currency = "IDR".parse().unwrap();
        let price = |resource, units: i64, per| Price {
            provider: "script".to_owned(),
            model: None,
            resource,
            price: Money::from_micros(units * 1_000_000, idr),
            per: NonZeroU64::new(per).unwrap(),
        };
        settings.prices = PriceList {
            currencies: vec![idr],
            prices: vec![price(Resource::InputTokens, 2, 1_000), price(Resource::OutputTokens, 1, 50)],
            ..PriceList::default()
        };
        world.engine = Engine::with_settings(world.providers.clone(), settings);
        let call = talk(&world).await;
        world.wait(Duration::from_secs(60)).await;
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        let stored = world.engine.calls().get(world.tenant, call.id).await.unwrap().unwrap();
        assert_eq!(stored.usage.total(Resource::InputTokens), 2_000);
        assert_eq!(stored.usage.total(Resource::OutputTokens), 100);
        assert_eq!(stored.cost("IDR").unwrap().whole, 6);
    });
}

#[test]
fn a_get_that_tells_too_much_is_a_dead_delivery_and_not_lost() {
    let runtime = VirtualRuntime::new(8);
    runtime.clone().block_on(async {
        let change = |agent: &mut Agent| {
            let long = json!({ "ALL": "{{crm.all}}" });
            let Value::Object(keys) = long else { unreachable!() };
            agent.after_call.pushes = vec![
                Push { method: PushMethod::Get, ..push("long", PushForm::KeyMapper(keys)) },
                push("result", PushForm::CallResult),
            ];
            agent.variables.insert("crm".to_owned(), json!({ "all": "x".repeat(10_000) }));
        };
        let world = world(&runtime, change, found_out, taken).await;
        let call = talk(&world).await;
        world.wait(Duration::from_secs(5)).await;
        let id = format!("{}:push-long:call_result", call.id);
        let delivery = world.engine.outbox().get(world.tenant, &id).await.unwrap().unwrap();
        assert_eq!((delivery.state, delivery.event.as_str()), (DeliveryState::Dead, "call.result"));
        assert_eq!(delivery.attempts[0].error, Some(ErrorKind::ConfigInvalid));
        assert!(requests_to(&world, &format!("{CRM_URL}/long")).is_empty());
        assert_eq!(requests_to(&world, &format!("{CRM_URL}/result")).len(), 1, "the other is told");
    });
}

/// VS-073
#[test]
fn pushes_are_signed_by_the_tenants_secret_and_those_that_ask_by_their_query() {
    let runtime = VirtualRuntime::new(10);
    runtime.clone().block_on(async {
        let change = |agent: &mut Agent| {
            agent.after_call.pushes = vec![
                push("told", PushForm::CallResult),
                Push { method: PushMethod::Get, ..push("asked", PushForm::CallResult) },
            ];
        };
        let mut world = world(&runtime, change, found_out, taken).await;
        let _ = talk(&world).await;
        world.wait(Duration::from_secs(5)).await;
        let unsigned = requests_to(&world, CRM_URL);
        assert!(unsigned.len() == 2 && unsigned.iter().all(|request| signature_of(request).is_none()), "no secret");
        world.tenant = world.engine.tenants().create("The clinic", Plan::Starter).await.unwrap().id;
        world.engine.credits().grant(world.tenant, Duration::from_secs(3_600), "first").await.unwrap();
        let _ = talk(&world).await;
        world.wait(Duration::from_secs(5)).await;
        let secret = world.engine.tenants().signing_secret(world.tenant).await.unwrap();
        let requests = requests_to(&world, CRM_URL);
        assert_eq!(requests.len(), 4);
        for request in &requests[2..] {
            let query = request.url.split_once('?').map(|(_, query)| query.as_bytes());
            body::verify(&secret, query.unwrap_or(&request.body), signature_of(request).unwrap()).unwrap();
        }
    });
}

/// FL-043, FL-044
#[test]
fn calls_that_were_never_begun_are_told_of_as_well() {
    async fn no_credit(world: &World) {
        let taken = Amount { unit: Unit::Time, value: -3_600_000 };
        world.engine.credits().adjust(world.tenant, taken, "all of it", "").await.unwrap();
    }
    async fn no_slot(world: &World) {
        let limits = Limits { calls_max: Some(0), ..Limits::default() };
        world.engine.capacity().set_limits(world.tenant, &limits).await.unwrap();
    }
    let never = || Hours::new("Asia/Jakarta").unwrap();
    for (number, told) in [(0, "rejected"), (1, "outside_hours"), (2, "error"), (3, "rejected")] {
        let runtime = VirtualRuntime::new(9);
        runtime.clone().block_on(async {
            let change = |agent: &mut Agent| {
                let Value::Object(keys) = json!({ "ENDED": "{{result.disconnected_by}}", "ID": "{{crm.id}}" }) else {
                    unreachable!()
                };
                agent.after_call.pushes =
                    vec![push("result", PushForm::CallResult), push("mapped", PushForm::KeyMapper(keys))];
                agent.variables.insert("crm".to_owned(), json!({ "id": 17 }));
                agent.active = number != 0;
                agent.hours = (number == 1).then(never);
            };
            let world = world(&runtime, change, found_out, taken).await;
            match number {
                2 => no_credit(&world).await,
                3 => no_slot(&world).await,
                _ => {}
            }
            let (handle, _caller) = world.ring();
            let (call, _) = handle.finished().await.unwrap();
            assert_eq!(call.answered_at, None);
            world.wait(Duration::from_secs(5)).await;
            let [result] = &requests_to(&world, &format!("{CRM_URL}/result"))[..] else { unreachable!("told once") };
            assert_eq!(body_of(result)["session_id"], json!(call.id));
            assert_eq!(body_of(result)["disconnected_by"], told);
            let [mapped] = &requests_to(&world, &format!("{CRM_URL}/mapped"))[..] else { unreachable!("told once") };
            assert_eq!(body_of(mapped), json!({ "ENDED": told, "ID": "17" }));
        });
    }
}

/// VS-071, VS-072, VS-073, VS-074
#[test]
fn a_tasks_owner_is_told_of_its_calls_once_each() {
    let runtime = VirtualRuntime::new(3);
    runtime.clone().block_on(async {
        let mut world = world(
            &runtime,
            |agent| agent.active = true,
            found_out,
            |request| Ok((if request.url == CRM_URL { 500 } else { 200 }, String::new())),
        )
        .await;
        world.tenant = world.engine.tenants().create("The clinic", Plan::Starter).await.unwrap().id;
        world.engine.credits().grant(world.tenant, Duration::from_secs(3_600), "first").await.unwrap();
        world.engine.agents().put(world.tenant, &world.agent).await.unwrap();
        let number = |last: u32| format!("+62215001010{last}").parse().unwrap();
        world.carrier.when_dialled(&number(1), Answering::Refuses(Duration::ZERO, HangupCause::USER_BUSY));
        let mut wish = NewTask::new(world.agent.id, number(0), number(1));
        wish.webhook =
            Some(TaskWebhook { events: TaskEvent::ALL.to_vec(), is_retried: false, url: CRM_URL.to_owned() });
        let task = world.engine.tasks().create(world.tenant, "one", wish.clone()).await.unwrap();
        world.wait(Duration::from_secs(60)).await;
        let told: Vec<_> = requests_to(&world, CRM_URL).iter().map(body_of).collect();
        let events: Vec<_> = told.iter().map(|told| told["event_type"].as_str().unwrap()).collect();
        assert_eq!(events, ["call_started", "call_failed"], "what is refused is not tried again");
        assert!(told.iter().all(|told| told["task_id"] == json!(task.id) && told["call_id"].is_string()));
        let secret = world.engine.tenants().signing_secret(world.tenant).await.unwrap();
        for request in requests_to(&world, CRM_URL) {
            body::verify(&secret, &request.body, signature_of(&request).unwrap()).unwrap();
        }
        assert!(told.iter().all(|told| told["data"]["transcript_excerpt"].is_null()));
        wish.webhook =
            Some(TaskWebhook { events: TaskEvent::ALL.to_vec(), is_retried: false, url: "ftp://x".to_owned() });
        let refused = world.engine.tasks().create(world.tenant, "two", wish).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConfigInvalid);
    });
}

/// FL-042, FL-051
#[test]
fn what_the_customer_knows_of_the_caller_is_asked_before_the_agent_speaks() {
    let deep = format!("{{\"name\":{}{}}}", "[".repeat(110), "]".repeat(110));
    for (status, body, greeting) in [
        (200, "{\"name\":\"Rahul\"}", "Hello Rahul."),
        (500, "", "Hello {{crm.name}}."),
        (200, "no object", "Hello {{crm.name}}."),
        (200, deep.as_str(), "Hello {{crm.name}}."),
    ] {
        let runtime = VirtualRuntime::new(4);
        runtime.clone().block_on(async {
            let change = |agent: &mut Agent| {
                agent.greeting = Some("Hello {{crm.name}}.".to_owned());
                let token = Some(Secret::new("Bearer of-the-crm"));
                agent.prefetch = Some(Prefetch { is_post: false, token, url: CRM_URL.to_owned() });
            };
            let body = body.to_owned();
            let answer = move |request: &HttpRequest| match request.url.starts_with(CRM_URL) {
                true => Ok((status, body.clone())),
                false => Ok((200, String::new())),
            };
            let world = world(&runtime, change, found_out, answer).await;
            let call = talk(&world).await;
            assert_eq!(call.transcript[0].text, greeting);
            let [asked] = &requests_to(&world, CRM_URL)[..] else { unreachable!("asked once") };
            for part in ["caller_id=%2B628123456789", "did=%2B622150001000", "bot_id=", &format!("call_id={}", call.id)]
            {
                assert!(asked.url.contains(part), "{}", asked.url);
            }
        });
    }
}

#[test]
fn what_cannot_be_told_is_refused_when_it_is_configured() {
    let runtime = VirtualRuntime::new(5);
    runtime.clone().block_on(async {
        let world = world(&runtime, |_| {}, found_out, taken).await;
        let refuses = async |change: fn(&mut Agent)| {
            let mut agent = (*world.agent).clone();
            change(&mut agent);
            let error = world.engine.agents().put(world.tenant, &agent).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConfigInvalid, "{error}");
        };
        refuses(|agent| agent.after_call.zone = Some("Mars".to_owned())).await;
        refuses(|agent| agent.after_call.pushes = vec![push("Upper", PushForm::CallResult)]).await;
        refuses(|agent| agent.after_call.pushes = vec![push("a", PushForm::CallResult), push("a", PushForm::Dialflo)])
            .await;
        refuses(|agent| agent.after_call.pushes = vec![push("a", PushForm::KeyMapper(Map::new()))]).await;
        refuses(|agent| {
            let Value::Object(keys) = json!({ "KEY": "{{oops" }) else { unreachable!() };
            agent.after_call.pushes = vec![push("a", PushForm::KeyMapper(keys))];
        })
        .await;
        refuses(|agent| {
            agent.after_call.pushes = vec![Push { url: "ftp://x".to_owned(), ..push("a", PushForm::Dialflo) }]
        })
        .await;
        for token in ["", "Bearer \n", " Bearer", "Bearer \u{e9}"] {
            let mut agent = (*world.agent).clone();
            let token = Some(Secret::new(token));
            agent.after_call.pushes = vec![Push { token: token.clone(), ..push("a", PushForm::Dialflo) }];
            let error = world.engine.agents().put(world.tenant, &agent).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConfigInvalid, "{error}");
            agent.after_call.pushes.clear();
            agent.prefetch = Some(Prefetch { is_post: false, token, url: CRM_URL.to_owned() });
            let error = world.engine.agents().put(world.tenant, &agent).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConfigInvalid, "{error}");
        }
        refuses(|agent| agent.prefetch = Some(Prefetch { is_post: false, token: None, url: "x".to_owned() })).await;
    });
}

/// An answer that no row can hold must not keep the call from its end.
#[test]
fn a_function_that_answers_too_deeply_ends_no_settlement() {
    let runtime = VirtualRuntime::new(6);
    runtime.clone().block_on(async {
        let deep = format!("{}{}", "[".repeat(120), "]".repeat(120));
        let answer = move |request: &HttpRequest| {
            let body = if request.url == crate::world::FUNCTION_URL { deep.clone() } else { String::new() };
            Ok((200, body))
        };
        let world = World::with_http(Arc::new(runtime.clone()), &["Do I have an appointment?"], answer).await;
        let call = talk(&world).await;
        assert_eq!(call.functions[0].result, Some(json!({ "error": "invalid_json" })));
        let stored = world.engine.calls().get(world.tenant, call.id).await.unwrap().unwrap();
        assert!(stored.ledger.is_some());
    });
}
