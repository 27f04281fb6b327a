//! What a call to each reserved number comes to, with the real engine in virtual time.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use offhook::ErrorKind;
use offhook::audio::codec;
use offhook::call::policy::{OnMachine, Screening, TransferMode, TransferTarget, Voicemail};
use offhook::call::record::{AnsweredBy, CallRecord, CallStatus, EndReason, TransferOutcome};
use offhook::call::{CallEventKind, Speaker};
use offhook::provider::Telephony;
use offhook::provider::telephony::{
    Codec, DialEvent, DialOptions, HangupCause, LegId, MediaCommand, MediaEvent, MediaFormat,
};
use offhook_sandbox::{Number, POST_DIAL_DELAY, RING_TIME, SandboxOptions, Script};
use support::{World, reserved, story};

use futures_util::StreamExt;

fn usual<F: Future<Output = ()>>(tell: impl FnOnce(World) -> F) {
    story(SandboxOptions::default(), true, tell);
}

fn said(record: &CallRecord, speaker: Speaker) -> Vec<&str> {
    let of = record.transcript.iter().filter(|entry| entry.speaker == speaker);
    of.map(|entry| entry.text.as_str()).collect()
}

fn end(record: &CallRecord) -> (CallStatus, EndReason, HangupCause) {
    (record.status, record.end_reason.unwrap(), record.hangup_cause.unwrap())
}

const HUNG_UP: (CallStatus, EndReason, HangupCause) =
    (CallStatus::Completed, EndReason::CallerHangUp, HangupCause::NORMAL_CLEARING);

#[test]
fn number_1_answers_converses_and_says_goodbye() {
    usual(|world| async move {
        let record = world.call("0001").await;
        assert_eq!(end(&record), HUNG_UP);
        let script = Script::english();
        assert_eq!(said(&record, Speaker::Caller), [&script.lines[..], &[script.goodbye]].concat());
        let agent = said(&record, Speaker::Agent);
        assert_eq!(agent[..3], ["Good morning. This is Sari of the clinic.", agent[1], agent[1]]);
        assert!(record.barge_ins.is_empty(), "nobody talks over the agent");
        assert!(record.talk_time_ms > 0);
    });
}

#[test]
fn number_1_is_a_person_to_an_agent_that_waits_for_one() {
    usual(|mut world| async move {
        world.agent.policy.screening = Some(Screening::default());
        let record = world.call("0001").await;
        assert_eq!((end(&record), record.answered_by), (HUNG_UP, Some(AnsweredBy::Human)));
        assert_eq!(said(&record, Speaker::Caller)[0], "Hello?");
    });
}

#[test]
fn number_1_speaks_other_languages_and_any_lines() {
    let mut options = SandboxOptions::default();
    options.script = Script::indonesian();
    options.script.lines = vec!["Apa kabar?".to_owned()];
    story(options, true, |world| async move {
        let record = world.call("0001").await;
        assert_eq!((end(&record), said(&record, Speaker::Caller)), (HUNG_UP, vec!["Apa kabar?", "Sampai jumpa."]));
    });
}

#[test]
fn numbers_that_do_not_answer_say_why() {
    usual(|mut world| async move {
        world.agent.policy.ring_timeout = Duration::from_secs(20);
        for (number, status, reason, cause, ringing_ms) in [
            ("0002", CallStatus::Busy, EndReason::Busy, HangupCause::USER_BUSY, 300),
            ("0003", CallStatus::NoAnswer, EndReason::NoAnswer, HangupCause::NO_ANSWER, 20_000),
            ("0007", CallStatus::Rejected, EndReason::Rejected, HangupCause::CALL_REJECTED, 1_800),
            ("0009", CallStatus::Failed, EndReason::UnknownNumber, HangupCause::UNALLOCATED_NUMBER, 300),
            ("+628123456789", CallStatus::Failed, EndReason::UnknownNumber, HangupCause::UNALLOCATED_NUMBER, 300),
        ] {
            let record = world.call(number).await;
            assert_eq!(end(&record), (status, reason, cause), "{number}");
            assert_eq!((record.answered_at, record.talk_time_ms, record.answered_by), (None, 0, None), "{number}");
            assert_eq!(record.duration_ms, ringing_ms, "{number}");
        }
    });
}

#[test]
fn number_4_is_a_machine_that_takes_a_message_after_its_beep() {
    usual(|mut world| async move {
        let message = Voicemail::new("This is Sari. Please call us back.");
        let on_machine = OnMachine::LeaveMessage(message.clone());
        world.agent.policy.screening = Some(Screening { on_machine, ..Screening::default() });
        let record = world.call("0004").await;
        assert_eq!((record.status, record.end_reason), (CallStatus::Completed, Some(EndReason::MessageLeft)));
        assert_eq!(record.answered_by, Some(AnsweredBy::Machine));
        assert_eq!(said(&record, Speaker::Agent), [message.text]);

        world.agent.policy.screening = Some(Screening::default());
        let record = world.call("0004").await;
        assert_eq!(record.end_reason, Some(EndReason::MachineAnswered));
    });
}

#[test]
fn number_4_hangs_up_when_nothing_is_left_to_record() {
    usual(|mut world| async move {
        world.agent.policy.silence.prompt = None;
        world.agent.policy.silence.timeout = Duration::from_secs(300);
        let record = world.call("0004").await;
        assert_eq!(end(&record), HUNG_UP);
        assert!(said(&record, Speaker::Caller).concat().contains("leave a message"));
    });
}

#[test]
fn number_5_hangs_up_in_the_middle_of_its_sentence() {
    usual(|world| async move {
        let record = world.call("0005").await;
        assert_eq!(end(&record), HUNG_UP);
        let (said, whole) = (said(&record, Speaker::Caller).concat(), Script::english().unfinished);
        assert!(whole.starts_with(&said) && (10..whole.len() * 3 / 4).contains(&said.len()), "{said}");
    });
}

#[test]
fn number_6_says_nothing_until_the_agent_gives_up() {
    usual(|world| async move {
        let record = world.call("0006").await;
        assert_eq!((record.status, record.end_reason), (CallStatus::Completed, Some(EndReason::Silence)));
        assert_eq!(said(&record, Speaker::Caller), [""; 0]);
    });
}

/// The keys that were pressed, and when.
async fn keys(world: &World) -> Vec<(char, Duration)> {
    let mut call = world.dial("0008");
    let mut keys = Vec::new();
    while let Some(event) = call.next_event().await {
        if let CallEventKind::Dtmf { digit } = event.kind {
            keys.push((digit.as_char(), event.at));
        }
    }
    keys
}

#[test]
fn number_8_presses_1_when_it_is_asked_to() {
    usual(|mut world| async move {
        assert_eq!(keys(&world).await, [], "nobody asked");
        world.agent.greeting = Some("Welcome. For an appointment, please press 1.".to_owned());
        let pressed = keys(&world).await;
        assert_eq!(pressed.iter().map(|(key, _)| *key).collect::<String>(), "1");
    });
}

#[test]
fn number_8_without_a_recogniser_presses_1_when_the_agent_falls_silent() {
    story(SandboxOptions::default(), false, |world| async move {
        let pressed = keys(&world).await;
        assert_eq!(pressed.iter().map(|(key, _)| *key).collect::<String>(), "1");
        assert!(
            pressed[0].1 > POST_DIAL_DELAY + RING_TIME + Duration::from_secs(2),
            "not before the greeting was over: {pressed:?}"
        );
    });
}

#[test]
fn a_call_is_handed_over_to_another_number_and_comes_back_when_that_is_busy() {
    let mut options = SandboxOptions::default();
    options.script.lines = vec!["Please put me through.".to_owned()];
    story(options, true, |mut world| async move {
        for (target, completed) in [("0001", true), ("0002", false), ("+628123456789", false)] {
            world.agent.policy.transfer.targets = vec![TransferTarget {
                name: "desk".to_owned(),
                description: String::new(),
                number: reserved(target),
                mode: TransferMode::Blind,
            }];
            let record = world.call("0001").await;
            let is_completed = record.transfers[0].outcome == TransferOutcome::Completed;
            assert_eq!(is_completed, completed, "{target}");
            let reason = if completed { EndReason::Transferred } else { EndReason::CallerHangUp };
            assert_eq!(record.end_reason, Some(reason), "{target}");
        }
    });
}

#[test]
fn a_thousand_calls_at_once_each_end_as_they_should() {
    usual(|mut world| async move {
        world.agent.policy.screening = Some(Screening::default());
        let numbers = || Number::ALL.iter().map(|(last, _)| *last).cycle().take(1_000);
        let calls: Vec<_> = numbers().map(|number| world.dial(number)).collect();
        let mut tally = BTreeMap::new();
        for (number, call) in numbers().zip(calls) {
            let (record, ledger) = call.finished().await.unwrap();
            assert!(ledger.is_some(), "settled");
            let end = (number, record.status.to_string(), record.end_reason.unwrap(), record.answered_by);
            *tally.entry(format!("{end:?}")).or_insert(0) += 1;
        }
        let human = "Some(Human)";
        let expected = [
            ("0001", "completed", "CallerHangUp", human),
            ("0002", "busy", "Busy", "None"),
            ("0003", "no_answer", "NoAnswer", "None"),
            ("0004", "completed", "MachineAnswered", "Some(Machine)"),
            ("0005", "completed", "CallerHangUp", "Some(Unknown)"),
            ("0006", "completed", "Silence", "Some(Unknown)"),
            ("0007", "rejected", "Rejected", "None"),
            ("0008", "completed", "Silence", "Some(Unknown)"),
        ];
        let expected = expected.map(|(number, status, reason, answered_by)| {
            (format!("({number:?}, {status:?}, {reason}, {answered_by})"), 125)
        });
        assert_eq!(tally, BTreeMap::from(expected));
    });
}

async fn answered(world: &World, number: &str) -> LegId {
    let options = DialOptions::new(reserved("0001"), reserved(number), Duration::from_secs(30));
    let mut progress = world.sandbox.dial(options).await.unwrap();
    let events: Vec<_> = progress.events.by_ref().collect().await;
    assert_eq!(events, [DialEvent::Ringing, DialEvent::Answered]);
    progress.leg
}

#[test]
fn a_call_that_is_given_up_while_it_rings_leaves_nothing() {
    usual(|world| async move {
        let options = DialOptions::new(reserved("0001"), reserved("0001"), Duration::from_secs(30));
        let mut progress = world.sandbox.dial(options).await.unwrap();
        let leg = progress.leg.clone();
        assert_eq!(progress.events.next().await, Some(DialEvent::Ringing));
        assert_eq!(world.sandbox.open_media(leg.clone()).await.err().unwrap().kind(), ErrorKind::Conflict);
        drop(progress);
        assert_eq!(world.sandbox.open_media(leg.clone()).await.err().unwrap().kind(), ErrorKind::NotFound);
        world.sandbox.hang_up(leg, HangupCause::NORMAL_CLEARING).await.unwrap();
    });
}

#[test]
fn an_answered_leg_is_opened_once_or_gone_in_time() {
    usual(|world| async move {
        let leg = answered(&world, "0006").await;
        let media = world.sandbox.open_media(leg.clone()).await.unwrap();
        assert!(media.marks);
        assert_eq!(world.sandbox.open_media(leg.clone()).await.err().unwrap().kind(), ErrorKind::Conflict);
        world.sandbox.send_dtmf(leg.clone(), vec!['1'.try_into().unwrap()]).await.unwrap();
        world.sandbox.hang_up(leg.clone(), HangupCause::NORMAL_CLEARING).await.unwrap();
        assert_eq!(world.sandbox.send_dtmf(leg, vec![]).await.unwrap_err().kind(), ErrorKind::NotFound);

        let unopened = answered(&world, "0006").await;
        world.runtime.sleep(offhook_sandbox::OPEN_LIMIT + Duration::from_secs(1)).await;
        assert_eq!(world.sandbox.answer(unopened).await.unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn media_is_paced_by_the_clock_in_any_format() {
    for (codec, rate_hz) in
        [(Codec::Ulaw, 8_000), (Codec::Alaw, 8_000), (Codec::Pcm16Le, 8_000), (Codec::Pcm16Le, 16_000)]
    {
        let mut options = SandboxOptions::default();
        options.format = MediaFormat { codec, rate_hz };
        let format = options.format;
        story(options, true, |world| async move {
            let leg = answered(&world, "0006").await;
            let mut media = world.sandbox.open_media(leg.clone()).await.unwrap();
            assert_eq!(media.format, format);
            let second = vec![0; codec::bytes_per_frame(format) * 50];
            for command in [MediaCommand::Audio(second.into()), MediaCommand::Mark(7)] {
                media.commands.send(command).await.unwrap();
            }
            let mut frames = 0;
            loop {
                match media.events.next().await.unwrap() {
                    MediaEvent::Audio(audio) => {
                        assert_eq!(audio.len(), codec::bytes_per_frame(format));
                        frames += 1;
                    }
                    MediaEvent::Marked(mark) => break assert_eq!(mark, 7),
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(frames, 50, "a second of sound takes a second to be heard");
            world.sandbox.hang_up(leg, HangupCause::NORMAL_CLEARING).await.unwrap();
        });
    }
}
