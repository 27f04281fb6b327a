//! Who speaks when: the stories of a turn, told by hand in virtual time.

use std::time::Duration;

use offhook::call::policy::{BargeIn, EarlyGeneration, Filler, Languages};
use offhook::call::{
    CallEventKind, Command, Control, DecisionKind, EarlyStep, EndpointReason, Failure, Input, InterruptionVerdict,
    Outcome, Policy, Progress, ResumeCause, Speaker,
};
use offhook::error::{ErrorKind, Retry};
use offhook::provider::llm::{FinishReason, LlmEvent, Message, ToolCall};
use offhook_testkit::machine::{self, Stage};
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

const ANSWER: &str = "We are open from nine to five on weekdays.";

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn starts(stage: &mut Stage) {
    stage.progress("listen", Progress::SpeechStarted { at: stage.now });
}

fn stops(stage: &mut Stage) {
    stage.progress("listen", Progress::SpeechEnded { at: stage.now });
}

fn interim(stage: &mut Stage, text: &str) {
    stage.progress("listen", Progress::Interim { text: text.to_owned() });
}

fn settled(stage: &mut Stage, text: &str) {
    stage.progress("listen", Progress::Final { language: None, text: text.to_owned() });
}

fn tool(name: &str, arguments: &str) -> ToolCall {
    ToolCall { arguments: arguments.to_owned(), id: "t1".to_owned(), name: name.to_owned() }
}

/// A call in which the agent has been heard up to `heard` of [`ANSWER`].
fn speaking(policy: Policy, heard: &str) -> Stage {
    let mut stage = Stage::connected(policy);
    stage.call.explain();
    stage.caller_says("When are you open?", SECOND, ms(400));
    stage.model_says(ANSWER, &[]);
    stage.progress("speak", Progress::Playing);
    stage.wait(SECOND);
    stage.progress("speak", Progress::Heard { text_end: heard.len() });
    stage
}

fn barge_in(change: impl FnOnce(&mut BargeIn)) -> Policy {
    let mut policy = Policy::default();
    change(&mut policy.barge_in);
    policy
}

/// The caller makes a sound for `length`, of which the recogniser makes `text`.
fn utters(stage: &mut Stage, text: &str, length: Duration) {
    starts(stage);
    stage.wait(length);
    stops(stage);
    stage.wait(ms(300));
    settled(stage, text);
}

fn said(stage: &Stage) -> Vec<(Speaker, String)> {
    stage.call.record().transcript.into_iter().map(|entry| (entry.speaker, entry.text)).collect()
}

fn asked(stage: &Stage) -> String {
    match stage.last_request().last() {
        Some(Message::User { text }) => text.clone(),
        other => panic!("{other:?}"),
    }
}

fn endpoints(stage: &mut Stage) -> Vec<(EndpointReason, u64)> {
    let decisions = stage.call.take_decisions().into_iter();
    let endpoints = decisions.filter_map(|decision| match decision.kind {
        DecisionKind::Endpoint { delay, reason, .. } => Some((reason, u64::try_from(delay.as_millis()).unwrap())),
        _ => None,
    });
    endpoints.collect()
}

fn verdicts(stage: &mut Stage) -> Vec<InterruptionVerdict> {
    let decisions = stage.call.take_decisions().into_iter();
    let verdicts = decisions.filter_map(|decision| match decision.kind {
        DecisionKind::Interruption { verdict, .. } => Some(verdict),
        _ => None,
    });
    verdicts.collect()
}

mod endpointing {
    use super::*;

    #[test]
    fn a_turn_waits_as_long_as_its_words_suggest() {
        let cases = [
            ("What are your opening hours?", EndpointReason::Complete, 300),
            ("yes", EndpointReason::Complete, 300),
            ("I would like to book a table", EndpointReason::Unclear, 750),
            ("I would like to come on Monday and", EndpointReason::Incomplete, 1_200),
            ("My number is.", EndpointReason::Incomplete, 1_200),
            ("zero eight one two", EndpointReason::Dictating, 2_000),
        ];
        for (text, reason, delay_ms) in cases {
            let mut stage = Stage::connected(Policy::default());
            stage.call.explain();
            stage.caller_says(text, SECOND, ms(100));
            assert_eq!(endpoints(&mut stage), [(reason, delay_ms)], "{text}");
            stage.wait(ms(delay_ms - 101));
            let entries = stage.call.record().transcript.len();
            assert_eq!(entries, 1, "{text}: the turn is not over before its delay");
            stage.wait(ms(1));
            assert_eq!(said(&stage).len(), 2, "{text}");
            assert_eq!(asked(&stage), text);
            assert_eq!(stage.open_names().iter().filter(|name| **name == "generate").count(), 1, "{text}");
            stage.finish_and_check().unwrap();
        }
    }

    #[test]
    fn a_late_transcript_of_complete_words_is_answered_at_once() {
        let mut stage = Stage::connected(Policy::default());
        stage.caller_says("What are your opening hours?", SECOND, ms(900));
        assert_eq!(asked(&stage), "What are your opening hours?");
        assert_eq!(said(&stage).len(), 2);
    }

    #[test]
    fn a_number_that_is_dictated_in_groups_is_one_turn() {
        let mut stage = Stage::connected(Policy::default());
        stage.caller_says("My number is zero eight one two.", SECOND, ms(300));
        stage.wait(SECOND);
        stage.caller_says("Three four five six.", SECOND, ms(300));
        stage.wait(SECOND);
        assert!(stage.find("generate").is_none());
        stage.caller_says("Seven eight nine.", SECOND, ms(400));
        assert_eq!(asked(&stage), "My number is zero eight one two. Three four five six. Seven eight nine.");
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn digits_that_the_agent_has_asked_for_are_waited_for() {
        let mut stage = Stage::connected(Policy::default());
        stage.call.explain();
        stage.caller_says("Do I have an appointment?", SECOND, ms(400));
        stage.model_says("Let me look. What is your phone number?", &[]);
        stage.play();
        stage.call.take_decisions();
        stage.caller_says("812.", SECOND, ms(100));
        assert_eq!(endpoints(&mut stage), [(EndpointReason::Dictating, 2_000)]);
    }

    #[test]
    fn a_recogniser_that_judges_turns_is_believed() {
        for (percent, reason, delay_ms) in
            [(95, EndpointReason::TurnIsOver, 300), (10, EndpointReason::TurnGoesOn, 1_200)]
        {
            let mut stage = Stage::connected(Policy::default());
            stage.call.explain();
            starts(&mut stage);
            stage.wait(SECOND);
            stops(&mut stage);
            stage.progress("listen", Progress::EndOfTurn { percent });
            settled(&mut stage, "I would like to book a table and");
            assert_eq!(endpoints(&mut stage), [(reason, delay_ms)]);
            stage.finish_and_check().unwrap();
        }
    }

    #[test]
    fn a_turn_that_the_recogniser_calls_over_ends_in_spite_of_noise() {
        let mut stage = Stage::connected(Policy::default());
        starts(&mut stage);
        stage.wait(SECOND);
        settled(&mut stage, "When are you open?");
        stage.progress("listen", Progress::EndOfTurn { percent: 90 });
        assert_eq!(said(&stage).len(), 1);
        stage.wait(ms(300));
        assert_eq!(asked(&stage), "When are you open?");
        assert_eq!(said(&stage).len(), 2);
        assert!(stage.find("finalize").is_none(), "its words are settled");
    }

    #[test]
    fn words_that_are_never_settled_are_better_than_none() {
        let mut stage = Stage::connected(Policy::default());
        starts(&mut stage);
        stage.wait(SECOND);
        interim(&mut stage, "When are you open");
        stops(&mut stage);
        stage.wait(ms(2_500));
        assert_eq!(asked(&stage), "When are you open");
        settled(&mut stage, "When are you open?");
        assert_eq!(asked(&stage), "When are you open", "they are not asked twice");
        assert_eq!(said(&stage).len(), 2);
        stage.finish_and_check().unwrap();

        let mut stage = Stage::connected(Policy::default());
        starts(&mut stage);
        interim(&mut stage, "Thanks, that is");
        stage.input(Input::Control(Control::HangUp));
        stage.tear_down();
        assert_eq!(stage.ended().unwrap().transcript.last().unwrap().text, "Thanks, that is");
    }

    #[test]
    fn a_sound_that_goes_on_without_words_does_not_hold_the_turn_up() {
        let mut stage = Stage::connected(Policy::default());
        starts(&mut stage);
        stage.wait(SECOND);
        interim(&mut stage, "When are");
        stage.wait(ms(2_900));
        interim(&mut stage, "When are you open");
        settled(&mut stage, "When are you open?");
        stage.wait(ms(2_999));
        assert!(stage.find("finalize").is_none() && said(&stage).len() == 1);
        stage.wait(ms(301));
        stage.complete("finalize", Outcome::Done);
        settled(&mut stage, "");
        assert_eq!(asked(&stage), "When are you open?");
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn words_without_a_sound_are_heard_and_no_silence_is_broken() {
        let mut stage = Stage::connected(Policy::default());
        stage.wait(Duration::from_secs(9));
        interim(&mut stage, "When are");
        stage.wait(ms(1_500));
        assert!(stage.speaking().is_empty(), "nobody asks whether the caller is there");
        settled(&mut stage, "When are you open on Monday and");
        stage.wait(SECOND);
        interim(&mut stage, "on");
        stage.wait(SECOND);
        assert!(stage.find("generate").is_none());
        settled(&mut stage, "on Tuesday?");
        stage.wait(ms(300));
        assert_eq!(asked(&stage), "When are you open on Monday and on Tuesday?");
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn the_words_of_the_calls_language_count() {
        let mut config = machine::config(Policy::default());
        config.language = "id-ID".to_owned();
        let mut stage = Stage::new(config, machine::inbound());
        stage.set_up();
        stage.play();
        stage.call.explain();
        stage.caller_says("Saya mau yang", SECOND, ms(100));
        assert_eq!(endpoints(&mut stage), [(EndpointReason::Incomplete, 1_200)]);
    }
}

mod barge_in {
    use super::*;

    #[test]
    fn speech_silences_the_agent_at_once_and_words_make_it_an_interruption() {
        let mut stage = speaking(Policy::default(), "We are open from");
        starts(&mut stage);
        stage.wait(ms(80));
        assert!(stage.find("speak").is_none());
        interim(&mut stage, "Wait, I");
        stage.wait(ms(500));
        stops(&mut stage);
        stage.wait(ms(300));
        settled(&mut stage, "Wait, I meant Sunday.");
        assert_eq!(asked(&stage), "Wait, I meant Sunday.");
        let record = stage.call.record();
        assert_eq!((record.barge_ins[0].reaction_ms, record.barge_ins[0].resumed), (80, false));
        assert!(record.transcript[2].cut);
        assert_eq!(verdicts(&mut stage), [InterruptionVerdict::Speech]);
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn a_cough_makes_the_agent_pause_and_go_on() {
        let mut stage = speaking(Policy::default(), "We are open from");
        utters(&mut stage, "", ms(200));
        assert_eq!(stage.speaking(), ["nine to five on weekdays."]);
        assert!(stage.events.iter().any(|event| event.kind == CallEventKind::Resumed));
        stage.play();
        assert_eq!(said(&stage).last().unwrap().1, ANSWER);
        let record = stage.call.record();
        assert!(!record.transcript.last().unwrap().cut && record.barge_ins[0].resumed);
        assert!(stage.find("generate").is_none());
        let resumed = stage.call.take_decisions().into_iter().find_map(|decision| match decision.kind {
            DecisionKind::Resume { cause, pieces } => Some((cause, pieces)),
            _ => None,
        });
        assert_eq!(resumed, Some((ResumeCause::NoWords, 1)));
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn a_noise_of_which_the_recogniser_says_nothing_is_waited_for_no_longer_than_its_time() {
        let mut stage = speaking(Policy::default(), "We are open from");
        starts(&mut stage);
        stage.wait(ms(300));
        stops(&mut stage);
        stage.wait(ms(1_499));
        assert!(stage.find("speak").is_none());
        stage.wait(ms(1));
        assert_eq!(stage.speaking(), ["nine to five on weekdays."]);
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn after_a_noise_only_words_interrupt_the_rest() {
        let mut stage = speaking(Policy::default(), "We are open from");
        utters(&mut stage, "", ms(200));
        stage.progress("speak", Progress::Playing);
        starts(&mut stage);
        stage.wait(SECOND);
        assert!(stage.find("speak").is_some(), "the room is loud");
        interim(&mut stage, "Stop please");
        assert!(stage.find("speak").is_none());
        stops(&mut stage);
        stage.wait(ms(300));
        settled(&mut stage, "Stop, please.");
        assert_eq!(asked(&stage), "Stop, please.");
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn agreement_does_not_take_the_floor_and_is_written_down() {
        let mut stage = speaking(Policy::default(), "We are open from");
        utters(&mut stage, "Uh-huh.", ms(300));
        assert_eq!(stage.speaking(), ["nine to five on weekdays."]);
        stage.play();
        assert!(stage.find("generate").is_none(), "nobody answers a nod");
        assert_eq!(said(&stage)[2..], [(Speaker::Agent, ANSWER.to_owned()), (Speaker::Caller, "Uh-huh.".to_owned())]);
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn agreement_that_is_known_at_once_costs_no_wait_for_its_transcript() {
        let mut stage = speaking(Policy::default(), "We are open from");
        starts(&mut stage);
        stage.wait(ms(200));
        interim(&mut stage, "uh huh");
        stops(&mut stage);
        assert_eq!(stage.speaking(), ["nine to five on weekdays."]);
        stage.wait(ms(300));
        settled(&mut stage, "Uh-huh.");
        stage.play();
        assert!(stage.find("generate").is_none());
        assert_eq!(said(&stage).last().unwrap(), &(Speaker::Caller, "Uh-huh.".to_owned()));
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn a_yes_to_the_last_words_of_a_question_is_its_answer() {
        let mut stage = Stage::connected(Policy::default());
        stage.caller_says("Can I come tomorrow?", SECOND, ms(400));
        stage.model_says("At ten there is a free slot, shall I book it?", &[]);
        stage.progress("speak", Progress::Playing);
        stage.progress("speak", Progress::Heard { text_end: "At ten there is a free slot, shall I book".len() });
        utters(&mut stage, "Yes.", ms(300));
        assert_eq!(asked(&stage), "Yes.");
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn words_can_be_asked_for_and_fillers_are_none() {
        let policy = barge_in(|barge_in| {
            barge_in.words_min = 2;
            barge_in.fillers = vec!["lovely day".to_owned()];
        });
        let mut stage = speaking(policy, "We are open");
        starts(&mut stage);
        stage.wait(SECOND);
        for text in ["mm", "Lovely day, yeah", "stop"] {
            interim(&mut stage, text);
            assert!(stage.find("speak").is_some(), "{text}");
        }
        interim(&mut stage, "stop that");
        assert!(stage.find("speak").is_none());
        use InterruptionVerdict::{Filler, TooFewWords, Words};
        assert_eq!(verdicts(&mut stage), [TooFewWords, Filler, Filler, TooFewWords, Words]);
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn words_that_come_after_the_speech_interrupt_too() {
        let mut stage = speaking(barge_in(|barge_in| barge_in.words_min = 2), "We are open");
        utters(&mut stage, "Hold on a second.", ms(500));
        assert_eq!(asked(&stage), "Hold on a second.");
        assert_eq!(stage.call.record().barge_ins[0].reaction_ms, 800);
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn agreement_without_a_pause_is_written_down_and_not_answered() {
        let mut stage = speaking(barge_in(|barge_in| barge_in.words_min = 2), "We are open");
        utters(&mut stage, "Okay.", ms(300));
        stage.play();
        assert!(stage.find("generate").is_none());
        assert_eq!(said(&stage).last().unwrap(), &(Speaker::Caller, "Okay.".to_owned()));
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn the_agents_own_voice_neither_interrupts_nor_is_answered() {
        let mut stage = speaking(Policy::default(), "We are open from nine");
        utters(&mut stage, "We are open from nine", ms(600));
        assert_eq!(stage.speaking(), ["to five on weekdays."], "it pauses once");
        stage.progress("speak", Progress::Playing);
        starts(&mut stage);
        stage.wait(ms(700));
        interim(&mut stage, "nine to five on");
        assert!(stage.find("speak").is_some(), "and not again");
        stage.play();
        stops(&mut stage);
        stage.wait(ms(200));
        settled(&mut stage, "nine to five on weekdays");
        stage.wait(SECOND * 2);
        assert!(stage.find("generate").is_none());
        assert_eq!(said(&stage).last().unwrap().1, ANSWER);
        assert!(verdicts(&mut stage).contains(&InterruptionVerdict::Echo));
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn a_protected_greeting_is_said_to_its_end_and_the_words_over_it_are_answered() {
        let policy = barge_in(|barge_in| barge_in.greeting = false);
        let mut stage = Stage::new(machine::config(policy), machine::inbound());
        stage.set_up();
        stage.call.explain();
        stage.progress("speak", Progress::Playing);
        utters(&mut stage, "Are you open today?", ms(400));
        assert_eq!(stage.speaking(), ["Good morning."]);
        stage.play();
        assert_eq!(asked(&stage), "Are you open today?");
        assert!(verdicts(&mut stage).contains(&InterruptionVerdict::Protected));
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn an_announcement_survives_an_interruption() {
        let mut stage = speaking(Policy::default(), "We are open from");
        let text = "This call is recorded.".to_owned();
        stage.input(Input::Control(Control::Say { text, interruptible: false }));
        starts(&mut stage);
        stage.wait(ms(80));
        assert!(stage.speaking().is_empty(), "what is being said may be interrupted");
        interim(&mut stage, "No, wait");
        assert_eq!(stage.speaking(), ["This call is recorded."], "what may not, follows");
        stage.wait(ms(500));
        stops(&mut stage);
        stage.play();
        settled(&mut stage, "No, wait a moment.");
        let texts: Vec<_> = said(&stage).into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts[2..], ["We are open from", "This call is recorded.", "No, wait a moment."]);
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn a_disclosure_in_an_answer_is_heard_and_a_caller_who_speaks_on_interrupts_what_follows() {
        let policy = barge_in(|barge_in| barge_in.protected = vec!["calls are recorded".to_owned()]);
        let mut stage = Stage::connected(policy);
        stage.caller_says("Hello?", SECOND, ms(400));
        stage.model_says("Our calls are recorded. How can I help you today?", &[]);
        stage.progress("speak", Progress::Playing);
        starts(&mut stage);
        stage.wait(SECOND);
        assert_eq!(stage.speaking().len(), 2);
        stage.complete("speak", Outcome::Done);
        stage.wait(ms(0));
        assert!(stage.speaking().is_empty());
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn what_was_said_over_a_disclosure_interrupts_what_follows_it() {
        let policy = barge_in(|barge_in| barge_in.protected = vec!["calls are recorded".to_owned()]);
        let mut stage = Stage::connected(policy);
        stage.caller_says("Hello?", SECOND, ms(400));
        stage.model_says("Our calls are recorded. How can I help you today?", &[]);
        stage.progress("speak", Progress::Playing);
        utters(&mut stage, "I would like to book.", ms(400));
        assert_eq!(stage.speaking().len(), 2);
        stage.complete("speak", Outcome::Done);
        assert!(stage.speaking().is_empty());
        assert_eq!(asked(&stage), "I would like to book.");
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn an_answer_that_was_being_made_goes_on_after_a_noise() {
        let mut stage = Stage::connected(Policy::default());
        stage.caller_says("When are you open?", SECOND, ms(400));
        stage.progress("generate", Progress::Generated(LlmEvent::Text("On weekdays from nine. On".to_owned())));
        stage.progress("speak", Progress::Playing);
        stage.progress("speak", Progress::Heard { text_end: "On weekdays".len() });
        starts(&mut stage);
        stage.wait(ms(100));
        stage.model_says(" Sundays never.", &[tool("end_call", "{}")]);
        assert!(stage.speaking().is_empty());
        stops(&mut stage);
        stage.wait(ms(300));
        settled(&mut stage, "");
        assert_eq!(stage.speaking(), ["from nine.", "On Sundays never."]);
        stage.play();
        assert_eq!(said(&stage).last().unwrap().1, "On weekdays from nine. On Sundays never.");
        assert_eq!(stage.call.phase(), offhook::call::Phase::Ending, "the goodbye still holds");
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn words_that_come_after_the_agent_has_gone_on_interrupt_it_after_all() {
        let mut stage = speaking(Policy::default(), "We are open from");
        starts(&mut stage);
        stage.wait(ms(500));
        stops(&mut stage);
        stage.wait(ms(1_600));
        assert_eq!(stage.speaking(), ["nine to five on weekdays."]);
        settled(&mut stage, "I asked about Sunday.");
        assert_eq!(asked(&stage), "I asked about Sunday.");
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn noise_in_which_no_words_come_does_not_silence_the_agent_for_long() {
        let mut stage = Stage::connected(Policy::default());
        starts(&mut stage);
        stage.wait(SECOND);
        interim(&mut stage, "When are you");
        stops(&mut stage);
        stage.wait(ms(400));
        settled(&mut stage, "When are you open?");
        stage.model_says(ANSWER, &[]);
        stage.progress("speak", Progress::Playing);
        stage.progress("speak", Progress::Heard { text_end: "We are open".len() });
        starts(&mut stage);
        stage.wait(ms(80));
        assert!(stage.speaking().is_empty());
        stage.wait(ms(1_500));
        assert_eq!(stage.speaking(), ["from nine to five on weekdays."], "the radio plays on");
        stage.play();
        stops(&mut stage);
        stage.wait(ms(300));
        settled(&mut stage, "");
        assert_eq!(said(&stage).last().unwrap().1, ANSWER);
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn noise_before_the_answer_starts_it_anew_once_and_not_for_ever() {
        let mut stage = Stage::connected(Policy::default());
        stage.caller_says("When are you open?", SECOND, ms(400));
        utters(&mut stage, "", ms(200));
        let second = stage.find("generate").unwrap();
        utters(&mut stage, "", ms(200));
        assert_eq!(stage.find("generate"), Some(second), "the room is loud");
        starts(&mut stage);
        stage.wait(ms(300));
        interim(&mut stage, "On Sunday");
        assert!(stage.find("generate").is_none(), "but words count");
        stops(&mut stage);
        stage.wait(ms(300));
        settled(&mut stage, "On Sunday.");
        assert_eq!(asked(&stage), "When are you open? On Sunday.");
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn a_hello_over_the_greeting_does_not_end_it() {
        let mut config = machine::config(Policy::default());
        config.greeting = Some("Good morning, this is Maya of Bloom Clinic.".to_owned());
        let mut stage = Stage::new(config, machine::inbound());
        stage.set_up();
        stage.progress("speak", Progress::Playing);
        stage.progress("speak", Progress::Heard { text_end: "Good".len() });
        utters(&mut stage, "Hello?", ms(400));
        assert_eq!(stage.speaking(), ["morning, this is Maya of Bloom Clinic."]);
        stage.play();
        assert!(stage.find("generate").is_none());
        stage.caller_says("Hello?", SECOND, ms(400));
        assert_eq!(asked(&stage), "Hello?", "later it is a question");
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn without_resuming_a_cough_ends_what_was_being_said() {
        let mut stage = speaking(barge_in(|barge_in| barge_in.resume = false), "We are open from");
        utters(&mut stage, "", ms(200));
        stage.wait(SECOND * 3);
        assert!(stage.speaking().is_empty());
        assert_eq!(said(&stage).last().unwrap().1, "We are open from");
    }
}

mod early_generation {
    use super::*;

    fn steps(stage: &mut Stage) -> Vec<EarlyStep> {
        let decisions = stage.call.take_decisions().into_iter();
        let steps = decisions.filter_map(|decision| match decision.kind {
            DecisionKind::EarlyGeneration { step, .. } => Some(step),
            _ => None,
        });
        steps.collect()
    }

    fn pausing(policy: Policy, text: &str) -> Stage {
        let mut stage = Stage::connected(policy);
        stage.call.explain();
        starts(&mut stage);
        stage.wait(SECOND);
        interim(&mut stage, text);
        stops(&mut stage);
        stage
    }

    #[test]
    fn the_model_begins_on_an_interim_and_nothing_is_said_before_the_turn_is_over() {
        let mut stage = pausing(Policy::default(), "When are you open?");
        assert_eq!(asked(&stage), "When are you open?");
        stage.model_says("From nine to five.", &[]);
        stage.wait(ms(200));
        assert!(stage.speaking().is_empty() && said(&stage).len() == 1);
        settled(&mut stage, "When are you open?");
        assert!(stage.speaking().is_empty());
        stage.wait(ms(100));
        assert_eq!(stage.speaking(), ["From nine to five."]);
        assert_eq!(said(&stage).len(), 2);
        assert_eq!(steps(&mut stage), [EarlyStep::Begun, EarlyStep::Kept]);
        stage.play();
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn other_words_are_another_question() {
        let mut stage = pausing(Policy::default(), "When are you open?");
        stage.model_says("From nine to five.", &[]);
        stage.wait(ms(350));
        settled(&mut stage, "When are you open on Sunday?");
        assert_eq!(asked(&stage), "When are you open on Sunday?");
        assert!(stage.speaking().is_empty());
        assert_eq!(steps(&mut stage), [EarlyStep::Begun, EarlyStep::Dropped]);
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn functions_wait_for_the_turn_to_be_over() {
        let mut stage = pausing(Policy::default(), "Do I have an appointment?");
        stage.model_says("", &[tool("check_appointment", "{}")]);
        assert!(stage.find("run_function").is_none());
        settled(&mut stage, "Do I have an appointment?");
        stage.wait(ms(300));
        assert!(stage.find("run_function").is_some());
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn a_caller_who_goes_on_costs_no_more_than_the_attempts() {
        let mut stage = pausing(Policy::default(), "When are you open?");
        for text in ["Are you open today?", "Or tomorrow?", "Or on Friday?"] {
            starts(&mut stage);
            assert!(stage.find("generate").is_none(), "{text}");
            stage.wait(ms(400));
            interim(&mut stage, text);
            stops(&mut stage);
        }
        assert!(stage.find("generate").is_none());
        use EarlyStep::{Begun, Dropped};
        assert_eq!(steps(&mut stage), [Begun, Dropped, Begun, Dropped]);
    }

    #[test]
    fn an_early_failure_is_no_failure_of_the_turn() {
        let mut stage = pausing(Policy::default(), "When are you open?");
        let failure = Failure { kind: ErrorKind::Unavailable, message: "test".to_owned(), retry: Retry::Later };
        let early = stage.find("generate").unwrap();
        stage.input(Input::Failed(early, failure));
        settled(&mut stage, "When are you open?");
        stage.wait(ms(300));
        stage.model_says("From nine to five.", &[]);
        assert_eq!(stage.speaking(), ["From nine to five."]);
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn an_eager_recogniser_lets_the_model_begin_while_sound_goes_on() {
        let mut stage = Stage::connected(Policy::default());
        starts(&mut stage);
        stage.wait(SECOND);
        interim(&mut stage, "When are you open");
        assert!(stage.find("generate").is_none());
        stage.progress("listen", Progress::EndOfTurn { percent: 45 });
        assert_eq!(asked(&stage), "When are you open");
        assert_eq!(said(&stage).len(), 1);
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn it_can_be_turned_off() {
        let early_generation = EarlyGeneration { attempts_max: 0, ..EarlyGeneration::default() };
        let stage = pausing(Policy { early_generation, ..Policy::default() }, "When are you open?");
        assert!(stage.find("generate").is_none());
    }
}

mod filler {
    use super::*;

    #[test]
    fn a_function_that_takes_long_is_bridged_in_the_calls_language() {
        let mut config = machine::config(Policy::default());
        config.language = "id".to_owned();
        let mut stage = Stage::new(config, machine::inbound());
        stage.set_up();
        stage.play();
        stage.caller_says("Apakah saya punya janji?", SECOND, ms(400));
        stage.model_says("", &[tool("check_appointment", "{}")]);
        stage.wait(ms(1_999));
        assert!(stage.speaking().is_empty());
        stage.wait(ms(1));
        assert_eq!(stage.speaking(), ["Sebentar ya, saya cek dulu."]);
        stage.play();
        stage.wait(ms(2_000));
        assert_eq!(stage.speaking(), ["Terima kasih sudah menunggu, masih saya cek."]);
        stage.play();
        stage.wait(ms(100));
        assert!(stage.speaking().is_empty(), "twice is enough");
        stage.complete("run_function", Outcome::Function(serde_json::json!({ "time": "ten" })));
        let last = stage.last_request().pop().unwrap();
        assert!(matches!(last, Message::Tool { .. }), "the model finds the result last: {last:?}");
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn nothing_is_said_over_anybody() {
        let filler = Filler { phrases: vec!["Bear with me.".to_owned()], ..Filler::default() };
        let mut stage = Stage::connected(Policy { filler, ..Policy::default() });
        stage.caller_says("Do I have an appointment?", SECOND, ms(400));
        stage.model_says("Let me check that for you.", &[tool("check_appointment", "{}")]);
        stage.play();
        starts(&mut stage);
        stage.wait(ms(2_500));
        assert!(stage.speaking().is_empty(), "the caller speaks");
        stops(&mut stage);
        stage.wait(ms(300));
        settled(&mut stage, "");
        stage.wait(ms(2_000));
        assert_eq!(stage.speaking(), ["Bear with me."]);
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn a_quick_function_needs_none() {
        let mut stage = Stage::connected(Policy::default());
        stage.caller_says("Do I have an appointment?", SECOND, ms(400));
        stage.model_says("", &[tool("check_appointment", "{}")]);
        stage.wait(ms(500));
        stage.complete("run_function", Outcome::Function(serde_json::json!({})));
        stage.wait(SECOND * 5);
        assert!(stage.speaking().is_empty());
    }
}

mod language {
    use super::*;

    fn bilingual() -> Policy {
        let languages = Languages { allowed: vec!["id-ID".to_owned()], ..Languages::default() };
        Policy { languages, ..Policy::default() }
    }

    fn says_in(stage: &mut Stage, language: &str, text: &str) {
        starts(stage);
        stage.wait(SECOND);
        stops(stage);
        stage.wait(ms(400));
        stage.progress("listen", Progress::Final { language: Some(language.to_owned()), text: text.to_owned() });
    }

    fn spoken_in(stage: &Stage) -> Option<String> {
        stage.command("speak").map(|command| match command {
            Command::Speak { language, .. } => language.clone(),
            other => panic!("{other:?}"),
        })
    }

    fn switches(stage: &Stage) -> Vec<&str> {
        let switches = stage.events.iter().filter_map(|event| match &event.kind {
            CallEventKind::LanguageSwitched { language } => Some(language.as_str()),
            _ => None,
        });
        switches.collect()
    }

    #[test]
    fn the_agent_follows_a_caller_who_changes_to_an_allowed_language() {
        let mut stage = Stage::connected(bilingual());
        let listen = stage.find("listen");
        says_in(&mut stage, "id", "Apakah bisa bahasa Indonesia?");
        stage.model_says("Tentu, bisa.", &[]);
        assert_eq!(spoken_in(&stage).as_deref(), Some("id-ID"));
        assert_eq!(switches(&stage), ["id-ID"]);
        assert_eq!(stage.find("listen"), listen, "the recogniser understands both");
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn a_word_or_another_language_changes_nothing() {
        let mut stage = Stage::connected(bilingual());
        says_in(&mut stage, "id", "Terima kasih.");
        stage.model_says("You are welcome.", &[]);
        assert_eq!(spoken_in(&stage).as_deref(), Some("en-US"));
        stage.play();
        says_in(&mut stage, "fr", "Je voudrais un rendez-vous demain.");
        stage.model_says("I am sorry?", &[]);
        assert_eq!(spoken_in(&stage).as_deref(), Some("en-US"));
        assert!(switches(&stage).is_empty());
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn the_model_changes_the_language_and_the_recogniser_with_it() {
        let mut stage = Stage::connected(bilingual());
        stage.caller_says("Can we speak Indonesian?", SECOND, ms(400));
        let listen = stage.find("listen");
        stage.model_says("", &[tool("switch_language", "{\"language\":\"id-ID\"}")]);
        assert_ne!(stage.find("listen"), listen);
        assert!(matches!(stage.command("listen"), Some(Command::Listen { language }) if language == "id-ID"));
        stage.model_says("Tentu, bisa.", &[]);
        assert_eq!(spoken_in(&stage).as_deref(), Some("id-ID"));
        stage.play();
        stage.caller_says("Terima kasih banyak.", SECOND, ms(400));
        assert_eq!(asked(&stage), "Terima kasih banyak.");
        stage.finish_and_check().unwrap();
    }

    #[test]
    fn a_language_that_is_not_offered_is_refused() {
        let refused = |policy: Policy| {
            let mut stage = Stage::connected(policy);
            stage.caller_says("Can we speak French?", SECOND, ms(400));
            stage.model_says("", &[tool("switch_language", "{\"language\":\"fr\"}")]);
            assert!(
                matches!(stage.last_request().last(), Some(Message::Tool { content, .. }) if content.contains("error"))
            );
            assert!(switches(&stage).is_empty());
            stage.finish_and_check().unwrap();
        };
        refused(bilingual());
        refused(Policy::default());
    }

    #[test]
    fn a_recogniser_that_does_not_know_the_language_takes_the_call_back_to_the_first() {
        let mut stage = Stage::connected(bilingual());
        stage.caller_says("Can we speak Indonesian?", SECOND, ms(400));
        stage.model_says("", &[tool("switch_language", "{\"language\":\"id-ID\"}")]);
        let failure = Failure { kind: ErrorKind::Unsupported, message: "test".to_owned(), retry: Retry::Never };
        let listen = stage.find("listen").unwrap();
        stage.input(Input::Failed(listen, failure));
        assert!(matches!(stage.command("listen"), Some(Command::Listen { language }) if language == "en-US"));
        assert_eq!(switches(&stage), ["id-ID", "en-US"]);
        stage.finish_and_check().unwrap();
    }
}

proptest! {
    /// However often the agent is silenced by nothing, wherever, each word is written down once and in its order, and
    /// what is written down is where the caller's hearing ended.
    #[test]
    fn resuming_says_each_word_once(cuts in proptest::collection::vec((0_usize..60, any::<bool>()), 0..6), last in 0_usize..60) {
        let planned: Vec<String> = (0..20).map(|number| format!("w{number}{}", if number % 6 == 5 { "." } else { "" })).collect();
        let mut stage = Stage::connected(Policy::default());
        stage.caller_says("When are you open?", SECOND, ms(400));
        let reason = FinishReason::Stop;
        for event in [LlmEvent::Text(planned.join(" ")), LlmEvent::Finished { reason }] {
            stage.progress("generate", Progress::Generated(event));
        }
        for (offset, agrees) in cuts {
            if stage.find("speak").is_none() {
                break;
            }
            stage.progress("speak", Progress::Playing);
            stage.progress("speak", Progress::Heard { text_end: offset });
            if offset % 3 == 0 {
                stage.complete("speak", Outcome::Done);
            }
            if stage.find("speak").is_some() {
                utters(&mut stage, if agrees { "Okay." } else { "" }, ms(200));
            }
        }
        if stage.find("speak").is_some() {
            stage.progress("speak", Progress::Heard { text_end: last });
        }
        stage.input(Input::Control(Control::HangUp));
        let said = stage.call.record().transcript;
        let agent: Vec<_> = said.iter().skip(1).filter(|entry| entry.speaker == Speaker::Agent).collect();
        let words: Vec<_> = agent.iter().flat_map(|entry| entry.text.split_whitespace()).collect();
        prop_assert_eq!(&words[..], &planned[..words.len()]);
        stage.finish_and_check().map_err(TestCaseError::fail)?;
    }
}
