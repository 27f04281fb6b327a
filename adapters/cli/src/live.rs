//! The call on the terminal while it runs: both sides with the time, how long answers took, interruptions and functions.

use std::time::Duration;

use offhook::call::{CallEvent, CallEventKind, Phase, Speaker, TranscriptEntry};

use crate::terminal::{Output, Palette};

/// Tells a call, line by line.
#[derive(Debug)]
pub struct Live {
    output: Output,
    palette: Palette,
    /// What was printed of each entry of the transcript.
    printed: Vec<String>,
}

impl Live {
    /// To `output`.
    pub fn new(output: Output) -> Self {
        Self { output, palette: output.palette(), printed: Vec::new() }
    }

    /// Says something that is no event of the call.
    pub fn note(&self, text: &str) {
        self.output.line(Palette::paint(self.palette.dim, text));
    }

    /// Tells an event.
    pub fn tell(&mut self, event: &CallEvent) {
        for line in self.lines(event) {
            self.output.line(line);
        }
    }

    fn lines(&mut self, event: &CallEvent) -> Vec<String> {
        let dim = self.palette.dim;
        let text = match &event.kind {
            CallEventKind::BargeIn { reaction } => {
                format!("interrupted: the agent is told to be silent {} ms into it", reaction.as_millis())
            }
            CallEventKind::FunctionFinished { name, result } => format!("{name} answers {result}"),
            CallEventKind::FunctionStarted { name, parameters } => format!("{name} is called with {parameters}"),
            CallEventKind::Phase { phase: phase @ (Phase::Ringing | Phase::Connected | Phase::Ending) } => {
                phase.to_string()
            }
            CallEventKind::Problem { command, message, .. } => {
                return vec![self.line(
                    event.at,
                    "",
                    Palette::paint(self.palette.warning, format!("{command}: {message}")),
                )];
            }
            CallEventKind::Transcript { index, entry } => return self.entry(*index, entry).into_iter().collect(),
            CallEventKind::TranscriptTruncated { length } => {
                self.printed.truncate(*length);
                return Vec::new();
            }
            CallEventKind::TurnAnswered { latency } => format!("answered after {} ms", latency.as_millis()),
            _ => return Vec::new(),
        };
        vec![self.line(event.at, "", Palette::paint(dim, text))]
    }

    /// What is new of an entry: the agent's grows sentence by sentence, as it is heard.
    fn entry(&mut self, index: usize, entry: &TranscriptEntry) -> Option<String> {
        self.printed.resize(self.printed.len().max(index + 1), String::new());
        let known = std::mem::replace(&mut self.printed[index], entry.text.clone());
        let (is_new, news) = match entry.text.strip_prefix(&known) {
            Some(rest) => (known.is_empty(), rest.trim_start()),
            None => (true, entry.text.as_str()),
        };
        if news.is_empty() && !entry.cut {
            return None;
        }
        let (name, style) = match entry.speaker {
            Speaker::Agent => ("agent", self.palette.agent),
            Speaker::Caller => ("caller", self.palette.caller),
        };
        let end = if entry.cut { " \u{2014}" } else { "" };
        let name = if is_new { name } else { "" };
        Some(self.line(Duration::from_millis(entry.at_ms), name, Palette::paint(style, format!("{news}{end}"))))
    }

    fn line(&self, at: Duration, name: &str, text: String) -> String {
        let time = Palette::paint(self.palette.dim, format!("{:6.1}", at.as_secs_f64()));
        format!("{time}  {name:<6}  {text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(speaker: Speaker, text: &str, cut: bool) -> TranscriptEntry {
        TranscriptEntry { at_ms: 1_250, cut, speaker, text: text.to_owned() }
    }

    fn told(live: &mut Live, kind: CallEventKind) -> Vec<String> {
        live.lines(&CallEvent { at: Duration::from_millis(2_000), kind })
    }

    #[test]
    fn an_utterance_grows_and_is_cut() {
        let mut live = Live::new(Output::Nowhere);
        let mut heard = |text: &str, cut| {
            told(&mut live, CallEventKind::Transcript { index: 0, entry: entry(Speaker::Agent, text, cut) })
        };
        assert_eq!(heard("We are open.", false), ["   1.2  agent   We are open."]);
        assert_eq!(heard("We are open. On Sunday", true), ["   1.2          On Sunday \u{2014}"]);
    }

    #[test]
    fn a_turn_that_is_taken_back_is_told_anew() {
        let mut live = Live::new(Output::Nowhere);
        let said = |text: &str| CallEventKind::Transcript { index: 0, entry: entry(Speaker::Caller, text, false) };
        assert_eq!(told(&mut live, said("I want")), ["   1.2  caller  I want"]);
        assert!(told(&mut live, CallEventKind::TranscriptTruncated { length: 0 }).is_empty());
        assert_eq!(told(&mut live, said("I want an appointment.")), ["   1.2  caller  I want an appointment."]);
    }

    #[test]
    fn latency_and_interruption_are_told() {
        let mut live = Live::new(Output::Nowhere);
        let latency = Duration::from_micros(812_900);
        assert_eq!(told(&mut live, CallEventKind::TurnAnswered { latency }), ["   2.0          answered after 812 ms"]);
        let reaction = Duration::from_millis(140);
        assert!(told(&mut live, CallEventKind::BargeIn { reaction })[0].contains("140 ms"));
    }
}
