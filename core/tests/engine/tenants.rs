//! Tenants, their numbers, and what signs what they are sent.

use std::sync::Arc;
use std::time::Duration;

use offhook::error::ErrorKind;
use offhook::ids::{AgentId, NumberId, TenantId};
use offhook::provider::llm::Tool;
use offhook::provider::telephony::{E164, HangupCause};
use offhook::service::agents::{Agent, Function, FunctionMethod};
use offhook::service::functions::check_schema;
use offhook::service::tenants::Plan;
use offhook::service::webhooks::Form;
use offhook::signing;
use offhook_testkit::runtime::VirtualRuntime;
use serde_json::json;

use crate::world::{FUNCTION_URL, HOUR, World};

const SILENCE: u8 = 0xff;
const SPEECH: u8 = 0x80;

fn e164(text: &str) -> E164 {
    text.parse().unwrap()
}

#[test]
fn dr_010_tenants_have_plans_and_secrets_of_their_own() {
    let runtime = VirtualRuntime::new(1);
    runtime.block_on(async {
        let world = World::new(Arc::new(runtime.clone()), &[]).await;
        let tenants = world.engine.tenants();
        let clinic = tenants.create("Klinik Sehat", Plan::Starter).await.unwrap();
        let other = tenants.create("Other", Plan::Business).await.unwrap();
        assert_eq!((clinic.requests_per_minute(), other.requests_per_minute()), (60, 300));
        let changed = tenants.update(clinic.id, |tenant| tenant.requests_per_minute = Some(7)).await.unwrap();
        assert_eq!(changed.requests_per_minute(), 7);
        assert_eq!(tenants.get(clinic.id).await.unwrap(), Some(changed.clone()));
        assert_eq!(tenants.list(None).await.unwrap(), (vec![changed, other.clone()], None));
        let secrets = [clinic.id, other.id].map(|tenant| tenants.signing_secret(tenant));
        let secrets = futures_util::future::join_all(secrets).await.into_iter().map(Result::unwrap);
        let secrets: Vec<_> = secrets.map(|secret| secret.expose().to_vec()).collect();
        assert!(secrets[0] != secrets[1] && secrets[0].starts_with(b"whsec_"));
        for name in ["", "  ", &"x".repeat(201)] {
            assert_eq!(tenants.create(name, Plan::Starter).await.unwrap_err().kind(), ErrorKind::ConfigInvalid);
        }
        let nobody = TenantId::generate(&runtime);
        assert_eq!(tenants.get(nobody).await.unwrap(), None);
        assert_eq!(tenants.signing_secret(nobody).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(tenants.update(nobody, |_| {}).await.unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn dr_044_a_number_is_one_tenants_and_answered_by_at_most_one_agent() {
    let runtime = VirtualRuntime::new(2);
    runtime.block_on(async {
        let world = World::new(Arc::new(runtime.clone()), &[]).await;
        let (engine, mine) = (&world.engine, world.tenant);
        let stranger = TenantId::generate(&runtime);
        engine.agents().put(mine, &world.agent).await.unwrap();
        let (agent, line) = (world.agent.id, e164("+622150001000"));
        let numbers = engine.numbers();
        let first = numbers.add(mine, line.clone(), "Clinic", None).await.unwrap();
        let kind =
            |result: offhook::Result<_>| result.map(|_: offhook::service::numbers::Number| ()).unwrap_err().kind();
        assert_eq!(kind(numbers.add(stranger, line.clone(), "", None).await), ErrorKind::Conflict);
        assert_eq!(kind(numbers.assign(stranger, first.id, None).await), ErrorKind::NotFound);
        assert_eq!(kind(numbers.assign(mine, NumberId::generate(&runtime), None).await), ErrorKind::NotFound);
        assert_eq!(kind(numbers.assign(mine, first.id, Some(AgentId::generate(&runtime))).await), ErrorKind::NotFound);
        let assigned = numbers.assign(mine, first.id, Some(agent)).await.unwrap();
        assert_eq!(numbers.find(&line).await.unwrap(), Some((mine, assigned)));
        assert_eq!(numbers.caller_id(mine, agent).await.unwrap(), Some(line.clone()));
        let other = numbers.add(mine, e164("+622150001001"), "", None).await.unwrap();
        numbers.set_active(mine, first.id, false).await.unwrap();
        assert_eq!(numbers.caller_id(mine, agent).await.unwrap(), Some(other.number));
        // DR-031
        assert!(engine.agents().delete(mine, agent).await.unwrap());
        assert!(!engine.agents().delete(mine, agent).await.unwrap());
        assert_eq!(numbers.get(mine, first.id).await.unwrap().unwrap().agent, None);
        numbers.remove(mine, first.id).await.unwrap();
        assert_eq!(numbers.find(&line).await.unwrap(), None);
        numbers.add(stranger, line, "", None).await.unwrap();
    });
}

#[test]
fn agents_are_found_listed_and_changed() {
    let runtime = VirtualRuntime::new(3);
    runtime.block_on(async {
        let world = World::new(Arc::new(runtime.clone()), &[]).await;
        let (agents, tenant) = (world.engine.agents(), world.tenant);
        for name in ["a", "b", "c"] {
            let mut agent = Agent::new(AgentId::generate(&runtime), name, "prompt");
            agent.active = name != "b";
            agents.put(tenant, &agent).await.unwrap();
            world.wait(Duration::from_millis(2)).await;
        }
        let names = async |active, offset, limit| {
            let (agents, total) = agents.list(tenant, active, offset, limit).await.unwrap();
            (agents.into_iter().map(|agent| agent.name).collect::<String>(), total)
        };
        assert_eq!(names(None, 0, 10).await, ("cba".to_owned(), 3));
        assert_eq!(names(None, 1, 1).await, ("b".to_owned(), 3));
        assert_eq!(names(Some(true), 0, 10).await, ("ca".to_owned(), 2));
        let found = agents.find(tenant, "b").await.unwrap().unwrap();
        let changed = agents.update(tenant, found.id, |agent| {
            agent.active = true;
            agent.id = AgentId::generate(&runtime);
            Ok(())
        });
        assert_eq!(changed.await.unwrap().id, found.id);
        assert_eq!(names(Some(false), 0, 10).await, (String::new(), 0));
        let nobody = agents.update(tenant, AgentId::generate(&runtime), |_| Ok(())).await;
        assert_eq!(nobody.unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn dr_092_097_a1_a2_functions_are_signed_with_the_tenants_secret_in_the_vendors_form() {
    for (method, wrong) in [(FunctionMethod::Post, false), (FunctionMethod::Get, false), (FunctionMethod::Post, true)] {
        let runtime = VirtualRuntime::new(4);
        runtime.block_on(async {
            let mut world = World::new(Arc::new(runtime.clone()), &["My appointment?", "Goodbye."]).await;
            let tenant = world.engine.tenants().create("Clinic", Plan::Starter).await.unwrap().id;
            world.engine.credits().grant(tenant, HOUR, "first").await.unwrap();
            world.tenant = tenant;
            let kind = if wrong { "integer" } else { "string" };
            let parameters = json!({ "type": "object", "properties": { "phone_number": { "type": kind } } });
            let tool = Tool { description: String::new(), name: "check_appointment".to_owned(), parameters };
            let function = Function { form: Form::Dialro, method, ..Function::new(FUNCTION_URL, tool) };
            Arc::make_mut(&mut world.agent).functions = vec![function];
            let (handle, caller) = world.ring();
            let call = handle.id();
            caller.sound(SILENCE, Duration::from_millis(1_500)).await;
            caller.sound(SPEECH, Duration::from_millis(500)).await;
            caller.sound(SILENCE, Duration::from_millis(4_000)).await;
            caller.hang_up(HangupCause::NORMAL_CLEARING);
            let (record, _) = handle.finished().await.unwrap();
            let requests = world.http.requests();
            let asked: Vec<_> = requests.iter().filter(|request| request.url.starts_with(FUNCTION_URL)).collect();
            if wrong {
                // DR-097
                assert!(asked.is_empty());
                let result = record.functions[0].result.as_ref().unwrap()["error"].as_str().unwrap().to_owned();
                assert!(result.contains("/phone_number"), "{result}");
                return;
            }
            let [request] = asked[..] else { panic!("{} requests", asked.len()) };
            let header = |name: &str| request.headers.iter().find(|(key, _)| key == name).unwrap().1.clone();
            let secret = world.engine.tenants().signing_secret(tenant).await.unwrap();
            let signed = match method {
                FunctionMethod::Get => request.url.split_once('?').unwrap().1.as_bytes().to_vec(),
                FunctionMethod::Post => request.body.to_vec(),
            };
            signing::body::verify(&secret, &signed, &header("x-dialro-signature")).unwrap();
            match method {
                FunctionMethod::Get => {
                    let wanted = format!("callId={call}&functionName=check_appointment&phone_number=%2B628123456789");
                    assert_eq!(String::from_utf8(signed).unwrap(), wanted);
                }
                FunctionMethod::Post => {
                    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
                    let wanted = json!({ "callId": call, "functionName": "check_appointment",
                        "parameters": { "phone_number": "+628123456789" } });
                    assert_eq!(body, wanted);
                }
            }
        });
    }
}

#[test]
fn schemas_stand_on_their_own() {
    check_schema(&json!({ "type": "object", "properties": { "a": { "type": "string", "pattern": "^a+$" } } })).unwrap();
    check_schema(&json!({})).unwrap();
    for wrong in [
        json!("x"),
        json!({ "type": "string" }),
        json!({ "properties": { "a": { "type": "nothing" } } }),
        json!({ "properties": { "a": { "$ref": "http://example.com/schema.json" } } }),
        json!({ "properties": { "a": { "pattern": "(" } } }),
        json!({ "description": "x".repeat(70_000) }),
    ] {
        assert_eq!(check_schema(&wrong).unwrap_err().kind(), ErrorKind::ConfigInvalid, "{wrong}");
    }
}

#[test]
fn dr_093_096_a_function_that_does_not_answer_well_is_told_to_the_model() {
    type Reply = fn() -> offhook::Result<(u16, String)>;
    let answers: [(Reply, &str); 4] = [
        (|| Ok((500, "{}".to_owned())), "http_500"),
        (|| Ok((204, String::new())), "invalid_json"),
        (|| Ok((200, "<html>".to_owned())), "invalid_json"),
        (|| Err(offhook::Error::new(ErrorKind::TimedOut, "http.send", "no answer")), "timeout"),
    ];
    for (answer, wanted) in answers {
        let runtime = VirtualRuntime::new(5);
        runtime.block_on(async {
            let reply = move |request: &offhook::provider::transport::HttpRequest| match request.url == FUNCTION_URL {
                true => answer(),
                false => Ok((200, String::new())),
            };
            let world = World::with_http(Arc::new(runtime.clone()), &["My appointment?"], reply).await;
            let (handle, caller) = world.ring();
            caller.sound(SILENCE, Duration::from_millis(1_500)).await;
            caller.sound(SPEECH, Duration::from_millis(500)).await;
            caller.sound(SILENCE, Duration::from_millis(4_000)).await;
            caller.hang_up(HangupCause::NORMAL_CLEARING);
            let (record, _) = handle.finished().await.unwrap();
            assert_eq!(record.functions[0].result, Some(json!({ "error": wanted })));
            let said = record.transcript.iter().any(|entry| entry.text.contains("I found"));
            assert!(said, "the model speaks on");
            let asked = world.http.requests().into_iter().filter(|request| request.url == FUNCTION_URL);
            let asked: Vec<_> = asked.collect();
            assert_eq!(
                (asked.len(), asked[0].timeout),
                (1, Duration::from_secs(5)),
                "it is asked once, for five seconds"
            );
        });
    }
}
