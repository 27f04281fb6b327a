//! Calls in virtual time: what the caller hears, what is stored, what is billed and what is reported.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use offhook::billing::Unit;
use offhook::call::record::{CallStatus, EndReason, HangupParty};
use offhook::call::{CallEventKind, Speaker};
use offhook::error::ErrorKind;
use offhook::journal::{self, Journal};
use offhook::provider::Store;
use offhook::provider::telephony::{E164, HangupCause};
use offhook::provider::transport::HttpRequest;
use offhook::signing::{Secret, standard};
use offhook::time::Timestamp;
use offhook_testkit::carrier::Answering;
use offhook_testkit::runtime::VirtualRuntime;
use offhook_testkit::script::ToneSpeech;

use crate::world::{FUNCTION_URL, HOUR, WEBHOOK_URL, World};

const SPEECH: u8 = 0x80;
const SILENCE: u8 = 0xff;

fn in_virtual_time<F: Future<Output = ()>>(lines: &'static [&'static str], story: impl FnOnce(World) -> F) {
    let runtime = VirtualRuntime::new(7);
    let world = World::new(Arc::new(runtime.clone()), lines);
    runtime.block_on(async { story(world.await).await });
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn verify(request: &HttpRequest, secret: &Secret, now: Timestamp) {
    let header = |name: &str| {
        request.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let headers = standard::Headers {
        id: header("webhook-id"),
        signature: header("webhook-signature"),
        timestamp: header("webhook-timestamp"),
    };
    standard::verify(std::slice::from_ref(secret), &headers, &request.body, now).unwrap();
}

#[test]
fn a_call_from_ring_to_bill() {
    in_virtual_time(&["Do I have an appointment?", "Goodbye, bye."], |world| async move {
        let (handle, caller) = world.ring();
        caller.sound(SILENCE, ms(1_500)).await;
        caller.sound(SPEECH, ms(500)).await;
        caller.sound(SILENCE, ms(4_000)).await;
        caller.sound(SPEECH, ms(500)).await;
        caller.sound(SILENCE, ms(1_500)).await;
        let id = handle.id();
        let (record, ledger) = handle.finished().await.unwrap();
        let ledger = ledger.unwrap();

        let said: Vec<_> = record.transcript.iter().map(|entry| (entry.speaker, entry.text.as_str())).collect();
        assert_eq!(
            said,
            [
                (Speaker::Agent, "Good morning."),
                (Speaker::Caller, "Do I have an appointment?"),
                (Speaker::Agent, "Let me check."),
                (Speaker::Agent, "I found {\"time\":\"ten\"}."),
                (Speaker::Caller, "Goodbye, bye."),
                (Speaker::Agent, "Goodbye!"),
            ]
        );
        assert_eq!(record.status, CallStatus::Completed);
        assert_eq!(record.end_reason, Some(EndReason::AgentHangUp));
        assert_eq!(record.hangup_party, Some(HangupParty::Agent));
        assert_eq!(world.carrier.hung_up(&caller.leg), Some(HangupCause::NORMAL_CLEARING));
        assert_eq!(record.functions[0].result, Some(serde_json::json!({ "time": "ten" })));

        let talk = i64::try_from(record.talk_time_ms).unwrap();
        let hour = i64::try_from(HOUR.as_millis()).unwrap();
        assert_eq!((ledger.before, ledger.settled, ledger.after), (hour, talk, hour - talk));
        let balance = world.engine.credits().balance(world.tenant, Unit::Time).await.unwrap();
        assert_eq!((balance.available, balance.held, balance.used), (hour - talk, 0, talk));

        world.wait(Duration::from_secs(3)).await;
        let requests = world.http.requests();
        let function = requests.iter().find(|request| request.url == FUNCTION_URL).unwrap();
        verify(function, &Secret::new("function secret"), world.runtime.wall_clock());
        let webhooks: Vec<_> = requests.iter().filter(|request| request.url == WEBHOOK_URL).collect();
        webhooks.iter().for_each(|request| verify(request, &world.secret, world.runtime.wall_clock()));
        let bodies: Vec<serde_json::Value> =
            webhooks.iter().map(|request| serde_json::from_slice(&request.body).unwrap()).collect();
        let names: Vec<_> = bodies.iter().map(|body| body["type"].as_str().unwrap()).collect();
        // DR-077
        assert_eq!(names, ["call.started", "call.answered", "function.called", "call.ended", "call.transcript"]);
        assert_eq!(bodies[2]["data"]["function"], "check_appointment");
        assert_eq!(bodies[2]["data"]["result"], serde_json::json!({ "time": "ten" }));
        assert!(bodies[2]["timestamp"].as_str() < bodies[3]["timestamp"].as_str(), "told when it happened");
        assert_eq!(bodies[3]["data"]["call"]["talk_time_ms"], record.talk_time_ms);
        assert_eq!(bodies[3]["data"]["ledger"]["settled"], talk);
        assert_eq!(bodies[4]["data"]["transcript"].as_array().unwrap().len(), record.transcript.len());

        let stored = world.engine.calls().get(world.tenant, id).await.unwrap().unwrap();
        assert_eq!((stored.record, stored.ledger), (record.clone(), Some(ledger)));
        check_recording(&world, &record.recording.unwrap(), record.talk_time_ms);
    });
}

/// A stereo WAV as long as the talk, the caller on the left and the agent on the right.
fn check_recording(world: &World, location: &str, talk_time_ms: u64) {
    let wav = world.blob.object(location).unwrap();
    assert_eq!((&wav[..4], &wav[8..16]), (&b"RIFF"[..], &b"WAVEfmt "[..]));
    let data_bytes = u32::from_le_bytes(wav[40..44].try_into().unwrap());
    assert_eq!(data_bytes as usize, wav.len() - 44);
    let recorded_ms = u64::from(data_bytes) / 32;
    assert!(recorded_ms.abs_diff(talk_time_ms) <= 60, "{recorded_ms} of {talk_time_ms}");
    let loud = |channel: usize| {
        let samples = wav[44..].chunks_exact(4).map(|frame| i16::from_le_bytes([frame[channel], frame[channel + 1]]));
        samples.filter(|sample| sample.unsigned_abs() > 1_000).count()
    };
    assert_eq!(loud(0), 8_000, "the caller spoke for a second");
    assert!(loud(2) > 8_000, "the agent spoke for more");
}

#[test]
fn the_agent_falls_silent_when_the_caller_interrupts() {
    in_virtual_time(&["Tell me a story.", "Stop."], |world| async move {
        let (handle, caller) = world.ring();
        caller.sound(SILENCE, ms(1_500)).await;
        caller.sound(SPEECH, ms(400)).await;
        caller.sound(SILENCE, ms(2_000)).await;
        let before = caller.heard().len();
        caller.sound(SPEECH, ms(600)).await;
        let after = caller.heard().len();
        assert!((after - before) / 8 <= 200, "the agent went on for {} ms", (after - before) / 8);
        caller.sound(SILENCE, ms(2_000)).await;
        caller.hang_up(HangupCause::NORMAL_CLEARING);
        let (record, _) = handle.finished().await.unwrap();
        let story = record.transcript.iter().find(|entry| entry.cut).unwrap();
        assert!(story.text.starts_with("Once upon") && story.text.len() < 60, "{}", story.text);
        assert_eq!(record.barge_ins.len(), 1);
        assert_eq!(record.transcript.iter().filter(|entry| entry.text == "Stop.").count(), 1);
    });
}

#[test]
fn the_stored_journal_replays_to_the_same_record() {
    in_virtual_time(&["What are your opening hours?"], |world| async move {
        let (handle, caller) = world.ring();
        caller.sound(SILENCE, ms(1_500)).await;
        caller.sound(SPEECH, ms(400)).await;
        caller.sound(SILENCE, ms(2_000)).await;
        caller.hang_up(HangupCause::NORMAL_CLEARING);
        let id = handle.id();
        let (record, _) = handle.finished().await.unwrap();
        world.wait(ms(100)).await;
        let log = world.store.read_log(journal::log_key(world.tenant, id), 0, 1_000).await.unwrap();
        let verdict = Journal::from_log(log).unwrap().verify().unwrap();
        assert_eq!(verdict.difference, None);
        assert!(verdict.is_whole);
        assert_eq!(verdict.record, record);
    });
}

#[test]
fn a_caller_who_vanishes_ends_the_call_with_a_cause_and_the_next_call_works() {
    in_virtual_time(&[], |world| async move {
        let (handle, caller) = world.ring();
        caller.sound(SILENCE, ms(500)).await;
        caller.vanish();
        let (record, ledger) = handle.finished().await.unwrap();
        assert_eq!(record.end_reason, Some(EndReason::MediaLost));
        assert_eq!(record.hangup_cause, Some(HangupCause::NETWORK_OUT_OF_ORDER));
        assert!(ledger.is_some());
        let (handle, caller) = world.ring();
        caller.sound(SILENCE, ms(2_000)).await;
        caller.hang_up(HangupCause::NORMAL_CLEARING);
        let (record, _) = handle.finished().await.unwrap();
        assert_eq!(record.transcript[0].text, "Good morning.");
    });
}

#[test]
fn media_that_stops_without_a_word_ends_the_call() {
    in_virtual_time(&[], |world| async move {
        let (handle, caller) = world.ring();
        caller.sound(SILENCE, ms(500)).await;
        let (record, _) = handle.finished().await.unwrap();
        assert_eq!(record.hangup_cause, Some(HangupCause::RECOVERY_ON_TIMER_EXPIRY));
        assert!(record.talk_time_ms < 12_000);
    });
}

#[test]
fn an_outbound_call_is_placed_answered_and_held() {
    in_virtual_time(&[], |world| async move {
        let (from, to): (E164, E164) = ("+622150001000".parse().unwrap(), "+628123456789".parse().unwrap());
        world.carrier.when_dialled(&to, Answering::After(Duration::from_secs(4)));
        let mut handle = world.engine.dial(world.tenant, world.agent.clone(), from.clone(), to).unwrap();
        while let Some(event) = handle.next_event().await {
            if matches!(event.kind, CallEventKind::Phase { phase: offhook::call::Phase::Connected }) {
                break;
            }
        }
        let callee = world.carrier.take_dialled().unwrap();
        callee.sound(SILENCE, ms(2_000)).await;
        callee.hang_up(HangupCause::NORMAL_CLEARING);
        let (record, _) = handle.finished().await.unwrap();
        assert_eq!(record.duration_ms - record.talk_time_ms, 4_000);
        assert_eq!(record.transcript[0].text, "Good morning.");

        let busy: E164 = "+628111111111".parse().unwrap();
        world.carrier.when_dialled(&busy, Answering::Refuses(Duration::ZERO, HangupCause::USER_BUSY));
        let handle = world.engine.dial(world.tenant, world.agent.clone(), from.clone(), busy).unwrap();
        let (record, ledger) = handle.finished().await.unwrap();
        assert_eq!((record.status, ledger.unwrap().settled), (CallStatus::Busy, 0));

        let unknown: E164 = "+628222222222".parse().unwrap();
        let handle = world.engine.dial(world.tenant, world.agent.clone(), from, unknown).unwrap();
        let (record, _) = handle.finished().await.unwrap();
        assert_eq!((record.status, record.hangup_cause), (CallStatus::Failed, Some(HangupCause::CALL_REJECTED)));
    });
}

#[test]
fn a_call_ends_with_its_credits() {
    in_virtual_time(&[], |world| async move {
        let tenant = offhook::ids::TenantId::new(world.runtime.wall_clock(), [9; 10]);
        let (incoming, caller) = world.carrier.ring("+628123456789", "+622150001000");
        let handle = world.engine.accept(tenant, world.agent.clone(), incoming).unwrap();
        let (record, ledger) = handle.finished().await.unwrap();
        assert_eq!((record.status, record.end_reason), (CallStatus::Rejected, Some(EndReason::InsufficientCredits)));
        assert_eq!(ledger.unwrap().held, 0);
        drop(caller);

        world.engine.credits().grant(tenant, Duration::from_secs(5), "five").await.unwrap();
        world.engine.credits().grant(tenant, Duration::from_secs(5), "five").await.unwrap();
        let (incoming, caller) = world.carrier.ring("+628123456789", "+622150001000");
        let handle = world.engine.accept(tenant, world.agent.clone(), incoming).unwrap();
        caller.sound(SILENCE, Duration::from_secs(8)).await;
        let (record, ledger) = handle.finished().await.unwrap();
        assert_eq!((record.talk_time_ms, record.end_reason), (5_000, Some(EndReason::CreditsExhausted)));
        assert_eq!(ledger.unwrap().after, 0);
    });
}

#[test]
fn webhooks_are_retried_in_order_with_the_same_bytes() {
    let runtime = VirtualRuntime::new(3);
    let failures = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counter = failures.clone();
    let answer = move |request: &HttpRequest| match counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        0 => Err(offhook::Error::new(ErrorKind::Unavailable, "http.send", "no route")),
        1 | 2 => Ok((503, String::new())),
        _ => Ok((if request.body.is_empty() { 400 } else { 204 }, String::new())),
    };
    runtime.block_on(async {
        let world = World::with_http(Arc::new(runtime.clone()), &[], answer).await;
        let (handle, caller) = world.ring();
        caller.sound(SILENCE, ms(1_000)).await;
        caller.hang_up(HangupCause::NORMAL_CLEARING);
        let id = handle.id();
        handle.finished().await.unwrap();
        world.wait(Duration::from_secs(60)).await;
        let requests = world.http.requests();
        assert_eq!(requests.len(), 7, "four events, three failures");
        assert!(requests[..3].iter().all(|request| request.body == requests[0].body));
        assert!(requests[..3].iter().all(|request| request.headers == requests[0].headers));
        let deliveries = world.engine.webhooks().deliveries(world.tenant, id).await.unwrap();
        let attempts: Vec<_> = deliveries.iter().map(|delivery| delivery.attempts.len()).collect();
        assert_eq!(attempts, [4, 1, 1, 1]);
    });
}

#[test]
fn speech_that_breaks_off_does_not_silence_the_speech_after_it() {
    let runtime = VirtualRuntime::new(4);
    runtime.block_on(async {
        let lines = ["What are your opening hours?"];
        let speech = Arc::new(ToneSpeech::failing(1));
        let world = World::with(Arc::new(runtime.clone()), &lines, |_| Ok((200, String::new())), speech).await;
        let (handle, caller) = world.ring();
        caller.sound(SILENCE, ms(1_500)).await;
        caller.sound(SPEECH, ms(500)).await;
        caller.sound(SILENCE, ms(2_500)).await;
        caller.hang_up(HangupCause::NORMAL_CLEARING);
        let (record, _) = handle.finished().await.unwrap();
        assert_eq!(record.end_reason, Some(EndReason::CallerHangUp));
        assert_eq!(record.transcript.last().unwrap().text, "From nine to five.");
        assert_eq!(record.turns.len(), 1);
    });
}

#[test]
fn a_caller_who_floods_the_media_is_still_settled() {
    in_virtual_time(&[], |world| async move {
        let (handle, caller) = world.ring();
        caller.sound(SILENCE, ms(500)).await;
        for _ in 0..5_000 {
            caller.send_audio(bytes::Bytes::from_static(&[0xff; 160]));
        }
        caller.hang_up(HangupCause::NORMAL_CLEARING);
        handle.hang_up().unwrap();
        let (record, ledger) = handle.finished().await.unwrap();
        assert!(ledger.is_some_and(|ledger| ledger.settled.unsigned_abs() == record.talk_time_ms));
    });
}

#[test]
fn audio_that_the_carrier_leaves_out_does_not_shift_the_time() {
    in_virtual_time(&["What are your opening hours?"], |world| async move {
        let (handle, caller) = world.ring();
        caller.sound(SILENCE, ms(1_500)).await;
        world.wait(ms(3_000)).await;
        caller.sound(SPEECH, ms(500)).await;
        caller.sound(SILENCE, ms(2_500)).await;
        caller.hang_up(HangupCause::NORMAL_CLEARING);
        let (record, _) = handle.finished().await.unwrap();
        assert!(record.transcript[1].at_ms.abs_diff(4_500) < 200, "{:?}", record.transcript[1]);
        assert!(record.turns[0].latency_ms < 1_000, "{:?}", record.turns);
    });
}
