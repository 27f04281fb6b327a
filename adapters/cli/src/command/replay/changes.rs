//! What another policy would have changed, for people and for machines.

use std::fmt::Write as _;

use offhook::call::record::EndReason;
use offhook::call::{CallRecord, Speaker, TranscriptEntry};
use offhook::journal::explain::{Line, Side, explain};
use offhook::journal::{Entry, Rerun, replay};
use serde_json::{Value, json};

use crate::args::Setting;
use crate::failure::Outcome;

/// The real call and the other one.
pub(super) struct Changes {
    /// What was first done otherwise: what it was, and what it would have been.
    first: (Option<Line>, Option<Line>),
    other: Rerun,
    real: CallRecord,
}

/// A line of the transcript that only one of two calls has, or both.
enum Said<'a> {
    Both,
    Now(&'a TranscriptEntry),
    Was(&'a TranscriptEntry),
}

impl Changes {
    /// Of the call of `entries`.
    pub(super) fn new(entries: &[Entry], other: Rerun) -> Outcome<Self> {
        let real = replay(entries.iter().cloned())?.call.record();
        let told = |entries: &[Entry]| -> Outcome<Vec<Line>> {
            let lines = explain(entries.iter().cloned())?;
            Ok(lines.into_iter().filter(|line| matches!(line.side, Side::Command | Side::Event)).collect())
        };
        let (was, now) = (told(entries)?, told(&other.entries)?);
        let same = was.iter().zip(&now).take_while(|(was, now)| is_same(was, now)).count();
        let first = (was.into_iter().nth(same), now.into_iter().nth(same));
        Ok(Self { first, other, real })
    }

    /// One line of JSON.
    pub(super) fn to_json(&self) -> Value {
        let call = |record: &CallRecord| {
            json!({
                "barge_ins": record.barge_ins,
                "duration_ms": record.duration_ms,
                "end_reason": record.end_reason,
                "talk_time_ms": record.talk_time_ms,
                "transcript": record.transcript,
                "turns": record.turns,
            })
        };
        json!({
            "diverged": self.other.diverged,
            "first": { "was": self.first.0, "now": self.first.1 },
            "was": call(&self.real),
            "now": call(&self.other.record),
            "imagined_speech": self.other.imagined,
            "left_over_inputs": self.other.left_over,
            "unanswered": self.other.unanswered,
        })
    }

    /// Some lines for people. The last says what to believe.
    pub(super) fn to_text(&self, settings: &[Setting]) -> String {
        let settings: Vec<_> = settings.iter().map(|set| format!("{}={}", set.path, set.value)).collect();
        let Some(diverged) = self.other.diverged else {
            return format!("{} would have changed nothing", settings.join(" "));
        };
        let mut text = format!("with {}, the call goes another way from entry {diverged} on\n", settings.join(" "));
        let (was, now) = &self.first;
        let line = |line: &Option<Line>| line.as_ref().map_or("        nothing".to_owned(), ToString::to_string);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  was {}\n  now {}\n", line(was), line(now));
        let _ = writeln!(text, "{:<16} {:<28} now", "", "was");
        for (name, was, now) in self.rows() {
            let _ = writeln!(text, "{name:<16} {was:<28} {now}");
        }
        for said in said(&self.real.transcript, &self.other.record.transcript) {
            let (mark, entry) = match said {
                Said::Both => continue,
                Said::Now(entry) => ('+', entry),
                Said::Was(entry) => ('-', entry),
            };
            let _ = writeln!(text, "{mark} {}", spoken(entry));
        }
        let _ = write!(text, "\n{}", self.caveat(diverged));
        text
    }

    fn rows(&self) -> Vec<(&'static str, String, String)> {
        let row = |name, of: fn(&CallRecord) -> String| (name, of(&self.real), of(&self.other.record));
        vec![
            row("ended by", |record| record.end_reason.map_or("nothing yet".to_owned(), in_words)),
            row("duration", |record| format!("{:.3} s", record.duration_ms as f64 / 1e3)),
            row("talk", |record| format!("{:.3} s", record.talk_time_ms as f64 / 1e3)),
            row("turns", |record| record.turns.len().to_string()),
            row("answered after", latencies),
            row("interruptions", |record| record.barge_ins.len().to_string()),
        ]
    }

    fn caveat(&self, diverged: usize) -> String {
        let Rerun { imagined, left_over, unanswered, .. } = &self.other;
        let mut caveat = format!(
            "From entry {diverged} on this is a model, not the call: the caller does what the caller did, whatever is \
             said; each command is answered as the next of its kind was, after the same delay"
        );
        if *imagined > 0 {
            let _ = write!(caveat, "; speech that was cut off is played on at the call's own pace ({imagined})");
        }
        if *left_over > 0 {
            let _ = write!(caveat, "; inputs for commands that never came to be are stale ({left_over})");
        }
        if !unanswered.is_empty() {
            let names: Vec<_> = unanswered.iter().copied().collect();
            let _ = write!(caveat, "; nothing answers {}, which runs into its time-out", names.join(", "));
        }
        caveat + "."
    }
}

fn is_same(was: &Line, now: &Line) -> bool {
    (was.at, &was.name, was.command, &was.detail) == (now.at, &now.name, now.command, &now.detail)
}

fn latencies(record: &CallRecord) -> String {
    let latencies: Vec<_> = record.turns.iter().map(|turn| turn.latency_ms.to_string()).collect();
    if latencies.is_empty() { "-".to_owned() } else { format!("{} ms", latencies.join(", ")) }
}

fn in_words(reason: EndReason) -> String {
    let name = serde_json::to_value(reason).unwrap_or_default();
    name.as_str().unwrap_or_default().replace('_', " ")
}

fn spoken(entry: &TranscriptEntry) -> String {
    let speaker = match entry.speaker {
        Speaker::Agent => "agent ",
        Speaker::Caller => "caller",
    };
    let cut = if entry.cut { " (cut)" } else { "" };
    format!("{:>9.3} {speaker} {}{cut}", entry.at_ms as f64 / 1e3, entry.text)
}

/// Both transcripts in one list: what they share in its order (the longest common subsequence), and the rest between.
fn said<'a>(was: &'a [TranscriptEntry], now: &'a [TranscriptEntry]) -> Vec<Said<'a>> {
    let same = |i: usize, j: usize| {
        let (was, now) = (&was[i], &now[j]);
        (was.speaker, &was.text, was.cut) == (now.speaker, &now.text, now.cut)
    };
    let mut lengths = vec![vec![0_u32; now.len() + 1]; was.len() + 1];
    for i in (0..was.len()).rev() {
        for j in (0..now.len()).rev() {
            lengths[i][j] =
                if same(i, j) { lengths[i + 1][j + 1] + 1 } else { lengths[i + 1][j].max(lengths[i][j + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut said = Vec::new();
    while i < was.len() || j < now.len() {
        if i < was.len() && j < now.len() && same(i, j) {
            said.push(Said::Both);
            (i, j) = (i + 1, j + 1);
        } else if j == now.len() || i < was.len() && lengths[i + 1][j] >= lengths[i][j + 1] {
            said.push(Said::Was(&was[i]));
            i += 1;
        } else {
            said.push(Said::Now(&now[j]));
            j += 1;
        }
    }
    said
}
