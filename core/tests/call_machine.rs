//! The call machine's stories, told by hand in virtual time.

use std::time::Duration;

use offhook::call::policy::Screening;
use offhook::call::record::{AnsweredBy, CallStatus, EndReason, HangupParty};
use offhook::call::{CallEventKind, Control, Failure, Input, Outcome, Phase, Policy, Progress, Speaker};
use offhook::error::{ErrorKind, Retry};
use offhook::provider::llm::{Message, ToolCall};
use offhook::provider::telephony::{DialEvent, HangupCause};
use offhook_testkit::machine::{self, Stage};

const SECOND: Duration = Duration::from_secs(1);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn failure(kind: ErrorKind) -> Failure {
    Failure { kind, message: "test".to_owned(), retry: Retry::Later }
}

fn tool(name: &str) -> ToolCall {
    ToolCall {
        arguments: "{\"phone_number\":\"+628123456789\"}".to_owned(),
        id: "t1".to_owned(),
        name: name.to_owned(),
    }
}

/// One question and its answer, all of it heard.
fn exchange(stage: &mut Stage, question: &str, answer: &str) {
    stage.caller_says(question, SECOND, ms(400));
    stage.model_says(answer, &[]);
    stage.play();
}

#[test]
fn an_inbound_call_is_answered_greeted_and_hung_up_by_the_caller() {
    let mut stage = Stage::new(machine::config(Policy::default()), machine::inbound());
    assert_eq!(stage.call.phase(), Phase::Ringing);
    assert_eq!(stage.open_names(), ["reserve"]);
    stage.wait(ms(300));
    stage.set_up();
    assert_eq!(stage.call.phase(), Phase::Connected);
    assert_eq!(stage.speaking(), ["Good morning."]);
    stage.play();
    stage.wait(SECOND);
    stage.input(Input::LegEnded { cause: HangupCause::NORMAL_CLEARING });
    assert_eq!(stage.call.phase(), Phase::Ending);
    stage.tear_down();
    let record = stage.ended().unwrap().clone();
    assert_eq!(record.status, CallStatus::Completed);
    assert_eq!(record.hangup_party, Some(HangupParty::Caller));
    assert_eq!(record.end_reason, Some(EndReason::CallerHangUp));
    assert_eq!(record.duration_ms, record.talk_time_ms + 300);
    assert_eq!(record.recording.as_deref(), Some("memory:recording.wav"));
    stage.finish_and_check().unwrap();
}

#[test]
fn a_ten_minute_conversation_takes_no_time() {
    let mut stage = Stage::connected(Policy { duration_max: Duration::from_secs(3_600), ..Policy::default() });
    for _ in 0..140 {
        exchange(&mut stage, "What are your opening hours?", "We are open from nine to five, every day.");
        stage.wait(ms(800));
    }
    stage.input(Input::LegEnded { cause: HangupCause::NORMAL_CLEARING });
    stage.tear_down();
    let record = stage.ended().unwrap();
    assert!(record.talk_time_ms >= 600_000, "{}", record.talk_time_ms);
    assert_eq!(record.turns.len(), 140);
    assert_eq!(record.transcript.len(), 281);
    stage.finish_and_check().unwrap();
}

#[test]
fn a_turn_is_answered_as_soon_as_its_transcript_is_there() {
    let mut stage = Stage::connected(Policy::default());
    stage.caller_says("What are your opening hours?", SECOND, ms(400));
    assert_eq!(stage.last_request().last(), Some(&Message::User { text: "What are your opening hours?".to_owned() }));
    stage.model_says("From nine to five.", &[]);
    stage.wait(ms(100));
    stage.progress("speak", Progress::Playing);
    let latency = stage.events.iter().find_map(|event| match event.kind {
        CallEventKind::TurnAnswered { latency } => Some(latency),
        _ => None,
    });
    assert_eq!(latency, Some(ms(500)));
}

#[test]
fn words_that_sound_incomplete_are_given_more_time() {
    let mut stage = Stage::connected(Policy::default());
    stage.caller_says("My number is", SECOND, ms(200));
    stage.wait(ms(600));
    assert!(stage.find("generate").is_none());
    stage.caller_says("five five five, one two three, four five six seven.", SECOND, ms(400));
    let number = "My number is five five five, one two three, four five six seven.";
    let asked = Message::User { text: number.to_owned() };
    assert_eq!(stage.last_request().last(), Some(&asked));
}

#[test]
fn an_answer_is_spoken_sentence_by_sentence() {
    let mut stage = Stage::connected(Policy::default());
    stage.caller_says("Tell me more.", SECOND, ms(400));
    use offhook::provider::llm::LlmEvent::Text;
    stage.progress("generate", Progress::Generated(Text("We are open. Please".to_owned())));
    assert_eq!(stage.speaking(), ["We are open."]);
    stage.model_says(" come by.", &[]);
    assert_eq!(stage.speaking(), ["We are open.", "Please come by."]);
    stage.play();
    assert_eq!(stage.call.record().transcript.last().unwrap().text, "We are open. Please come by.");
}

#[test]
fn barge_in_silences_the_agent_and_keeps_only_what_was_heard() {
    let mut stage = Stage::connected(Policy::default());
    stage.caller_says("What are your opening hours?", SECOND, ms(400));
    stage.model_says("We are open from nine to five on weekdays.", &[]);
    stage.progress("speak", Progress::Playing);
    stage.wait(ms(900));
    stage.progress("speak", Progress::Heard { text_end: "We are open from".len() });
    stage.progress("listen", Progress::SpeechStarted { at: stage.now });
    stage.wait(ms(79));
    assert!(stage.find("speak").is_some(), "not yet long enough");
    stage.wait(ms(1));
    assert!(stage.find("speak").is_none());
    let entry = stage.call.record().transcript.pop().unwrap();
    assert_eq!((entry.text.as_str(), entry.cut, entry.speaker), ("We are open from", true, Speaker::Agent));
    assert_eq!(stage.call.record().barge_ins[0].reaction_ms, 80);
    stage.progress("listen", Progress::SpeechEnded { at: stage.now });
    stage.wait(ms(400));
    stage.progress("listen", Progress::Final { language: None, text: "Sorry, one more thing.".to_owned() });
    let request = stage.last_request();
    let heard = Message::Assistant { text: "We are open from".to_owned(), tool_calls: vec![] };
    assert_eq!(request[request.len() - 2], heard);
    stage.finish_and_check().unwrap();
}

#[test]
fn a_cough_does_not_interrupt() {
    let mut stage = Stage::connected(Policy::default());
    stage.caller_says("Hello?", SECOND, ms(400));
    stage.model_says("Hello, how can I help you today?", &[]);
    stage.progress("speak", Progress::Playing);
    stage.progress("listen", Progress::SpeechStarted { at: stage.now });
    stage.wait(ms(60));
    stage.progress("listen", Progress::SpeechEnded { at: stage.now });
    stage.wait(SECOND);
    assert!(stage.find("speak").is_some());
    assert!(stage.call.record().barge_ins.is_empty());
}

#[test]
fn words_said_over_the_agent_are_answered_when_it_has_finished() {
    let mut policy = Policy::default();
    policy.barge_in.enabled = false;
    let mut stage = Stage::connected(policy);
    stage.caller_says("Hello?", SECOND, ms(400));
    stage.model_says("Hello, how can I help you today?", &[]);
    stage.progress("speak", Progress::Playing);
    stage.wait(ms(100));
    stage.caller_says("And do you take cards?", ms(500), ms(300));
    assert!(stage.find("generate").is_none());
    stage.play();
    assert_eq!(stage.last_request().last(), Some(&Message::User { text: "And do you take cards?".to_owned() }));
}

#[test]
fn a_caller_who_goes_on_before_the_answer_is_heard_takes_the_turn_back() {
    let mut stage = Stage::connected(Policy::default());
    stage.caller_says("I would like to book.", SECOND, ms(400));
    assert!(stage.find("generate").is_some());
    stage.progress("listen", Progress::SpeechStarted { at: stage.now });
    stage.wait(ms(200));
    assert!(stage.find("generate").is_none(), "the answer is no longer wanted");
    stage.wait(SECOND);
    stage.progress("listen", Progress::SpeechEnded { at: stage.now });
    stage.wait(ms(400));
    stage.progress("listen", Progress::Final { language: None, text: "For tomorrow.".to_owned() });
    let asked = Message::User { text: "I would like to book. For tomorrow.".to_owned() };
    assert_eq!(stage.last_request().last(), Some(&asked));
    stage.finish_and_check().unwrap();
}

#[test]
fn functions_run_while_the_filler_is_spoken_and_their_answer_is_used() {
    let mut stage = Stage::connected(Policy::default());
    stage.caller_says("Do I have an appointment?", SECOND, ms(400));
    stage.model_says("Let me check.", &[tool("check_appointment")]);
    assert_eq!(stage.open_names(), ["listen", "speak", "run_function"]);
    stage.play();
    stage.complete("run_function", Outcome::Function(serde_json::json!({ "time": "ten" })));
    let request = stage.last_request();
    assert_eq!(
        request.last(),
        Some(&Message::Tool { call_id: "t1".to_owned(), content: "{\"time\":\"ten\"}".to_owned() })
    );
    stage.model_says("Yes, at ten.", &[]);
    stage.play();
    let record = stage.call.record();
    assert_eq!(record.functions[0].result, Some(serde_json::json!({ "time": "ten" })));
    assert_eq!(record.transcript.last().unwrap().text, "Yes, at ten.");
    stage.finish_and_check().unwrap();
}

#[test]
fn a_function_that_hangs_fails_or_does_not_exist_is_told_to_the_model() {
    let last_content = |stage: &Stage| match stage.last_request().last() {
        Some(Message::Tool { content, .. }) => content.clone(),
        other => panic!("{other:?}"),
    };
    let mut stage = Stage::connected(Policy::default());
    stage.caller_says("Do I have an appointment?", SECOND, ms(400));
    stage.model_says("", &[tool("check_appointment")]);
    stage.wait(Duration::from_secs(10));
    assert_eq!(last_content(&stage), "{\"error\":\"timed_out\"}");
    stage.model_says("", &[tool("check_appointment")]);
    let id = stage.find("run_function").unwrap();
    stage.input(Input::Failed(id, failure(ErrorKind::Unavailable)));
    assert_eq!(last_content(&stage), "{\"error\":\"unavailable\"}");
    stage.model_says("", &[tool("launch_rockets")]);
    assert!(last_content(&stage).contains("no such function"));
    let malformed = ToolCall { arguments: "{".to_owned(), ..tool("check_appointment") };
    stage.model_says("", &[malformed]);
    assert!(last_content(&stage).contains("not a JSON object"));
    stage.finish_and_check().unwrap();
}

#[test]
fn a_model_that_calls_tools_for_ever_is_stopped() {
    let mut stage = Stage::connected(Policy::default());
    stage.caller_says("Hello?", SECOND, ms(400));
    for _ in 0..8 {
        stage.model_says("", &[tool("no_such_function")]);
    }
    assert_eq!(stage.speaking(), [Policy::default().apology]);
}

#[test]
fn the_agent_hangs_up_once_its_goodbye_is_heard() {
    let mut stage = Stage::connected(Policy::default());
    stage.caller_says("That is all, goodbye.", SECOND, ms(400));
    stage.model_says("Goodbye!", &[tool("end_call")]);
    assert_eq!(stage.call.phase(), Phase::Connected);
    stage.play();
    assert_eq!(stage.call.phase(), Phase::Ending);
    stage.tear_down();
    let record = stage.ended().unwrap();
    assert_eq!(record.hangup_party, Some(HangupParty::Agent));
    assert_eq!(record.transcript.last().unwrap().text, "Goodbye!");
}

#[test]
fn last_words_count_although_the_caller_has_hung_up() {
    let mut stage = Stage::connected(Policy::default());
    stage.progress("listen", Progress::SpeechStarted { at: stage.now });
    stage.wait(SECOND);
    stage.input(Input::LegEnded { cause: HangupCause::NORMAL_CLEARING });
    stage.wait(ms(300));
    stage.progress("listen", Progress::Final { language: None, text: "Thanks, bye!".to_owned() });
    stage.tear_down();
    let record = stage.ended().unwrap();
    assert_eq!(record.transcript.last().unwrap().text, "Thanks, bye!");
    stage.finish_and_check().unwrap();
}

#[test]
fn silence_is_broken_twice_and_then_ends_the_call() {
    let mut stage = Stage::connected(Policy::default());
    for _ in 0..2 {
        stage.wait(Duration::from_secs(10));
        assert_eq!(stage.speaking(), ["Are you still there?"]);
        stage.play();
    }
    stage.wait(Duration::from_secs(10));
    assert_eq!(stage.call.phase(), Phase::Ending);
    stage.tear_down();
    assert_eq!(stage.ended().unwrap().end_reason, Some(EndReason::Silence));
}

#[test]
fn the_longest_call_and_the_last_credit_end_a_call_to_the_millisecond() {
    for (granted, reason) in [(120, EndReason::MaxDuration), (30, EndReason::CreditsExhausted)] {
        let mut policy = Policy { duration_max: Duration::from_secs(60), ..Policy::default() };
        policy.silence.timeout = Duration::from_secs(600);
        let mut stage = Stage::new(machine::config(policy), machine::inbound());
        stage.complete("reserve", Outcome::Reserved { granted: Duration::from_secs(granted) });
        stage.complete("answer", Outcome::Done);
        stage.complete("report_answered", Outcome::Done);
        stage.complete("open_media", Outcome::Done);
        stage.play();
        stage.wait(Duration::from_secs(90));
        let record = stage.call.record();
        assert_eq!(record.end_reason, Some(reason));
        assert_eq!(record.talk_time_ms, granted.min(60) * 1_000);
        stage.finish_and_check().unwrap();
    }
}

#[test]
fn without_credits_the_call_is_refused() {
    let mut stage = Stage::new(machine::config(Policy::default()), machine::inbound());
    let reserve = stage.find("reserve").unwrap();
    stage.input(Input::Failed(reserve, failure(ErrorKind::InsufficientFunds)));
    assert_eq!(stage.open_names(), ["hang_up"]);
    stage.tear_down();
    let record = stage.ended().unwrap();
    assert_eq!((record.status, record.talk_time_ms), (CallStatus::Rejected, 0));
    assert_eq!(record.hangup_cause, Some(HangupCause::CALL_REJECTED));
    stage.finish_and_check().unwrap();
}

#[test]
fn an_outbound_call_rings_and_is_answered_busy_refused_or_not_at_all() {
    let cases = [
        (Some(HangupCause::USER_BUSY), CallStatus::Busy, EndReason::Busy),
        (Some(HangupCause::CALL_REJECTED), CallStatus::Rejected, EndReason::Rejected),
        (Some(HangupCause::NETWORK_OUT_OF_ORDER), CallStatus::Failed, EndReason::CarrierFailure),
        (None, CallStatus::NoAnswer, EndReason::NoAnswer),
    ];
    for (cause, status, reason) in cases {
        let mut stage = Stage::new(machine::config(Policy::default()), machine::outbound());
        assert_eq!(stage.call.phase(), Phase::Dialing);
        stage.complete("reserve", Outcome::Reserved { granted: Duration::from_secs(60) });
        stage.progress("dial", Progress::Dial(DialEvent::Ringing));
        assert_eq!(stage.call.phase(), Phase::Ringing);
        match cause {
            Some(cause) => stage.progress("dial", Progress::Dial(DialEvent::Failed { cause })),
            None => stage.wait(Duration::from_secs(45)),
        }
        let record = stage.call.record();
        assert_eq!((record.status, record.end_reason, record.talk_time_ms), (status, Some(reason), 0));
        stage.finish_and_check().unwrap();
    }
}

#[test]
fn an_answered_outbound_call_finds_out_who_answered() {
    let answered = |greeting: Option<Duration>| {
        let policy = Policy { screening: Some(Screening::default()), ..Policy::default() };
        let mut stage = Stage::new(machine::config(policy), machine::outbound());
        stage.complete("reserve", Outcome::Reserved { granted: Duration::from_secs(60) });
        stage.progress("dial", Progress::Dial(DialEvent::Answered));
        stage.complete("open_media", Outcome::Done);
        assert_eq!(stage.call.phase(), Phase::Screening);
        if let Some(length) = greeting {
            stage.progress("listen", Progress::SpeechStarted { at: stage.now });
            stage.wait(length);
            stage.progress("listen", Progress::SpeechEnded { at: stage.now });
            stage.wait(ms(800));
        } else {
            stage.wait(Duration::from_secs(3));
        }
        stage
    };
    let human = answered(Some(ms(700)));
    assert_eq!(human.call.record().answered_by, Some(AnsweredBy::Human));
    assert_eq!(human.speaking(), ["Good morning."]);
    let silent = answered(None);
    assert_eq!(silent.call.record().answered_by, Some(AnsweredBy::Unknown));
    assert_eq!(silent.call.phase(), Phase::Connected);
    let machine = answered(Some(Duration::from_secs(6)));
    assert_eq!(machine.call.record().end_reason, Some(EndReason::MachineAnswered));
}

#[test]
fn providers_that_keep_failing_end_the_call_and_one_failure_does_not() {
    let mut stage = Stage::connected(Policy::default());
    stage.caller_says("Hello?", SECOND, ms(400));
    let generate = stage.find("generate").unwrap();
    stage.input(Input::Failed(generate, failure(ErrorKind::Unavailable)));
    assert!(stage.find("generate").is_some(), "tried once more");
    stage.wait(Duration::from_secs(10));
    assert_eq!(stage.speaking(), [Policy::default().apology]);
    stage.play();
    stage.caller_says("Hello?", SECOND, ms(400));
    let generate = stage.find("generate").unwrap();
    stage.input(Input::Failed(generate, failure(ErrorKind::Unavailable)));
    assert_eq!(stage.call.record().end_reason, Some(EndReason::ProviderFailure));
    stage.finish_and_check().unwrap();

    let mut stage = Stage::connected(Policy::default());
    let listen = stage.find("listen").unwrap();
    stage.input(Input::Failed(listen, failure(ErrorKind::Unavailable)));
    assert!(stage.find("listen").is_some_and(|again| again != listen));
}

#[test]
fn speech_that_is_never_played_is_given_up() {
    let mut stage = Stage::new(machine::config(Policy::default()), machine::inbound());
    stage.set_up();
    stage.wait(Duration::from_secs(10));
    assert!(stage.speaking().is_empty());
    assert!(stage.call.record().transcript.is_empty(), "nothing was heard");
    stage.finish_and_check().unwrap();
}

#[test]
fn a_settlement_that_fails_is_tried_again() {
    let mut stage = Stage::connected(Policy::default());
    stage.input(Input::Control(Control::HangUp));
    for name in ["finish_listening", "listen", "hang_up", "close_media"] {
        stage.complete(name, Outcome::Done);
    }
    let settle = stage.find("settle").unwrap();
    stage.input(Input::Failed(settle, failure(ErrorKind::Unavailable)));
    assert!(stage.find("settle").is_none());
    stage.wait(SECOND);
    stage.complete("settle", Outcome::Settled(Default::default()));
    assert_eq!(stage.ended().unwrap().hangup_party, Some(HangupParty::Operator));
    stage.finish_and_check().unwrap();
}

#[test]
fn an_end_waits_for_nobody_longer_than_the_wrap_up() {
    let mut stage = Stage::connected(Policy::default());
    stage.input(Input::MediaLost { cause: HangupCause::NETWORK_OUT_OF_ORDER });
    stage.wait(Duration::from_secs(3));
    assert_eq!(stage.open_names(), ["settle"]);
    let record = stage.call.record();
    assert_eq!((record.status, record.end_reason), (CallStatus::Failed, Some(EndReason::MediaLost)));
    stage.finish_and_check().unwrap();
}

#[test]
fn a_policy_that_says_nothing_still_gets_on() {
    let mut policy = Policy { apology: String::new(), ..Policy::default() };
    policy.silence.prompt = Some(" ".to_owned());
    let mut stage = Stage::connected(policy);
    stage.caller_says("Hello?", SECOND, ms(400));
    stage.wait(Duration::from_secs(20));
    assert!(stage.speaking().is_empty());
    stage.wait(Duration::from_secs(60));
    assert_eq!(stage.call.record().end_reason, Some(EndReason::Silence));
    stage.finish_and_check().unwrap();
}

#[test]
fn a_cough_while_a_function_runs_does_not_lose_its_answer() {
    let mut stage = Stage::connected(Policy::default());
    stage.caller_says("Do I have an appointment?", SECOND, ms(400));
    stage.model_says("", &[tool("check_appointment")]);
    stage.progress("listen", Progress::SpeechStarted { at: stage.now });
    stage.wait(ms(300));
    stage.progress("listen", Progress::SpeechEnded { at: stage.now });
    stage.complete("run_function", Outcome::Function(serde_json::json!({ "time": "ten" })));
    stage.wait(ms(200));
    stage.progress("listen", Progress::Final { language: None, text: String::new() });
    stage.model_says("Yes, at ten.", &[]);
    stage.play();
    assert_eq!(stage.call.record().transcript.last().unwrap().text, "Yes, at ten.");
    stage.finish_and_check().unwrap();
}

#[test]
fn what_is_said_while_a_function_runs_does_not_part_its_call_from_its_result() {
    let mut stage = Stage::connected(Policy::default());
    stage.caller_says("Do I have an appointment?", SECOND, ms(400));
    stage.model_says("", &[tool("check_appointment")]);
    stage.input(Input::Control(Control::Say { text: "One moment.".to_owned(), interruptible: true }));
    stage.play();
    stage.complete("run_function", Outcome::Function(serde_json::json!({ "time": "ten" })));
    stage.finish_and_check().unwrap();
}

#[test]
fn late_words_are_answered_with_the_rest_of_their_turn() {
    let mut stage = Stage::connected(Policy::default());
    stage.caller_says("Hello there.", SECOND, ms(400));
    stage.model_says("Hello, how can I help?", &[]);
    stage.progress("listen", Progress::Final { language: None, text: "When are you open?".to_owned() });
    let asked = Message::User { text: "Hello there. When are you open?".to_owned() };
    assert_eq!(stage.last_request().last(), Some(&asked));
    stage.model_says("From nine to five.", &[]);
    stage.play();
    let said: Vec<_> = stage.call.record().transcript.into_iter().map(|entry| entry.text).collect();
    assert_eq!(said, ["Good morning.", "Hello there. When are you open?", "From nine to five."]);
    stage.finish_and_check().unwrap();
}

#[test]
fn an_interrupted_goodbye_does_not_end_a_later_answer() {
    let mut stage = Stage::connected(Policy::default());
    stage.caller_says("Check it and then bye.", SECOND, ms(400));
    stage.model_says("", &[tool("check_appointment"), ToolCall { id: "t2".to_owned(), ..tool("end_call") }]);
    stage.caller_says("Wait, one more thing.", SECOND, ms(400));
    stage.complete("run_function", Outcome::Function(serde_json::json!({})));
    stage.model_says("Yes, what is it?", &[]);
    stage.play();
    assert_eq!(stage.call.phase(), Phase::Connected);
    stage.finish_and_check().unwrap();
}

#[test]
fn a_timer_that_is_late_bills_nothing_beyond_a_limit() {
    let mut policy = Policy { goodbye: None, ..Policy::default() };
    policy.silence.prompts_max = 0;
    let mut stage = Stage::new(machine::config(policy), machine::inbound());
    stage.complete("reserve", Outcome::Reserved { granted: Duration::from_secs(12) });
    stage.complete("answer", Outcome::Done);
    stage.complete("report_answered", Outcome::Done);
    stage.complete("open_media", Outcome::Done);
    stage.play();
    stage.oversleep(Duration::from_secs(100));
    stage.input(Input::Dtmf('1'.try_into().unwrap()));
    let record = stage.call.record();
    assert_eq!((record.end_reason, record.talk_time_ms), (Some(EndReason::Silence), 10_780));
    stage.finish_and_check().unwrap();
}
