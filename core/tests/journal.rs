//! Journals: kept in few bytes, run again to the byte, told, run under another policy, and rid of personal data.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::time::Duration;

use offhook::call::policy::{KeyAction, KeyRule};
use offhook::call::record::EndReason;
use offhook::call::{Call, CallRecord, Control, DecisionKind, Input, Outcome, Policy, Progress};
use offhook::journal::explain::explain;
use offhook::journal::{Entry, Journal, MAGIC, Tail, Writer, redact, replay, rerun};
use offhook::provider::llm::{LlmEvent, ToolCall};
use offhook::provider::telephony::HangupCause;
use offhook_testkit::machine::{self, Stage};
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Without early answers, which hide delays.
fn policy() -> Policy {
    let mut policy = Policy::default();
    policy.early_generation.attempts_max = 0;
    policy
}

/// A call with two turns, of which the caller interrupts the second answer, a function and a goodbye.
fn call() -> Stage {
    let mut stage = Stage::connected(policy());
    stage.wait(SECOND);
    stage.progress("listen", Progress::SpeechStarted { at: stage.now - ms(60) });
    for text in ["What", "What are your", "What are your opening hours"] {
        stage.wait(ms(300));
        stage.progress("listen", Progress::Interim { text: text.to_owned() });
    }
    stage.progress("listen", Progress::SpeechEnded { at: stage.now - ms(40) });
    stage.wait(ms(200));
    stage.progress("listen", Progress::Final { language: None, text: "What are your opening hours?".to_owned() });
    stage.wait(ms(600));
    stage.model_says("We are open from nine to five on weekdays, and from ten to two on Saturdays.", &[]);
    stage.wait(ms(90));
    stage.progress("speak", Progress::Playing);
    for text_end in [2, 6, 11, 16] {
        stage.wait(ms(250));
        stage.progress("speak", Progress::Heard { text_end });
    }
    stage.caller_says("Thank you. Does Miller have an appointment?", SECOND, ms(200));
    stage.wait(ms(600));
    let arguments = "{\"name\": \"Miller\", \"number\": \"+628123456789\"}".to_owned();
    let check = ToolCall { arguments, id: "t1".to_owned(), name: "check_appointment".to_owned() };
    stage.model_says("Let me look.", &[check]);
    stage.wait(ms(90));
    stage.play();
    stage.complete("run_function", Outcome::Function(serde_json::json!({ "found": true, "day": "Tuesday" })));
    stage.wait(ms(500));
    let end = ToolCall { arguments: "{}".to_owned(), id: "t2".to_owned(), name: "end_call".to_owned() };
    stage.model_says("Yes, on Tuesday. Goodbye!", &[end]);
    stage.wait(ms(90));
    stage.play();
    stage.tear_down();
    assert!(stage.call.is_ended());
    stage
}

#[test]
fn a_dictated_number_is_told_to_be_waited_for_longer() {
    let mut stage = Stage::connected(policy());
    stage.wait(SECOND);
    stage.caller_says("My number is five five five", SECOND, ms(200));
    stage.wait(4 * SECOND);
    let lines = explain(stage.entries().to_vec()).unwrap();
    let timer = lines.iter().find(|line| line.name == "timer" && line.detail.starts_with("endpoint"));
    let detail = &timer.expect("the turn is over").detail;
    assert!(detail.ends_with("(endpointing.digits_delay 2000 ms)"), "{detail}");
}

fn under(stage: &Stage, path: &str, value: &str) -> offhook::journal::Rerun {
    let mut policy = policy();
    policy.set(path, value).unwrap();
    rerun(stage.entries(), policy).unwrap()
}

fn said(record: &CallRecord) -> Vec<&str> {
    record.transcript.iter().map(|entry| entry.text.as_str()).collect()
}

#[test]
fn a_journal_is_read_as_it_was_written_and_runs_to_the_same_record() {
    let stage = call();
    let journal = stage.journal();
    let read = Journal::from_file(&journal.to_file()).unwrap();
    assert_eq!(read, journal);
    let verdict = read.verify().unwrap();
    assert_eq!(verdict.difference, None);
    assert!(verdict.is_whole);
    assert_eq!(verdict.record, stage.call.record());
    assert_eq!(replay(read.entries).unwrap().call.record(), stage.call.record());
}

#[test]
fn the_writer_of_a_live_call_writes_the_same_bytes() {
    let journal = call().journal();
    let Entry::Start { at, config, offer } = journal.entries[0].clone() else { panic!("no start") };
    let (mut writer, first) = Writer::new(at, &config, &offer);
    let mut items = vec![first];
    let mut call = offhook::call::Call::new(*config, offer, at);
    for entry in &journal.entries[1..] {
        std::iter::from_fn(|| call.poll_output()).for_each(|output| writer.output(&output));
        match entry.clone() {
            Entry::End { at, .. } => items.push(writer.end(at)),
            Entry::Input { at, input } => {
                items.push(writer.input(at, &input));
                call.handle_input(at, input);
            }
            Entry::Timeout { at } => {
                items.push(writer.timeout(at));
                call.handle_timeout(at);
            }
            Entry::Start { .. } => panic!("a second start"),
        }
    }
    assert_eq!(items, journal.to_log());
}

#[test]
fn frequent_entries_take_some_bytes() {
    let journal = call().journal();
    for (entry, item) in journal.entries.iter().zip(journal.to_log()) {
        let most = match entry {
            Entry::Timeout { .. } | Entry::Input { input: Input::Progress(_, Progress::Heard { .. }), .. } => 10,
            Entry::Input { input: Input::Progress(_, Progress::Interim { .. }), .. } => 30,
            Entry::Input { input: Input::Progress(_, Progress::SpeechStarted { .. }), .. } => 12,
            _ => continue,
        };
        assert!(item.len() <= most, "{entry:?} takes {}", item.len());
    }
}

#[test]
fn a_minute_of_conversation_takes_less_than_four_kilobytes() {
    let stage = machine::conversation(20);
    let minutes = stage.call.record().duration_ms as f64 / 60_000.0;
    let items = stage.journal().to_log();
    let bytes: usize = items.iter().skip(1).map(|item| item.len() + 1).sum();
    let inputs = stage.entries().iter().filter_map(|entry| match entry {
        Entry::Input { at, input } => Some(serde_json::json!({ "entry": "input", "at": at, "input": input })),
        _ => None,
    });
    let json: usize = inputs.map(|input| input.to_string().len() + 1).sum();
    let (bytes, json) = (bytes as f64 / minutes, json as f64 / minutes);
    assert!(bytes < 4_000.0 && json > 7.0 * bytes, "{bytes:.0} bytes a minute, {json:.0} as JSON");
}

#[test]
fn what_the_call_did_otherwise_is_named() {
    let mut journal = call().journal();
    let is_final =
        |entry: &Entry| matches!(entry, Entry::Input { input: Input::Progress(_, Progress::Final { .. }), .. });
    let index = journal.entries.iter().position(is_final).unwrap();
    let Entry::Input { input: Input::Progress(_, Progress::Final { text, .. }), .. } = &mut journal.entries[index]
    else {
        panic!("no transcript")
    };
    *text = "What are your opening times?".to_owned();
    let difference = journal.verify().unwrap().difference.unwrap();
    assert_eq!((difference.index, &difference.entry), (index, &journal.entries[index]));
    assert!(difference.at > SECOND && !difference.outputs.is_empty());
}

#[test]
fn another_policy_is_noticed_where_it_first_matters() {
    let mut journal = call().journal();
    let Entry::Start { config, .. } = &mut journal.entries[0] else { panic!("no start") };
    config.policy.barge_in.speech_min = ms(90);
    let difference = journal.verify().unwrap().difference.unwrap();
    assert!(matches!(difference.entry, Entry::Timeout { .. }), "{difference:?}");
}

#[test]
fn a_journal_may_end_anywhere() {
    let stage = call();
    let file = stage.journal().to_file();
    let mut whole = 0;
    for length in 0..file.len() {
        match Journal::from_file(&file[..length]) {
            Ok(journal) => {
                assert!(stage.journal().entries.starts_with(&journal.entries));
                assert_ne!(journal.tail, Tail::Unreadable);
                let verdict = journal.verify().unwrap();
                assert_eq!((verdict.difference, verdict.is_whole), (None, false));
                whole += usize::from(journal.tail == Tail::Clean);
            }
            Err(error) => assert!(error.to_string().contains("journal"), "{error}"),
        }
    }
    assert_eq!(whole, stage.journal().entries.len() - 1);
}

#[test]
fn what_is_no_journal_is_refused() {
    let refused = |file: &[u8]| Journal::from_file(file).unwrap_err().to_string();
    assert!(refused(b"Dear all").contains("not a journal"));
    assert!(refused(MAGIC).contains("does not begin with a start"));
    let file = call().journal().to_file();
    let mut other = file.clone();
    // Behind the first entry's length (two bytes), kind and time (four bytes) stands the version.
    let version = MAGIC.len() + 2 + 1 + 4;
    assert_eq!(u64::from(other[version]), offhook::journal::VERSION);
    other[version] += 1;
    assert!(refused(&other).contains("another version (version: 4)"));
}

#[test]
fn an_entry_may_be_put_in_by_somebody_who_knows_nothing_of_the_ones_before() {
    let mut stage = Stage::connected(Policy::default());
    stage.progress("listen", Progress::Interim { text: "Good morning".to_owned() });
    let mut items = stage.journal().to_log();
    let (at, input) = (stage.now + SECOND, Input::LegEnded { cause: HangupCause::NORMAL_CLEARING });
    items.push(Entry::Input { at, input: input.clone() }.encode());
    items.push(Entry::Timeout { at: at + SECOND }.encode());
    let journal = Journal::from_log(&items).unwrap();
    assert_eq!(journal.entries[journal.entries.len() - 2], Entry::Input { at, input });
    assert_eq!(journal.verify().unwrap().difference, None);
    assert_eq!(Journal::from_file(&journal.to_file()).unwrap(), journal);
}

#[test]
fn the_story_says_why() {
    let told = explain(call().journal().entries).unwrap();
    let lines: Vec<_> = told.iter().map(ToString::to_string).collect();
    let text = lines.join("\n");
    for fact in [
        "< start                inbound call",
        "< listen #4            the caller began 60 ms ago",
        "< listen #4            interim \"What are your\"",
        "= timer                endpoint, due",
        "(endpointing.delay_min 300 ms, endpointing.delay_max 1200 ms)",
        "* barge in             silent after 80 ms",
        "heard \"We are open from\", 4 pieces until",
        "> speak #7             cancelled",
        "* transcript           2 agent \"We are open from\", cut",
        "> run_function #10     check_appointment {\"name\": \"Miller\"",
        "< run_function #10     answers {\"day\":\"Tuesday\",\"found\":true}",
        "= end                  reason agent hang up",
        "* ended                completed, agent hang up, by the agent",
    ] {
        assert!(text.contains(fact), "{fact}\n{text}");
    }
    assert!(told.is_sorted_by_key(|line| line.at));
    assert!(lines.iter().all(|line| !line.contains('\n')));
}

#[test]
fn the_same_policy_changes_nothing() {
    let stage = call();
    let same = under(&stage, "endpointing.delay_min", "300ms");
    assert_eq!((same.diverged, same.left_over, same.imagined), (None, 0, 0));
    assert_eq!(same.record, stage.call.record());
}

#[test]
fn a_longer_delay_makes_turns_slower_by_what_it_is_longer() {
    let stage = call();
    let slow = under(&stage, "endpointing.delay_min", "700ms");
    assert!(slow.diverged.is_some());
    let latencies = |record: &CallRecord| record.turns.iter().map(|turn| turn.latency_ms).collect::<Vec<_>>();
    assert_eq!(latencies(&stage.call.record()), [930, 890]);
    assert_eq!(latencies(&slow.record), [1_330, 1_290]);
    assert_eq!(slow.record.end_reason, Some(EndReason::AgentHangUp));
    assert!(slow.unanswered.is_empty(), "{:?}", slow.unanswered);
    assert_eq!(Journal::seal(slow.entries).unwrap().verify().unwrap().record, slow.record);
}

#[test]
fn without_interruptions_the_agent_is_heard_to_the_end() {
    let stage = call();
    let rude = under(&stage, "barge_in.enabled", "false");
    assert!(stage.call.record().transcript[2].cut);
    assert_eq!(rude.record.barge_ins.len(), 0);
    let answer = "We are open from nine to five on weekdays, and from ten to two on Saturdays.";
    assert!(said(&rude.record).contains(&answer), "{:#?}", rude.record.transcript);
    assert_eq!(rude.record.end_reason, Some(EndReason::AgentHangUp));
    assert!(rude.imagined > 0);
}

#[test]
fn a_shorter_silence_brings_prompts_that_nobody_answered() {
    let stage = call();
    let hasty = under(&stage, "silence.timeout", "500ms");
    assert!(said(&hasty.record).iter().any(|text| text.starts_with("Are you")), "{:#?}", hasty.record);
    assert!(hasty.record.ended_at.is_some());
}

#[test]
fn a_call_that_is_cut_short_leaves_inputs_over() {
    let stage = call();
    let short = under(&stage, "duration_max", "3s");
    assert_eq!(short.record.end_reason, Some(EndReason::MaxDuration));
    assert!(short.left_over > 0);
    assert_eq!(short.record.talk_time_ms, 3_000);
}

#[test]
fn a_redacted_journal_tells_the_same_call_without_its_words() {
    let journal = call().journal();
    let redacted = redact(&journal).unwrap();
    assert_eq!(redacted.verify().unwrap().difference, None);
    let story = |journal: &Journal| explain(journal.entries.clone()).unwrap();
    let (was, now) = (story(&journal), story(&redacted));
    let shape = |line: &offhook::journal::explain::Line| (line.at, line.side, line.name.clone(), line.command);
    assert_eq!(was.iter().map(shape).collect::<Vec<_>>(), now.iter().map(shape).collect::<Vec<_>>());
    let told = String::from_utf8_lossy(&redacted.to_file()).to_lowercase();
    for word in ["miller", "tuesday", "saturdays", "weekdays", "opening", "62812", "telephone"] {
        assert!(!told.contains(word), "{word}");
    }
    for word in ["check_appointment", "end_call", "\"name\"", "\"found\":true"] {
        assert!(told.replace('\\', "").contains(word), "{word} should stay in {told}");
    }
    assert_eq!(redact(&redacted).unwrap().verify().unwrap().record.turns, journal.verify().unwrap().record.turns);
}

#[test]
fn arguments_stay_what_they_are_for_the_call() {
    for arguments in [
        "{\"a\": [1.50, -20, 1e5, true, null, \"J\\u00f6rg \\\" x\\n\"], \"b\" : \"\"}",
        "{\"a\": Miller",
        "[]",
        "\"",
        "{\"a\": \"\\",
    ] {
        let mut stage = Stage::connected(policy());
        stage.caller_says("Do I have an appointment?", SECOND, ms(400));
        let name = "check_appointment".to_owned();
        stage.model_says("", &[ToolCall { arguments: arguments.to_owned(), id: "t1".to_owned(), name }]);
        let redacted = redact(&stage.journal()).unwrap();
        let file = String::from_utf8_lossy(&redacted.to_file()).into_owned();
        assert!(!file.contains("Miller") && !file.contains("rg ") && !file.contains("1.5"), "{file}");
    }
}

#[test]
fn keys_of_objects_are_kept_only_where_they_name_fields() {
    let mut stage = Stage::connected(policy());
    stage.caller_says("Do I have an appointment?", SECOND, ms(400));
    let arguments = "{\"day\": 1, \"J\\u00f6rg 4711\": 2, \"+628123456789\" : 3}".to_owned();
    stage.model_says("", &[ToolCall { arguments, id: "t1".to_owned(), name: "check_appointment".to_owned() }]);
    let result = serde_json::json!({
        "found_by": "number",
        "people": { "+628123456789": "Tuesday", "+628123456780": "Wednesday", "ann@x.org": [{ "Ann Miller": true }] },
    });
    stage.complete("run_function", Outcome::Function(result));
    let redacted = redact(&stage.journal()).unwrap();
    let told = String::from_utf8_lossy(&redacted.to_file()).into_owned();
    for word in ["62812", "345678", "ann@", "x.org", "Ann", "Miller", "4711", "rg "] {
        assert!(!told.contains(word), "{word} in {told}");
    }
    let result = redacted.entries.iter().find_map(|entry| match entry {
        Entry::Input { input: Input::Completed(_, Outcome::Function(value)), .. } => Some(value),
        _ => None,
    });
    let result = result.unwrap();
    assert!(result["found_by"].is_string() && told.replace('\\', "").contains("\"day\""));
    assert_eq!(result["people"].as_object().unwrap().len(), 3, "different keys stay different: {result}");
}

/// The keys that the caller pressed.
fn pressed(journal: &Journal) -> String {
    let key = |entry: &Entry| match entry {
        Entry::Input { input: Input::Dtmf(key), .. } => Some(key.as_char()),
        _ => None,
    };
    journal.entries.iter().filter_map(key).collect()
}

/// The rows of keys that a call took, with what they did.
fn taken(journal: &Journal) -> Vec<(usize, Option<KeyAction>)> {
    let Some(Entry::Start { at, config, offer }) = journal.entries.first().cloned() else { panic!("no start") };
    let mut call = Call::new(*config, offer, at);
    call.explain();
    for entry in &journal.entries {
        match entry {
            Entry::Input { at, input } => call.handle_input(*at, input.clone()),
            Entry::Timeout { at } => call.handle_timeout(*at),
            Entry::End { .. } | Entry::Start { .. } => {}
        }
    }
    let row = |kind| match kind {
        DecisionKind::Keys { keys, rule } => Some((keys.len(), rule)),
        _ => None,
    };
    call.take_decisions().into_iter().filter_map(|decision| row(decision.kind)).collect()
}

fn press(stage: &mut Stage, keys: &str) {
    for key in keys.chars() {
        stage.input(Input::Dtmf(key.try_into().unwrap()));
        stage.wait(ms(200));
    }
}

/// Patterns and the variables that they set.
fn keypad(patterns: &[(&str, &str)]) -> Policy {
    let mut policy = policy();
    let rule = |(keys, name): &(&str, &str)| KeyRule {
        action: KeyAction::SetVariable { name: (*name).to_owned() },
        keys: keys.parse().unwrap(),
    };
    policy.keypad.rules = patterns.iter().map(rule).collect();
    policy
}

#[test]
fn keys_that_a_menu_names_are_hidden_where_they_are_entered() {
    let digits: Vec<String> = (0..10).map(|digit| digit.to_string()).collect();
    let menu = digits.iter().map(|digit| (digit.as_str(), "menu"));
    let mut stage = Stage::connected(keypad(&menu.chain([("xxxx#", "pin")]).collect::<Vec<_>>()));
    stage.wait(SECOND);
    press(&mut stage, "4711#");
    press(&mut stage, "2");
    stage.wait(5 * SECOND);
    press(&mut stage, "*4711");
    stage.wait(5 * SECOND);
    stage.input(Input::Control(Control::Hold));
    press(&mut stage, "4711");
    let journal = stage.journal();
    let redacted = redact(&journal).unwrap();
    assert_eq!(pressed(&journal), "4711#2*47114711");
    assert_eq!(pressed(&redacted), "0000#2*00000000");
    let name = |name: &str| Some(KeyAction::SetVariable { name: name.to_owned() });
    assert_eq!(taken(&redacted), [(5, name("pin")), (1, name("menu")), (5, None)]);
    let told = String::from_utf8_lossy(&redacted.to_file()).into_owned();
    assert!(
        !told.contains("4711") && !explain(redacted.entries).unwrap().iter().any(|line| line.detail.contains("4711"))
    );
}

#[test]
fn other_keys_leave_the_call_what_it_was() {
    // One digit alone keeps a row waiting for a longer one, or must not.
    let mut stage = Stage::connected(keypad(&[("x", "any"), ("12", "both")]));
    stage.wait(SECOND);
    for keys in ["1", "12", "17"] {
        press(&mut stage, keys);
        stage.wait(5 * SECOND);
    }
    let journal = stage.journal();
    let redacted = redact(&journal).unwrap();
    assert_eq!(taken(&redacted), taken(&journal));
    assert_eq!(pressed(&redacted), "11210");
}

/// The words of at least four letters that people, the model and the prompts say, without those by which a call decides.
fn words(journal: &Journal) -> BTreeSet<String> {
    let deciding =
        ["about", "could", "five", "good", "hello", "morning", "number", "please", "that", "then", "three", "what"];
    let texts = journal.entries.iter().filter_map(|entry| match entry {
        Entry::Input { input: Input::Progress(_, progress), .. } => match progress {
            Progress::Final { text, .. } | Progress::Interim { text } => Some(text.clone()),
            Progress::Generated(LlmEvent::Text(text)) => Some(text.clone()),
            Progress::Generated(LlmEvent::ToolCall(call)) => Some(call.arguments.clone()),
            _ => None,
        },
        Entry::Input { input: Input::Control(Control::Say { text, .. }), .. } => Some(text.clone()),
        Entry::Input { input: Input::Control(Control::Transfer { brief, .. }), .. } => Some(brief.clone()),
        Entry::Input { input: Input::Completed(_, Outcome::Function(value)), .. } => Some(value.to_string()),
        Entry::Start { config, .. } => {
            let greeting = config.greeting.clone().unwrap_or_default();
            Some([greeting, config.system_prompt.clone(), config.policy.apology.clone()].join(" "))
        }
        _ => None,
    });
    let texts: Vec<_> = texts.map(|text| text.to_lowercase()).collect();
    let words = texts.iter().flat_map(|text| text.split(|character: char| !character.is_alphanumeric()));
    let names = ["check", "appointment", "target", "desk", "doctor", "digits", "language", "name", "some"];
    let told = words.filter(|word| word.chars().count() >= 4 && !deciding.contains(word) && !names.contains(word));
    told.map(str::to_owned).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_call_is_kept_and_verified(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let journal = offhook_testkit::chaos::journal(&bytes);
        let read = Journal::from_file(&journal.to_file()).unwrap();
        prop_assert_eq!(&read, &journal);
        let verdict = read.verify().unwrap();
        prop_assert_eq!(verdict.difference, None);
        explain(read.entries.clone()).unwrap();
    }

    #[test]
    fn any_call_under_another_policy_comes_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..400), delay in 0..2_000_u64) {
        let journal = offhook_testkit::chaos::journal(&bytes);
        let Some(Entry::Start { config, .. }) = journal.entries.first() else { panic!("no start") };
        let mut policy = config.policy.clone();
        let same = rerun(&journal.entries, policy.clone()).unwrap();
        prop_assert_eq!(same.diverged, None);
        policy.endpointing.delay_min = ms(delay);
        let other = rerun(&journal.entries, policy).unwrap();
        if other.diverged.is_some() {
            prop_assert!(other.record.end_reason.is_some());
        }
    }

    #[test]
    fn any_call_is_redacted_and_stays_the_same_call(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let journal = offhook_testkit::chaos::journal(&bytes);
        let redacted = redact(&journal).unwrap();
        prop_assert_eq!(redacted.verify().unwrap().difference, None);
        let left = words(&redacted).intersection(&words(&journal)).cloned().collect::<Vec<_>>();
        prop_assert!(left.is_empty(), "{:?}", left);
    }

    #[test]
    fn a_damaged_journal_breaks_nothing(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut items: Vec<Vec<u8>> = call().journal().to_log().iter().map(|item| item.to_vec()).collect();
        for (index, byte) in changes {
            let item = index.get(&items).len();
            let number = index.index(items.len());
            let place = usize::from(byte) % item;
            items[number][place] = items[number][place].wrapping_add(byte | 1);
        }
        if let Ok(journal) = Journal::from_log(&items) {
            prop_assert_eq!(&Journal::from_file(&journal.to_file()).unwrap().entries, &journal.entries);
            let _ = (journal.verify(), explain(journal.entries.clone()), redact(&journal));
            let _ = rerun(&journal.entries, policy());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut items = Stage::new(machine::config(Policy::default()), machine::inbound()).journal().to_log();
        items.push(bytes.clone().into());
        if let Ok(journal) = Journal::from_log(&items) {
            let _ = journal.verify();
            prop_assert_eq!(&Journal::from_log(journal.to_log()).unwrap().entries, &journal.entries);
        }
        let _ = Journal::from_file(&[MAGIC, &bytes].concat());
    }
}
