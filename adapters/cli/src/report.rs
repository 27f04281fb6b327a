//! What became of a call, for people and for machines.

use std::fmt::Write as _;
use std::path::PathBuf;

use offhook::call::record::{FunctionRecord, TurnRecord};
use offhook::call::{CallRecord, LedgerSummary, TranscriptEntry};
use serde::Serialize;

use crate::caller::CallersView;
use crate::peers::ReceivedWebhook;
use crate::terminal::Palette;

/// A whole call. Its JSON is what `--json` prints; the names are kept stable.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The record in short.
    pub call: CallSummary,
    /// Both sides.
    pub transcript: Vec<TranscriptEntry>,
    /// Each answered turn.
    pub turns: Vec<TurnRecord>,
    /// The caller's interruption; `null` when there was none.
    pub barge_in: Option<BargeIn>,
    /// Each function that was called.
    pub functions: Vec<FunctionRecord>,
    /// Prepaid talk time; `null` when the call could not be settled.
    pub ledger: Option<Ledger>,
    /// Each event, as its receiver got it.
    pub webhooks: Vec<ReceivedWebhook>,
    /// The stereo recording: the caller on the left, the agent on the right.
    pub recording: Option<String>,
    /// What else was kept.
    pub files: Files,
    /// What was understood of each item, for `offhook call`.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub recognition: Option<Recognition>,
}

/// The record in short.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallSummary {
    /// The call.
    pub id: String,
    /// How it ended.
    pub status: String,
    /// From the ring to the end.
    pub duration_ms: u64,
    /// From the answer to the end.
    pub talk_time_ms: u64,
    /// Why it ended, by name.
    pub hangup_cause: Option<String>,
    /// Why it ended, as ITU-T Q.850 counts.
    pub hangup_cause_q850: Option<u8>,
    /// Who ended it.
    pub hangup_party: Option<String>,
}

/// An interruption.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct BargeIn {
    /// On the caller's own line: from the caller's first sound to the agent's last.
    pub reaction_ms: u64,
    /// In the engine: from the caller's first sound to the order to be silent.
    pub engine_reaction_ms: Option<u64>,
}

/// Prepaid talk time.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Ledger {
    /// Of all figures: milliseconds.
    pub unit: &'static str,
    /// Available before the hold.
    pub before: i64,
    /// Held for the call.
    pub held: i64,
    /// Taken for the call.
    pub settled: i64,
    /// Available after the settlement.
    pub after: i64,
}

/// Where things are.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Files {
    /// The folder of all of them.
    pub folder: PathBuf,
    /// SQLite.
    pub database: PathBuf,
    /// The call's journal, for `offhook replay`.
    pub journal: PathBuf,
    /// Raw bodies and headers of the webhooks, and the secret that verifies them.
    pub webhooks: PathBuf,
}

/// What was understood.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recognition {
    /// Item by item.
    pub recognition: Vec<RecognizedItem>,
    /// Word errors by reference words, over all items with a reference; `null` without any.
    pub wer: Option<f64>,
}

/// What was understood of an item.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RecognizedItem {
    /// As it was given.
    pub item: String,
    /// What is said in it.
    pub reference: Option<String>,
    /// What was heard; `null` when the call was over before it.
    pub heard: Option<String>,
    /// Word errors by reference words.
    pub wer: Option<f64>,
}

impl Report {
    /// The report of a settled call.
    pub fn new(
        record: &CallRecord,
        ledger: Option<LedgerSummary>,
        view: &CallersView,
        webhooks: Vec<ReceivedWebhook>,
        files: Files,
    ) -> Self {
        let reaction = view.barge_in_reaction;
        Self {
            call: CallSummary {
                id: record.id.to_string(),
                status: record.status.to_string(),
                duration_ms: record.duration_ms,
                talk_time_ms: record.talk_time_ms,
                hangup_cause: record.hangup_cause.map(|cause| cause.to_string()),
                hangup_cause_q850: record.hangup_cause.map(|cause| cause.value()),
                hangup_party: record.hangup_party.map(|party| party.to_string()),
            },
            transcript: record.transcript.clone(),
            turns: record.turns.clone(),
            barge_in: reaction.map(|reaction| BargeIn {
                reaction_ms: offhook::time::millis(reaction),
                engine_reaction_ms: record.barge_ins.first().map(|barge_in| barge_in.reaction_ms),
            }),
            functions: record.functions.clone(),
            ledger: ledger.map(Ledger::from),
            webhooks,
            recording: record.recording.clone(),
            files,
            recognition: None,
        }
    }

    /// One line of JSON.
    pub fn to_json(&self) -> String {
        // Numbers, texts and maps with text keys: this cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Some lines for people.
    pub fn to_text(&self, palette: Palette) -> String {
        let mut text = String::new();
        let mut line = |title: &str, content: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{} {content}", Palette::paint(palette.strong, format!("{title:<12}")));
        };
        line("Call", self.call.id.clone());
        line("", self.call.in_words());
        if !self.turns.is_empty() {
            let latencies: Vec<_> = self.turns.iter().map(|turn| turn.latency_ms.to_string()).collect();
            line("Turns", format!("{} answered after {} ms", self.turns.len(), latencies.join(", ")));
        }
        if let Some(barge_in) = self.barge_in {
            line(
                "Barge-in",
                format!("the agent was silent {} ms after the caller's first sound", barge_in.reaction_ms),
            );
        }
        for function in &self.functions {
            let result = function.result.as_ref().map_or("no answer".to_owned(), ToString::to_string);
            line("Function", format!("{} {} -> {result}", function.name, function.parameters));
        }
        match self.ledger {
            Some(ledger) => line("Ledger", ledger.in_words()),
            None => line("Ledger", Palette::paint(palette.warning, "not settled")),
        }
        for webhook in &self.webhooks {
            let (style, verdict) =
                if webhook.verified { (palette.good, "verified") } else { (palette.warning, "NOT VERIFIED") };
            let attempts = if webhook.attempts == 1 { "attempt" } else { "attempts" };
            let verdict = Palette::paint(style, format!("signature {verdict}"));
            line("Webhook", format!("{:<14} {verdict}, {} {attempts}", webhook.event, webhook.attempts));
        }
        if let Some(Recognition { recognition, wer }) = &self.recognition {
            for item in recognition {
                line("Item", item.in_words());
            }
            if let Some(wer) = wer {
                line("Word errors", format!("{:.1} %", wer * 100.0));
            }
        }
        if let Some(recording) = &self.recording {
            line("Recording", format!("{recording} (caller left, agent right)"));
        }
        line("Kept in", self.files.folder.display().to_string());
        text.trim_end().to_owned()
    }
}

impl CallSummary {
    fn in_words(&self) -> String {
        let party = self.hangup_party.as_deref().unwrap_or("nobody");
        let cause = self.hangup_cause.as_deref().unwrap_or("unknown");
        let (duration, talk) = (seconds(self.duration_ms as f64), seconds(self.talk_time_ms as f64));
        format!("{}, {duration} long, {talk} of talk, ended by the {party} ({cause})", self.status)
    }
}

impl Ledger {
    fn in_words(&self) -> String {
        let [before, held, settled, after] =
            [self.before, self.held, self.settled, self.after].map(|amount| seconds(amount as f64));
        format!("{before} before, {held} held, {settled} settled, {after} after")
    }
}

impl From<LedgerSummary> for Ledger {
    fn from(ledger: LedgerSummary) -> Self {
        Self { unit: "ms", before: ledger.before, held: ledger.held, settled: ledger.settled, after: ledger.after }
    }
}

impl RecognizedItem {
    fn in_words(&self) -> String {
        let heard = match &self.heard {
            Some(heard) if heard.is_empty() => "nothing was understood".to_owned(),
            Some(heard) => format!("{heard:?}"),
            None => "the call was over before it".to_owned(),
        };
        let wer = self.wer.map_or(String::new(), |wer| format!(" ({:.1} % word errors)", wer * 100.0));
        format!("{}: {heard}{wer}", self.item)
    }
}

fn seconds(millis: f64) -> String {
    format!("{:.3} s", millis / 1_000.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use offhook::call::Speaker;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_json_has_the_promised_names() {
        let report = report();
        let value: Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(
            value,
            json!({
                "call": {
                    "id": "0190", "status": "completed", "duration_ms": 31_005, "talk_time_ms": 31_000,
                    "hangup_cause": "normal_clearing", "hangup_cause_q850": 16, "hangup_party": "agent",
                },
                "transcript": [{ "speaker": "agent", "text": "Good", "at_ms": 40, "cut": true }],
                "turns": [{ "latency_ms": 900 }],
                "barge_in": { "reaction_ms": 151, "engine_reaction_ms": 130 },
                "functions": [{ "name": "f", "parameters": { "a": 1 }, "result": { "b": 2 } }],
                "ledger": { "unit": "ms", "before": 600_000, "held": 300_000, "settled": 31_000, "after": 569_000 },
                "webhooks": [{ "event": "call.ended", "verified": true, "attempts": 1 }],
                "recording": "/tmp/x.wav",
                "files": { "folder": "/tmp", "database": "/tmp/db", "journal": "/tmp/j", "webhooks": "/tmp/w" },
            })
        );
        assert!(!report.to_json().contains('\n'));
    }

    #[test]
    fn recognition_stands_beside_the_rest() {
        let item = RecognizedItem {
            item: "a.wav".to_owned(),
            reference: Some("one two".to_owned()),
            heard: Some("one".to_owned()),
            wer: Some(0.5),
        };
        let recognition = Recognition { recognition: vec![item], wer: Some(0.5) };
        let report = Report { recognition: Some(recognition), ..report() };
        let value: Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(value["wer"], 0.5);
        assert_eq!(
            value["recognition"][0],
            json!({ "item": "a.wav", "reference": "one two", "heard": "one", "wer": 0.5 })
        );
        let text = report.to_text(Palette::PLAIN);
        assert!(text.contains("a.wav: \"one\" (50.0 % word errors)"), "{text}");
    }

    #[test]
    fn the_text_says_what_matters() {
        let text = report().to_text(Palette::PLAIN);
        for fact in [
            "completed, 31.005 s long, 31.000 s of talk, ended by the agent (normal_clearing)",
            "silent 151 ms after",
            "600.000 s before, 300.000 s held, 31.000 s settled, 569.000 s after",
            "call.ended     signature verified, 1 attempt",
            "/tmp/x.wav",
        ] {
            assert!(text.contains(fact), "{fact} in {text}");
        }
        assert!(!text.contains('\u{1b}'));
    }

    fn report() -> Report {
        Report {
            call: CallSummary {
                id: "0190".to_owned(),
                status: "completed".to_owned(),
                duration_ms: 31_005,
                talk_time_ms: 31_000,
                hangup_cause: Some("normal_clearing".to_owned()),
                hangup_cause_q850: Some(16),
                hangup_party: Some("agent".to_owned()),
            },
            transcript: vec![TranscriptEntry {
                at_ms: 40,
                cut: true,
                speaker: Speaker::Agent,
                text: "Good".to_owned(),
            }],
            turns: vec![TurnRecord { latency_ms: 900 }],
            barge_in: Some(BargeIn {
                reaction_ms: offhook::time::millis(Duration::from_micros(151_900)),
                engine_reaction_ms: Some(130),
            }),
            functions: vec![FunctionRecord {
                name: "f".to_owned(),
                parameters: json!({ "a": 1 }),
                result: Some(json!({ "b": 2 })),
            }],
            ledger: Some(Ledger { unit: "ms", before: 600_000, held: 300_000, settled: 31_000, after: 569_000 }),
            webhooks: vec![ReceivedWebhook { event: "call.ended".to_owned(), verified: true, attempts: 1 }],
            recording: Some("/tmp/x.wav".to_owned()),
            files: Files {
                folder: "/tmp".into(),
                database: "/tmp/db".into(),
                journal: "/tmp/j".into(),
                webhooks: "/tmp/w".into(),
            },
            recognition: None,
        }
    }
}
