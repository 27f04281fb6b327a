//! `offhook replay` on journals of calls that were held in virtual time.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use offhook::call::{Input, Outcome, Policy, Progress};
use offhook::journal::{Entry, Journal, MAGIC};
use offhook::provider::llm::ToolCall;
use offhook_testkit::machine::Stage;
use serde_json::Value;
use tempfile::TempDir;

const SECOND: Duration = Duration::from_secs(1);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A question, an answer that is interrupted, a function, and a goodbye.
fn journal() -> Journal {
    let mut policy = Policy::default();
    policy.early_generation.attempts_max = 0;
    let mut stage = Stage::connected(policy);
    stage.wait(SECOND);
    stage.caller_says("What are your opening hours?", SECOND, ms(250));
    stage.wait(ms(700));
    stage.model_says("We are open from nine to five on weekdays.", &[]);
    stage.wait(ms(90));
    stage.progress("speak", Progress::Playing);
    stage.wait(SECOND);
    stage.progress("speak", Progress::Heard { text_end: "We are open from".len() });
    stage.caller_says("Does Miller have an appointment?", SECOND, ms(250));
    stage.wait(ms(700));
    let tool = |name: &str, arguments: &str| ToolCall {
        arguments: arguments.to_owned(),
        id: name.to_owned(),
        name: name.to_owned(),
    };
    stage.model_says("", &[tool("check_appointment", "{\"phone_number\":\"+628123456789\"}")]);
    stage.wait(ms(300));
    stage.complete("run_function", Outcome::Function(serde_json::json!({ "day": "Tuesday" })));
    stage.wait(ms(700));
    stage.model_says("Yes, on Tuesday. Goodbye!", &[tool("end_call", "{}")]);
    stage.wait(ms(90));
    stage.play();
    stage.tear_down();
    stage.journal()
}

/// The journal in a file of its own.
fn kept(journal: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("call.offhook");
    fs::write(&path, journal).unwrap();
    (folder, path)
}

#[test]
fn a_call_replays_to_the_byte() {
    let journal = journal();
    let (_folder, path) = kept(&journal.to_file());
    let verdict = journal.verify().unwrap();
    let line = succeeds(&[path.to_str().unwrap()]);
    assert_eq!(line, format!("ok: {} inputs, {} outputs, identical\n", verdict.inputs, verdict.outputs));
    let json: Value = serde_json::from_str(&succeeds(&[path.to_str().unwrap(), "--json"])).unwrap();
    assert_eq!((&json["identical"], &json["whole"]), (&Value::from(true), &Value::from(true)));
    assert_eq!(json["outputs"], verdict.outputs);
    assert_eq!(json["difference"], Value::Null);
}

#[test]
fn a_call_that_is_not_what_it_was_is_named() {
    let mut journal = journal();
    let is_final =
        |entry: &Entry| matches!(entry, Entry::Input { input: Input::Progress(_, Progress::Final { .. }), .. });
    let index = journal.entries.iter().position(is_final).unwrap();
    let Entry::Input { input: Input::Progress(_, Progress::Final { text, .. }), .. } = &mut journal.entries[index]
    else {
        panic!("no transcript")
    };
    *text = "What are your opening times?".to_owned();
    let (_folder, path) = kept(&journal.to_file());
    let line = fails(&[path.to_str().unwrap()]);
    assert!(line.starts_with(&format!("entry {index} at 3.030 s is answered otherwise")), "{line}");
    assert!(line.ends_with("listen final \"What are your opening times?\""), "{line}");
    let (code, stdout, _) = offhook(&[path.to_str().unwrap(), "--json"]);
    let json: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &json["identical"], &json["difference"]["entry"]), (1, &Value::from(false), &Value::from(index)));
}

#[test]
fn a_journal_may_be_cut_off() {
    let file = journal().to_file();
    let (_folder, path) = kept(&file[..file.len() * 9 / 10]);
    let line = succeeds(&[path.to_str().unwrap()]);
    assert!(line.ends_with("identical so far; the journal ends before the call does\n"), "{line}");
}

#[test]
fn a_folder_stands_for_its_latest_call() {
    let folder = tempfile::tempdir().unwrap();
    let calls = folder.path().join("journals/tenant");
    fs::create_dir_all(&calls).unwrap();
    fs::write(calls.join("0190.offhook"), MAGIC).unwrap();
    fs::write(calls.join("0191.offhook"), journal().to_file()).unwrap();
    fs::write(calls.join("0192.txt"), "Dear all").unwrap();
    assert!(succeeds(&[folder.path().to_str().unwrap()]).starts_with("ok: "));
}

#[test]
fn what_cannot_be_read_is_said_in_one_line() {
    let refused = |bytes: &[u8]| {
        let (_folder, path) = kept(bytes);
        fails(&[path.to_str().unwrap()])
    };
    assert_eq!(refused(b"Dear all"), "the file is not a journal");
    assert_eq!(refused(MAGIC), "the journal does not begin with a start");
    let mut other = journal().to_file();
    let version = MAGIC.len() + 2 + 1 + 4;
    other[version] += 1;
    let another = format!("the journal is of another version (version: {})", other[version]);
    assert_eq!(refused(&other), another);
    let mut unreadable = journal().to_file();
    unreadable.extend([3, 0x3f, 0, 0]);
    assert!(refused(&unreadable).contains("cannot be read; those before it are identical"));
    let folder = tempfile::tempdir().unwrap();
    assert!(fails(&[folder.path().to_str().unwrap()]).contains("there is no journal in it"));
    assert!(fails(&["nowhere.offhook"]).contains("cannot read nowhere.offhook"));
}

#[test]
fn the_story_is_told_in_order_with_its_figures() {
    let (_folder, path) = kept(&journal().to_file());
    let story = succeeds(&[path.to_str().unwrap(), "--explain"]);
    for fact in [
        "    0.000 < start                inbound call",
        "    0.000 > speak #5             \"Good morning.\"",
        "    3.030 < listen #4            final \"What are your opening hours?\"",
        "    3.030 = endpoint             delay 300 ms, reason complete, waited 250 ms",
        "= timer                endpoint, due 3.080 (endpointing.delay_min 300 ms, endpointing.delay_max 1200 ms)",
        "* barge in             silent after 80 ms",
        "answers {\"day\":\"Tuesday\"}",
        "= end                  reason agent hang up",
    ] {
        assert!(story.contains(fact), "{fact}\n{story}");
    }
    let lines: Value = serde_json::from_str(&succeeds(&[path.to_str().unwrap(), "--explain", "--json"])).unwrap();
    assert_eq!(lines.as_array().unwrap().len(), story.lines().count());
    assert_eq!(lines[0]["side"], "input");
}

#[test]
fn another_policy_shows_what_would_have_changed() {
    let (_folder, path) = kept(&journal().to_file());
    let path = path.to_str().unwrap();
    let text = succeeds(&[path, "--set", "endpointing.delay_min=700ms"]);
    for fact in [
        "with endpointing.delay_min=700ms, the call goes another way from entry",
        "answered after   1040, 2040 ms                1440, 2440 ms",
        "ended by         agent hang up",
    ] {
        assert!(text.contains(fact), "{fact}\n{text}");
    }
    assert!(text.lines().last().unwrap().contains("this is a model, not the call"), "{text}");
    let text = succeeds(&[path, "--set", "barge_in.enabled=false", "--set", "silence.timeout=20s"]);
    assert!(text.contains("interruptions    1                            0"), "{text}");
    assert!(text.contains("+     3.820 agent  We are open from nine to five on weekdays.\n"), "{text}");
    assert!(text.contains("played on at the call's own pace"), "{text}");
    assert!(succeeds(&[path, "--set", "warning.before=20s"]).contains("would have changed nothing"));
    let text = succeeds(&[path, "--set", "warning.before=596s"]);
    assert!(text.contains("We have half a minute left."), "a warning that was not set has its defaults: {text}");
    assert!(succeeds(&[path, "--set", "apology=What?"]).contains("would have changed nothing"));
    let json: Value =
        serde_json::from_str(&succeeds(&[path, "--json", "--set", "endpointing.delay_min=700ms"])).unwrap();
    assert_eq!(json["now"]["turns"][0]["latency_ms"], 1_440);
}

#[test]
fn a_policy_that_does_not_exist_names_its_neighbours() {
    let (_folder, path) = kept(&journal().to_file());
    let refused = |setting: &str| fails(&[path.to_str().unwrap(), "--set", setting]);
    assert!(refused("endpointing.delay_mim=1s").contains("nearest: endpointing.delay_min"));
    assert!(refused("endpointing.delay_min=1").contains("400ms"));
}

#[test]
fn a_redacted_journal_replays_without_its_words() {
    let (folder, path) = kept(&journal().to_file());
    let out = folder.path().join("redacted.offhook");
    let (path, out) = (path.to_str().unwrap(), out.to_str().unwrap());
    assert!(succeeds(&[path, "--redact", out]).contains("which replays in the same way"));
    assert_eq!(succeeds(&[out]), succeeds(&[path]));
    let story = succeeds(&[out, "--explain"]);
    for word in ["Miller", "Tuesday", "opening", "628123456789", "telephone"] {
        assert!(!contains(Path::new(out), word) && !story.contains(word), "{word}");
    }
    assert!(fails(&[path, "--redact", out]).contains("cannot write"), "nothing is overwritten");
}

fn contains(path: &Path, word: &str) -> bool {
    fs::read(path).unwrap().windows(word.len()).any(|window| window == word.as_bytes())
}

/// Exit code, stdout and stderr.
fn offhook(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offhook"));
    let output = command.arg("replay").args(arguments).env_remove("RUST_LOG").output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn succeeds(arguments: &[&str]) -> String {
    let (code, stdout, stderr) = offhook(arguments);
    assert_eq!((code, stderr.as_str()), (0, ""), "{arguments:?}");
    stdout
}

/// What the program complains of, in one line.
fn fails(arguments: &[&str]) -> String {
    let (code, stdout, stderr) = offhook(arguments);
    assert_eq!((code, stdout.as_str()), (1, ""), "{arguments:?}: {stderr}");
    let [line] = stderr.lines().collect::<Vec<_>>()[..] else { panic!("not one line: {stderr}") };
    line.strip_prefix("offhook: ").expect("the program names itself").to_owned()
}
