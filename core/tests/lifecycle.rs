//! The call's ways that are not a conversation: machines, keys, hold, transfers, limits.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use offhook::call::policy::{Hold, KeyAction, KeyRule, Keypad, OnMachine, Screening, TransferMode, Voicemail, Warning};
use offhook::call::record::{AnsweredBy, CallStatus, EndReason, HangupParty, TransferOutcome};
use offhook::call::{CallEventKind, ConsultEvent, Control, Failure, Input, Outcome, Phase, Policy, Progress};
use offhook::error::{ErrorKind, Retry};
use offhook::provider::llm::{Message, ToolCall};
use offhook::provider::telephony::{DialEvent, DtmfDigit, HangupCause};
use offhook_testkit::chaos;
use offhook_testkit::machine::{self, Stage};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn early_media_is_ringing() {
    let mut stage = Stage::new(machine::config(Policy::default()), machine::outbound());
    stage.complete("reserve", Outcome::Reserved { granted: SECOND * 60 });
    stage.progress("dial", Progress::Dial(DialEvent::EarlyMedia));
    assert_eq!(stage.call.phase(), Phase::Ringing);
    assert!(stage.events.iter().any(|event| event.kind == CallEventKind::EarlyMedia));
    stage.wait(SECOND * 45);
    let record = stage.call.record();
    assert_eq!((record.end_reason, record.talk_time_ms), (Some(EndReason::NoAnswer), 0));
    stage.finish_and_check().unwrap();
}

#[test]
fn a_message_is_left_after_the_beep() {
    let mut stage = screened(OnMachine::LeaveMessage(Voicemail::new("Please call the clinic back.")), None);
    greet(&mut stage, "Hi, this is Ann. Please leave a message after the tone.", SECOND * 2);
    assert_eq!(stage.call.record().answered_by, Some(AnsweredBy::Machine));
    stage.wait(SECOND);
    assert!(stage.speaking().is_empty(), "the beep is still to come");
    stage.progress("listen", Progress::Beep);
    assert_eq!(stage.speaking(), ["Please call the clinic back."]);
    stage.progress("listen", Progress::SpeechStarted { at: stage.now });
    stage.play();
    let record = stage.call.record();
    assert_eq!((record.end_reason, record.hangup_party), (Some(EndReason::MessageLeft), Some(HangupParty::Agent)));
    assert_eq!(record.transcript.last().unwrap().text, "Please call the clinic back.");
    stage.finish_and_check().unwrap();
}

#[test]
fn a_machine_without_a_beep_is_left_its_message_after_a_silence() {
    let mut stage = screened(OnMachine::LeaveMessage(Voicemail::new("Please call back.")), None);
    stage.progress("listen", Progress::SpeechStarted { at: stage.now });
    stage.wait(SECOND * 5);
    assert_eq!(stage.call.record().answered_by, Some(AnsweredBy::Machine), "nobody greets for so long");
    stage.progress("listen", Progress::SpeechEnded { at: stage.now });
    stage.wait(Duration::from_millis(2_500));
    assert_eq!(stage.speaking(), ["Please call back."]);
    stage.finish_and_check().unwrap();
}

#[test]
fn a_machine_with_a_short_greeting_is_told_by_its_words() {
    let mut stage = screened(OnMachine::HangUp, None);
    greet(&mut stage, "Leave a message.", SECOND);
    assert_eq!(stage.call.record().end_reason, Some(EndReason::MachineAnswered));
    stage.finish_and_check().unwrap();
}

#[test]
fn a_beep_is_no_greeting_of_a_person() {
    let mut stage = screened(OnMachine::HangUp, None);
    stage.progress("listen", Progress::Beep);
    assert_eq!(stage.call.record().answered_by, Some(AnsweredBy::Machine));
    stage.finish_and_check().unwrap();
}

#[test]
fn the_words_of_a_greeting_are_part_of_the_conversation() {
    let mut stage = screened(OnMachine::HangUp, None);
    greet(&mut stage, "Hello, Ann speaking.", SECOND);
    let record = stage.call.record();
    assert_eq!(record.answered_by, Some(AnsweredBy::Human));
    assert_eq!(record.transcript[0].text, "Hello, Ann speaking.");
    assert_eq!(stage.speaking(), ["Good morning."]);
    stage.finish_and_check().unwrap();
}

#[test]
fn a_phones_assistant_is_told_who_calls_and_its_owner_is_greeted() {
    let mut stage = screened(OnMachine::HangUp, Some("This is Sari of the clinic about your appointment."));
    greet(
        &mut stage,
        "Hi. If you record your name and reason for calling, I'll see if they are available.",
        SECOND * 3,
    );
    assert_eq!(stage.speaking(), ["This is Sari of the clinic about your appointment."]);
    stage.play();
    assert_eq!(stage.call.phase(), Phase::Screening);
    stage.wait(SECOND * 12);
    greet(&mut stage, "Hello?", SECOND);
    assert_eq!(stage.call.phase(), Phase::Connected);
    assert_eq!(stage.call.record().answered_by, Some(AnsweredBy::Human));
    stage.finish_and_check().unwrap();

    let mut stage = screened(OnMachine::HangUp, Some("This is Sari."));
    greet(&mut stage, "Please state your name and why you're calling.", SECOND);
    stage.play();
    stage.wait(SECOND * 30);
    assert_eq!(stage.call.record().end_reason, Some(EndReason::MachineAnswered));
}

#[test]
fn an_operator_refuses_a_call_before_it_is_answered() {
    let mut stage = Stage::new(machine::config(Policy::default()), machine::inbound());
    stage.input(Input::Control(Control::Reject { cause: HangupCause::USER_BUSY }));
    let record = stage.call.record();
    assert_eq!((record.status, record.hangup_cause), (CallStatus::Rejected, Some(HangupCause::USER_BUSY)));
    assert_eq!(record.hangup_party, Some(HangupParty::Operator));
    stage.finish_and_check().unwrap();
}

#[test]
fn a_call_that_is_called_off_has_failed_whether_it_was_answered_or_not() {
    let rings = Stage::new(machine::config(Policy::default()), machine::outbound());
    for mut stage in [rings, Stage::connected(Policy::default())] {
        stage.input(Input::Control(Control::Cancel));
        assert_eq!(stage.call.phase(), Phase::Ending, "nobody says goodbye");
        let record = stage.call.record();
        assert_eq!((record.status, record.end_reason), (CallStatus::Failed, Some(EndReason::Cancelled)));
        assert_eq!(record.hangup_party, Some(HangupParty::Operator));
        stage.finish_and_check().unwrap();
    }
}

#[test]
fn keys_say_collect_and_end() {
    let mut stage = Stage::connected(with_keys(&[
        ("1", KeyAction::Say { text: "We are open from nine to five.".to_owned() }),
        ("xxxx#", KeyAction::SetVariable { name: "account".to_owned() }),
        ("9", KeyAction::End { text: Some("Goodbye.".to_owned()) }),
    ]));
    press(&mut stage, "1");
    stage.wait(SECOND * 3);
    assert_eq!(stage.speaking(), ["We are open from nine to five."], "1 could still have begun a row of four");
    press(&mut stage, "4711#");
    assert_eq!(stage.call.record().variables["account"], "4711");
    stage.play();
    stage.caller_says("What is my balance?", SECOND, Duration::from_millis(400));
    let Message::System { text } = &stage.last_request()[0] else { panic!("no instructions") };
    assert!(text.ends_with("\naccount: 4711"), "{text}");
    press(&mut stage, "9");
    stage.wait(SECOND * 3);
    stage.play();
    let record = stage.call.record();
    assert_eq!((record.end_reason, record.hangup_party), (Some(EndReason::AgentHangUp), Some(HangupParty::Agent)));
    stage.finish_and_check().unwrap();
}

#[test]
fn a_key_calls_a_function_and_the_agent_goes_on_with_its_answer() {
    let action = KeyAction::CallFunction { name: "check_appointment".to_owned() };
    let mut stage = Stage::connected(with_keys(&[("2", action)]));
    press(&mut stage, "2");
    stage.complete("run_function", Outcome::Function(serde_json::json!({ "time": "ten" })));
    let messages = stage.last_request();
    assert!(matches!(messages.last(), Some(Message::Tool { content, .. }) if content.contains("ten")));
    stage.model_says("At ten.", &[]);
    stage.play();
    assert_eq!(stage.call.record().transcript.last().unwrap().text, "At ten.");
    assert_eq!(stage.call.record().functions[0].parameters["digits"], "2");
    stage.finish_and_check().unwrap();
}

#[test]
fn keys_without_a_rule_are_an_answer_to_the_model() {
    let mut stage = Stage::connected(Policy::default());
    press(&mut stage, "12");
    stage.wait(SECOND * 3);
    assert_eq!(stage.last_request().last(), Some(&Message::User { text: "[keys 1 2]".to_owned() }));
    stage.finish_and_check().unwrap();

    let keypad = Keypad { tell_model: false, ..Keypad::default() };
    let mut stage = Stage::connected(Policy { keypad, ..Policy::default() });
    press(&mut stage, "1");
    stage.wait(SECOND * 4);
    assert!(stage.find("generate").is_none());
}

#[test]
fn the_model_sends_digits_and_is_told_what_came_of_it() {
    let mut stage = Stage::connected(Policy { send_digits: true, ..Policy::default() });
    stage.caller_says("Press one for sales.", SECOND, Duration::from_millis(400));
    stage.model_says("", &[tool("send_digits", serde_json::json!({ "digits": "1w" }))]);
    assert!(matches!(stage.last_request().last(), Some(Message::Tool { content, .. }) if content.contains("error")));
    stage.model_says("", &[tool("send_digits", serde_json::json!({ "digits": "1" }))]);
    stage.complete("send_digits", Outcome::Done);
    let messages = stage.last_request();
    assert!(matches!(messages.last(), Some(Message::Tool { content, .. }) if content.contains("true")));
    stage.finish_and_check().unwrap();
}

#[test]
fn a_caller_on_hold_is_neither_heard_nor_left_alone() {
    let mut stage = Stage::connected(Policy::default());
    stage.caller_says("Hello?", SECOND, Duration::from_millis(400));
    stage.input(Input::Control(Control::Hold));
    assert!(stage.find("generate").is_none());
    stage.progress("listen", Progress::SpeechStarted { at: stage.now });
    stage.wait(SECOND);
    stage.progress("listen", Progress::SpeechEnded { at: stage.now });
    stage.progress("listen", Progress::Final { language: None, text: "Are you there?".to_owned() });
    stage.wait(SECOND * 20);
    assert_eq!(stage.speaking(), ["Please hold the line."]);
    stage.play();
    stage.wait(SECOND * 60);
    assert_eq!(stage.call.phase(), Phase::Connected, "no silence, no stall");
    stage.input(Input::Control(Control::Resume));
    stage.play();
    stage.caller_says("Are you open?", SECOND, Duration::from_millis(400));
    let heard: Vec<_> =
        stage.last_request().into_iter().filter(|message| matches!(message, Message::User { .. })).collect();
    assert_eq!(heard.len(), 2, "what was said on hold was not heard: {heard:?}");
    stage.finish_and_check().unwrap();
}

#[test]
fn a_hold_has_an_end() {
    let hold = Hold { prompt: None, timeout: SECOND * 30, ..Hold::default() };
    let mut stage = Stage::connected(Policy { hold, ..Policy::default() });
    stage.input(Input::Control(Control::Hold));
    stage.wait(SECOND * 30);
    assert_eq!(stage.speaking(), ["Thank you for holding."]);
    stage.finish_and_check().unwrap();
}

#[test]
fn a_blind_transfer_follows_the_agents_words() {
    let mut stage = Stage::connected(with_targets());
    stage.caller_says("I want to talk to a person.", SECOND, Duration::from_millis(400));
    stage.model_says("I am putting you through.", &[transfer("desk")]);
    assert!(stage.find("transfer").is_none(), "its words are heard first");
    stage.play();
    stage.complete("transfer", Outcome::Done);
    let record = stage.call.record();
    assert_eq!((record.end_reason, record.hangup_party), (Some(EndReason::Transferred), Some(HangupParty::Agent)));
    assert_eq!((record.status, record.transfers[0].outcome), (CallStatus::Completed, TransferOutcome::Completed));
    assert!(stage.find("hang_up").is_none(), "the leg is not ours any more");
    stage.finish_and_check().unwrap();
}

#[test]
fn a_transfer_that_fails_comes_back_to_the_model() {
    let mut stage = Stage::connected(with_targets());
    stage.caller_says("A person, please.", SECOND, Duration::from_millis(400));
    stage.model_says("", &[transfer("desk")]);
    stage.play();
    let id = stage.find("transfer").unwrap();
    let failure = Failure { kind: ErrorKind::Rejected, message: "no".to_owned(), retry: Retry::Never };
    stage.input(Input::Failed(id, failure));
    let messages = stage.last_request();
    let told =
        |message: &Message| matches!(message, Message::Tool { content, .. } if content.contains("call_rejected"));
    assert!(messages.iter().any(told), "{messages:?}");
    stage.model_says("Nobody is free. Can I help?", &[]);
    stage.play();
    assert_eq!(stage.call.record().transcript.last().unwrap().text, "Nobody is free. Can I help?");
    stage.finish_and_check().unwrap();
}

#[test]
fn a_human_is_briefed_accepts_and_is_joined() {
    let mut stage = Stage::connected(with_targets());
    stage.input(Input::Control(Control::Transfer { brief: "Ann, about a bill.".into(), target: "doctor".into() }));
    stage.play();
    stage.progress("consult", Progress::Consult(ConsultEvent::Ringing));
    stage.wait(SECOND * 20);
    assert_eq!(stage.speaking(), ["Please hold the line."]);
    stage.play();
    stage.progress("consult", Progress::Consult(ConsultEvent::Answered));
    assert!(stage.find("brief").is_some());
    stage.complete("brief", Outcome::Done);
    assert!(stage.find("bridge").is_none(), "the human decides");
    stage.progress("consult", Progress::Consult(ConsultEvent::Dtmf(key('1'))));
    stage.complete("bridge", Outcome::Done);
    stage.wait(SECOND * 120);
    assert_eq!(stage.call.phase(), Phase::Connected, "two people may talk");
    stage.progress("consult", Progress::Consult(ConsultEvent::Ended { cause: HangupCause::NORMAL_CLEARING }));
    let record = stage.call.record();
    assert_eq!((record.end_reason, record.hangup_party), (Some(EndReason::Transferred), Some(HangupParty::Target)));
    assert!(stage.find("hang_up").is_some(), "the caller's leg is ours to end");
    stage.finish_and_check().unwrap();
}

#[test]
fn a_human_who_does_not_take_the_call_gives_the_caller_back() {
    for event in [
        Some(ConsultEvent::Failed { cause: HangupCause::USER_BUSY }),
        Some(ConsultEvent::Ended { cause: HangupCause::NORMAL_CLEARING }),
        None,
    ] {
        let mut stage = Stage::connected(with_targets());
        stage.input(Input::Control(Control::Transfer { brief: String::new(), target: "doctor".into() }));
        stage.play();
        match event {
            Some(event) => stage.progress("consult", Progress::Consult(event)),
            None => stage.wait(SECOND * 30),
        }
        assert!(stage.find("consult").is_none(), "the human's leg is let go");
        while stage.speaking() == ["Please hold the line."] {
            stage.play();
        }
        assert_eq!(stage.speaking(), ["I am sorry, nobody can take your call right now."]);
        stage.play();
        assert_eq!(stage.call.phase(), Phase::Connected);
        assert!(matches!(stage.call.record().transfers[0].outcome, TransferOutcome::Failed { .. }));
        stage.finish_and_check().unwrap();
    }
}

#[test]
fn a_caller_who_hangs_up_takes_the_human_along() {
    let mut stage = Stage::connected(with_targets());
    stage.input(Input::Control(Control::Transfer { brief: String::new(), target: "doctor".into() }));
    stage.play();
    stage.progress("consult", Progress::Consult(ConsultEvent::Answered));
    stage.input(Input::LegEnded { cause: HangupCause::NORMAL_CLEARING });
    assert!(stage.find("consult").is_none());
    assert_eq!(stage.call.record().transfers[0].outcome, TransferOutcome::Abandoned);
    stage.finish_and_check().unwrap();
}

#[test]
fn a_human_takes_over_when_the_model_keeps_failing() {
    let mut policy = with_targets();
    policy.transfer.escalation = Some("doctor".to_owned());
    let mut stage = Stage::connected(policy);
    for _ in 0..2 {
        stage.caller_says("Hello?", SECOND, Duration::from_millis(400));
        while let Some(id) = stage.find("generate") {
            let failure = Failure { kind: ErrorKind::Unavailable, message: "down".to_owned(), retry: Retry::Later };
            stage.input(Input::Failed(id, failure));
        }
        stage.play();
    }
    stage.complete("transfer", Outcome::Done);
    assert_eq!(stage.call.record().end_reason, Some(EndReason::Transferred));
    stage.finish_and_check().unwrap();
}

#[test]
fn a_limit_is_announced() {
    let warning = Some(Warning { before: SECOND * 30, text: "We have half a minute left.".to_owned() });
    let mut policy = Policy { duration_max: SECOND * 120, warning, ..Policy::default() };
    policy.silence.timeout = SECOND * 600;
    let mut stage = Stage::connected(policy);
    stage.wait(SECOND * 90);
    assert_eq!(stage.speaking(), ["We have half a minute left."]);
    stage.play();
    stage.wait(SECOND * 30);
    assert_eq!(stage.call.record().end_reason, Some(EndReason::MaxDuration));
    stage.finish_and_check().unwrap();
}

#[test]
fn a_call_in_which_nothing_happens_is_ended() {
    let mut stage = Stage::connected(Policy::default());
    stage.progress("listen", Progress::SpeechStarted { at: stage.now });
    stage.wait(SECOND * 70);
    let record = stage.call.record();
    assert_eq!((record.status, record.end_reason), (CallStatus::Failed, Some(EndReason::Stalled)));
    stage.finish_and_check().unwrap();
}

#[test]
fn who_asks_whom_one_wants_to_reach_is_no_machine() {
    for greeting in ["Who are you trying to reach?", "May I ask the reason for calling?"] {
        let mut stage = screened(OnMachine::HangUp, None);
        greet(&mut stage, greeting, SECOND);
        assert_eq!(stage.call.record().answered_by, Some(AnsweredBy::Human), "{greeting}");
    }
}

#[test]
fn a_person_whose_end_of_speech_got_lost_is_no_machine() {
    let mut stage = screened(OnMachine::HangUp, None);
    stage.progress("listen", Progress::SpeechStarted { at: stage.now });
    stage.wait(SECOND);
    stage.progress("listen", said("Hello, who is there?"));
    stage.wait(SECOND * 4);
    assert_eq!(stage.call.record().answered_by, Some(AnsweredBy::Human));
    assert_eq!(stage.call.record().transcript[0].text, "Hello, who is there?");
    stage.finish_and_check().unwrap();
}

#[test]
fn who_talks_on_after_settled_words_is_a_machine_and_its_words_are_kept() {
    let mut stage = screened(OnMachine::HangUp, None);
    stage.progress("listen", Progress::SpeechStarted { at: stage.now });
    stage.wait(SECOND * 3);
    stage.progress("listen", said("Hello, this is Ann."));
    stage.wait(Duration::from_millis(300));
    stage.progress("listen", Progress::Interim { text: "I am".to_owned() });
    stage.wait(SECOND);
    let record = stage.call.record();
    assert_eq!((record.answered_by, record.end_reason), (Some(AnsweredBy::Machine), Some(EndReason::MachineAnswered)));
    stage.wait(SECOND * 30);
    assert_eq!(stage.call.record().transcript[0].text, "Hello, this is Ann.");
    stage.finish_and_check().unwrap();
}

#[test]
fn an_assistants_second_sentence_is_not_its_owner() {
    let mut stage = screened(OnMachine::HangUp, Some("This is Sari."));
    greet(&mut stage, "Hi. If you record your name and reason for calling,", SECOND * 3);
    stage.progress("listen", said("I'll see if this person is available."));
    stage.play();
    greet(&mut stage, "Thanks. Please stay on the line.", SECOND);
    assert_eq!(stage.call.phase(), Phase::Screening);
    greet(&mut stage, "Hello?", SECOND);
    assert_eq!(stage.call.phase(), Phase::Connected);
    stage.finish_and_check().unwrap();
}

#[test]
fn a_beep_that_gives_the_machine_away_is_the_one_to_speak_after() {
    let mut stage = screened(OnMachine::LeaveMessage(Voicemail::new("Please call back.")), None);
    stage.progress("listen", Progress::SpeechStarted { at: stage.now });
    stage.wait(SECOND);
    stage.progress("listen", Progress::Beep);
    stage.wait(Duration::ZERO);
    assert_eq!(stage.speaking(), ["Please call back."]);
    stage.finish_and_check().unwrap();
}

#[test]
fn a_message_that_was_not_heard_was_not_left() {
    let mut stage = screened(OnMachine::LeaveMessage(Voicemail::new("Please call back.")), None);
    greet(&mut stage, "Leave a message.", SECOND);
    stage.progress("listen", Progress::Beep);
    let id = stage.find("speak").unwrap();
    stage.input(Input::Failed(id, failure(ErrorKind::Unavailable)));
    assert_eq!(stage.call.record().end_reason, Some(EndReason::ProviderFailure));
    stage.finish_and_check().unwrap();
}

#[test]
fn a_caller_who_is_gone_before_the_answer_is_no_failure_of_the_carrier() {
    let mut stage = Stage::new(machine::config(Policy::default()), machine::inbound());
    stage.complete("reserve", Outcome::Reserved { granted: SECOND * 60 });
    let id = stage.find("answer").unwrap();
    stage.input(Input::Failed(id, failure(ErrorKind::NotFound)));
    let record = stage.call.record();
    assert_eq!((record.end_reason, record.hangup_party), (Some(EndReason::NoAnswer), Some(HangupParty::Caller)));
    stage.finish_and_check().unwrap();
}

#[test]
fn two_people_who_talk_need_no_recogniser() {
    let mut stage = Stage::connected(with_targets());
    stage.input(Input::Control(Control::Transfer { brief: String::new(), target: "doctor".into() }));
    stage.play();
    let listen = stage.find("listen").unwrap();
    stage.input(Input::Failed(listen, failure(ErrorKind::Unavailable)));
    assert!(stage.find("listen").is_none(), "nobody is listened to on hold");
    stage.progress("consult", Progress::Consult(ConsultEvent::Failed { cause: HangupCause::USER_BUSY }));
    assert!(stage.find("listen").is_some(), "the conversation goes on");
    stage.play();

    stage.input(Input::Control(Control::Transfer { brief: String::new(), target: "doctor".into() }));
    stage.play();
    stage.progress("consult", Progress::Consult(ConsultEvent::Answered));
    stage.progress("consult", Progress::Consult(ConsultEvent::Dtmf(key('1'))));
    assert!(stage.find("listen").is_none());
    stage.finish_and_check().unwrap();
}

#[test]
fn a_hang_up_that_was_planned_is_given_up_with_its_goodbye() {
    let goodbye = || {
        let keys = [("1", KeyAction::Say { text: "We are open.".to_owned() })];
        let mut stage = Stage::connected(with_keys(&keys));
        stage.caller_says("Goodbye.", SECOND, Duration::from_millis(400));
        stage.model_says("Goodbye!", &[tool("end_call", serde_json::json!({}))]);
        stage
    };
    let mut late = goodbye();
    late.progress("listen", said("Wait, one more thing."));
    late.wait(SECOND * 2);
    late.model_says("Yes?", &[]);
    late.play();
    assert_eq!(late.call.phase(), Phase::Connected);
    let mut held = goodbye();
    held.input(Input::Control(Control::Hold));
    held.wait(SECOND * 20);
    held.play();
    assert_eq!(held.call.phase(), Phase::Connected);
    let mut pressed = goodbye();
    press(&mut pressed, "1");
    pressed.play();
    assert_eq!(pressed.call.phase(), Phase::Connected);
    for stage in [late, held, pressed] {
        stage.finish_and_check().unwrap();
    }
}

#[test]
fn a_quiet_hold_is_no_standstill() {
    let hold = Hold { prompt: None, ..Hold::default() };
    let mut stage = Stage::connected(Policy { hold, ..Policy::default() });
    stage.input(Input::Control(Control::Hold));
    stage.wait(SECOND * 200);
    assert_eq!(stage.call.phase(), Phase::Connected);
    stage.finish_and_check().unwrap();
}

#[test]
fn a_transfer_to_nobody_changes_nothing() {
    let mut stage = Stage::connected(with_targets());
    stage.input(Input::Control(Control::Hold));
    stage.input(Input::Control(Control::Transfer { brief: String::new(), target: "typo".into() }));
    assert!(stage.speaking().is_empty());
    assert!(stage.events.iter().any(|event| matches!(event.kind, CallEventKind::Problem { .. })));
    stage.input(Input::Control(Control::Resume));
    assert_eq!(stage.speaking(), ["Thank you for holding."]);
    stage.finish_and_check().unwrap();
}

fn screened(on_machine: OnMachine, introduction: Option<&str>) -> Stage {
    let introduction = introduction.map(str::to_owned);
    let screening = Some(Screening { introduction, on_machine, ..Screening::default() });
    let mut stage = Stage::new(machine::config(Policy { screening, ..Policy::default() }), machine::outbound());
    stage.complete("reserve", Outcome::Reserved { granted: SECOND * 600 });
    stage.progress("dial", Progress::Dial(DialEvent::Answered));
    stage.complete("open_media", Outcome::Done);
    stage
}

fn greet(stage: &mut Stage, text: &str, length: Duration) {
    stage.progress("listen", Progress::SpeechStarted { at: stage.now });
    stage.wait(length);
    stage.progress("listen", Progress::SpeechEnded { at: stage.now });
    stage.wait(Duration::from_millis(300));
    stage.progress("listen", Progress::Final { language: None, text: text.to_owned() });
}

fn said(text: &str) -> Progress {
    Progress::Final { language: None, text: text.to_owned() }
}

fn failure(kind: ErrorKind) -> Failure {
    Failure { kind, message: "told by the test".to_owned(), retry: Retry::Later }
}

fn with_keys(rules: &[(&str, KeyAction)]) -> Policy {
    let rules = rules.iter().map(|(keys, action)| KeyRule { keys: keys.parse().unwrap(), action: action.clone() });
    Policy { keypad: Keypad { rules: rules.collect(), ..Keypad::default() }, ..Policy::default() }
}

fn with_targets() -> Policy {
    let mut policy = Policy::default();
    policy.transfer.targets = chaos::targets();
    assert!(matches!(policy.transfer.targets[1].mode, TransferMode::Warm { accept: Some(_) }));
    policy
}

fn press(stage: &mut Stage, keys: &str) {
    keys.chars().for_each(|digit| stage.input(Input::Dtmf(key(digit))));
}

fn key(digit: char) -> DtmfDigit {
    digit.try_into().unwrap()
}

fn transfer(target: &str) -> ToolCall {
    tool("transfer_call", serde_json::json!({ "target": target, "summary": "Wants a person." }))
}

fn tool(name: &str, arguments: serde_json::Value) -> ToolCall {
    ToolCall { arguments: arguments.to_string(), id: "t1".to_owned(), name: name.to_owned() }
}
