//! The demo as a user runs it: real sockets, real speech, in real time.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use offhook::journal::Journal;
use offhook::signing::standard::{self, Headers};
use offhook::time::Timestamp;
use serde_json::{Value, json};

#[test]
fn a_whole_call_from_ring_to_bill() {
    let folder = tempfile::tempdir().unwrap();
    let report = offhook(&["demo", "--json", "--quiet", "--keep", folder.path().to_str().unwrap()]);
    conversation_is_plausible(&report);
    figures_agree(&report);
    webhooks_verify(&report);
    both_voices_are_recorded(&report);
    journal_replays(&report);
}

#[test]
fn words_are_understood_and_the_recording_outlives_the_program() {
    let report =
        offhook(&["call", "--json", "--quiet", "--brief", "Good morning to all of you.", "What is the price?"]);
    let recognition = report["recognition"].as_array().unwrap();
    assert_eq!(recognition.len(), 2);
    assert_eq!(recognition[0]["reference"], "Good morning to all of you.");
    assert_eq!(recognition[1]["reference"], "What is the price?");
    // What the recogniser hears depends a little on where the frames cut the sound: "prize" is no failure.
    assert!(report["wer"].as_f64().unwrap() < 0.5, "{recognition:?}");
    assert_eq!(report["call"]["hangup_party"], "caller");
    both_voices_are_recorded(&report);
    fs::remove_dir_all(report["files"]["folder"].as_str().unwrap()).unwrap();
}

fn conversation_is_plausible(report: &Value) {
    let call = &report["call"];
    assert_eq!((&call["status"], &call["hangup_party"]), (&json!("completed"), &json!("agent")));
    assert_eq!(call["hangup_cause"], "normal_clearing");
    let function = &report["functions"][0];
    assert_eq!(function["name"], "check_appointment");
    assert_eq!(function["parameters"], json!({ "phone_number": "+628123456789" }));
    assert_eq!(function["result"]["found"], true);
    let entries = report["transcript"].as_array().unwrap();
    let says = |speaker: &str, words: &str| {
        let said = |entry: &&Value| {
            entry["speaker"] == speaker && entry["text"].as_str().unwrap().to_lowercase().contains(words)
        };
        entries.iter().filter(said).count() > 0
    };
    for (speaker, words) in [
        ("agent", "how can i help"),
        ("caller", "opening hours"),
        ("caller", "appointment"),
        ("agent", "tuesday"),
        ("caller", "i wanted to know"),
        ("agent", "goodbye"),
    ] {
        assert!(says(speaker, words), "the {speaker} does not say {words:?} in {entries:#?}");
    }
    let cut: Vec<_> = entries.iter().filter(|entry| entry["cut"] == true).collect();
    let [cut] = cut[..] else { panic!("not one sentence is cut in {entries:#?}") };
    let text = cut["text"].as_str().unwrap();
    assert!(text.starts_with("We are open") && !text.contains("closed"), "{text}");
    assert!(report["barge_in"]["reaction_ms"].is_u64());
    assert!(report["turns"].as_array().unwrap().len() >= 4);
}

fn figures_agree(report: &Value) {
    let (call, ledger) = (&report["call"], &report["ledger"]);
    let number = |value: &Value| value.as_i64().unwrap();
    assert_eq!(ledger["unit"], "ms");
    assert_eq!(ledger["settled"], call["talk_time_ms"]);
    assert_eq!(number(&ledger["after"]), number(&ledger["before"]) - number(&ledger["settled"]));
    assert!(number(&call["talk_time_ms"]) <= number(&call["duration_ms"]));
    assert!(number(&ledger["settled"]) <= number(&ledger["held"]));
    let folder = webhooks(report);
    let ended: Value = serde_json::from_slice(&fs::read(folder.join("04-call.ended.body.json")).unwrap()).unwrap();
    let reported = &ended["data"]["call"];
    assert_eq!(reported["id"], call["id"]);
    assert_eq!(reported["talk_time_ms"], call["talk_time_ms"]);
    assert_eq!(reported["duration_ms"], call["duration_ms"]);
    assert_eq!(reported["transcript"], report["transcript"]);
    assert_eq!(ended["data"]["ledger"]["settled"], ledger["settled"]);
    assert_eq!(ended["data"]["ledger"]["after"], ledger["after"]);
}

fn webhooks_verify(report: &Value) {
    let received: Vec<_> = report["webhooks"].as_array().unwrap().iter().collect();
    let events: Vec<_> = received.iter().map(|webhook| webhook["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["call.started", "call.answered", "function.called", "call.ended", "call.transcript"]);
    assert!(received.iter().all(|webhook| webhook["verified"] == true && webhook["attempts"].as_u64() >= Some(1)));
    let folder = webhooks(report);
    let secret = standard::parse_secret(fs::read_to_string(folder.join("secret.txt")).unwrap().trim()).unwrap();
    for (index, event) in events.iter().enumerate() {
        let stem = format!("{:02}-{event}", index + 1);
        let body = fs::read(folder.join(format!("{stem}.body.json"))).unwrap();
        let headers: Value =
            serde_json::from_slice(&fs::read(folder.join(format!("{stem}.headers.json"))).unwrap()).unwrap();
        let header = |name: &str| headers[name].as_str().unwrap().to_owned();
        let headers = Headers {
            id: header("webhook-id"),
            timestamp: header("webhook-timestamp"),
            signature: header("webhook-signature"),
        };
        let at = Timestamp::from_unix_micros(headers.timestamp.parse::<i64>().unwrap() * 1_000_000);
        standard::verify(std::slice::from_ref(&secret), &headers, &body, at).unwrap();
        let tampered = [&body[..], b" "].concat();
        assert!(standard::verify(std::slice::from_ref(&secret), &headers, &tampered, at).is_err());
    }
}

fn both_voices_are_recorded(report: &Value) {
    let wav = hound::WavReader::open(report["recording"].as_str().unwrap()).unwrap();
    let spec = wav.spec();
    assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (2, 8_000, 16));
    let samples: Vec<i16> = wav.into_samples().map(Result::unwrap).collect();
    let recorded_ms = samples.len() as u64 / 16;
    let talk_ms = report["call"]["talk_time_ms"].as_u64().unwrap();
    assert!(recorded_ms <= talk_ms + 100 && recorded_ms > talk_ms * 9 / 10, "{recorded_ms} of {talk_ms} ms");
    for channel in 0..2 {
        let loud = samples.iter().skip(channel).step_by(2).filter(|sample| sample.unsigned_abs() > 1_000).count();
        assert!(loud > 2_000, "channel {channel} is silent");
    }
}

fn journal_replays(report: &Value) {
    let journal = fs::read(report["files"]["journal"].as_str().unwrap()).unwrap();
    let verdict = Journal::from_file(&journal).unwrap().verify().unwrap();
    assert!(verdict.is_whole && verdict.difference.is_none());
    let record = verdict.record;
    assert_eq!(record.id.to_string(), report["call"]["id"].as_str().unwrap());
    assert_eq!(record.talk_time_ms, report["call"]["talk_time_ms"].as_u64().unwrap());
    assert_eq!(serde_json::to_value(&record.transcript).unwrap(), report["transcript"]);
}

fn webhooks(report: &Value) -> PathBuf {
    Path::new(report["files"]["webhooks"].as_str().unwrap()).to_owned()
}

/// Runs the program, which must succeed and print one JSON object. Returns it.
fn offhook(arguments: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offhook"));
    let output = command.args(arguments).env_remove("RUST_LOG").output().unwrap();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{stderr}{stdout}");
    assert_eq!(stderr, "");
    let [line] = stdout.lines().collect::<Vec<_>>()[..] else { panic!("not one line: {stdout}") };
    serde_json::from_str(line).unwrap()
}
