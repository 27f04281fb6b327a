//! Who picked up, and what a machine is told.

use super::policy::{OnMachine, Screening, Voicemail};
use super::record::AnsweredBy;
use super::timer::{Timer, Timers};
use crate::time::Instant;

/// What machines say, in lower case; a person who picks up hardly says so.
const MACHINE_PHRASES: [&str; 18] = [
    "after the beep",
    "after the tone",
    "at the tone",
    "cannot take your call",
    "can't come to the phone",
    "can't take your call",
    "leave a message",
    "leave me a message",
    "leave your message",
    "mailbox",
    "the number you have dialed",
    "voice mail",
    "voicemail",
    "you are trying to reach",
    "you're trying to reach",
    "kotak suara",
    "tidak dapat dihubungi",
    "tinggalkan pesan",
];

/// What the assistants of telephones ask. A person asks for a name or a reason, and not so.
const ASSISTANT_PHRASES: [&str; 7] = [
    "if you record your name",
    "name and reason for calling",
    "name and why you're calling",
    "say your name and",
    "screening service",
    "state your name and",
    "sebutkan nama dan",
];

/// What they say while they fetch their owner.
const HOLDING_PHRASES: [&str; 5] = ["hold on", "is available", "please hold", "stay on the line", "thank"];

/// All phrases that tell who it is.
pub(super) fn phrases() -> impl Iterator<Item = &'static str> {
    MACHINE_PHRASES.into_iter().chain(ASSISTANT_PHRASES).chain(HOLDING_PHRASES)
}

/// Listens to whoever picked up, until it is clear who that is and what to do.
#[derive(Debug)]
pub(super) struct Screener {
    /// A machine has beeped before it was known for one.
    has_beeped: bool,
    policy: Screening,
    state: State,
    pub(super) greeting: Greeting,
}

/// The first words of whoever picked up.
#[derive(Clone, Debug, Default)]
pub(super) struct Greeting {
    pub(super) began: Option<Instant>,
    /// When its last words were settled, unless it went on since.
    settled: Option<Instant>,
    pub(super) stopped: Option<Instant>,
    pub(super) text: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Nothing was heard.
    Waiting,
    /// The greeting goes on, or its words are still to come.
    Greeting,
    /// A machine: its beep is to come before this.
    Beep { deadline: Instant },
    /// A phone's assistant knows who calls: its owner is to come.
    Owner,
}

/// What became clear.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// Who picked up.
    AnsweredBy(AnsweredBy),
    /// The beep was heard, or will not come: leave the message.
    Beeped,
    /// The assistant's owner did not come.
    OwnerAbsent,
}

impl Screener {
    pub(super) fn new(now: Instant, policy: Screening, timers: &mut Timers) -> Self {
        timers.set(Timer::Screening, now + policy.wait_max);
        Self { has_beeped: false, policy, state: State::Waiting, greeting: Greeting::default() }
    }

    pub(super) fn on_machine(&self) -> &OnMachine {
        &self.policy.on_machine
    }

    /// What a phone's assistant is told.
    pub(super) fn introduction(&self) -> Option<&str> {
        self.policy.introduction.as_deref()
    }

    /// From now on, waits for the beep.
    pub(super) fn await_beep(&mut self, now: Instant, voicemail: &Voicemail, timers: &mut Timers) {
        let deadline = now + voicemail.beep_timeout;
        self.state = State::Beep { deadline };
        let was_greeted = self.greeting.began.is_some();
        let deadline = match self.greeting.stopped {
            // Its greeting is over, and so is its beep.
            _ if self.has_beeped && was_greeted => now,
            None if was_greeted => deadline,
            _ => deadline.min(now + voicemail.silence),
        };
        timers.set(Timer::Screening, deadline);
    }

    /// What is heard now is an assistant's, until it is clear that its owner speaks.
    pub(super) fn awaits_owner(&self) -> bool {
        self.state == State::Owner
    }

    /// From now on, waits for the assistant's owner.
    pub(super) fn await_owner(&mut self, now: Instant, timers: &mut Timers) {
        self.state = State::Owner;
        self.greeting = Greeting::default();
        timers.set(Timer::Screening, now + self.policy.owner_timeout);
    }

    pub(super) fn speech_started(&mut self, at: Instant, timers: &mut Timers) {
        self.greeting.stopped = None;
        self.greeting.settled = None;
        match self.state {
            State::Beep { deadline } => timers.set(Timer::Screening, deadline),
            State::Greeting | State::Waiting => {
                self.state = State::Greeting;
                let began = *self.greeting.began.get_or_insert(at);
                timers.set(Timer::Screening, began + self.policy.greeting_max);
            }
            State::Owner => self.greeting.began = self.greeting.began.or(Some(at)),
        }
    }

    pub(super) fn speech_ended(&mut self, at: Instant, timers: &mut Timers) -> Option<Verdict> {
        self.greeting.stopped = Some(at);
        match (self.state, &self.policy.on_machine) {
            (State::Beep { deadline }, OnMachine::LeaveMessage(voicemail)) => {
                timers.set(Timer::Screening, deadline.min(at + voicemail.silence));
            }
            (State::Greeting, _) if !self.greeting.text.is_empty() => {
                return classify(&self.greeting.text).map(Verdict::AnsweredBy);
            }
            (State::Greeting, _) => timers.set(Timer::Screening, at + self.policy.words_timeout),
            _ => {}
        }
        None
    }

    /// Words that are not settled: what sounds like an assistant is heard out, however long it talks.
    pub(super) fn guess(&mut self, now: Instant, text: &str, timers: &mut Timers) {
        if !text.trim().is_empty() {
            self.greeting.settled = None;
        }
        let is_assistant = classify(text) == Some(AnsweredBy::Assistant) && self.policy.introduction.is_some();
        if is_assistant && self.state == State::Greeting && self.greeting.stopped.is_none() {
            timers.set(Timer::Screening, now + self.policy.owner_timeout);
        }
    }

    /// Settled words: guesses are not enough to hang up on somebody.
    pub(super) fn words(&mut self, now: Instant, text: &str, timers: &mut Timers) -> Option<Verdict> {
        let all = format!("{} {}", self.greeting.text, text.trim()).trim().to_owned();
        let heard = classify(&all).filter(|_| !text.trim().is_empty())?;
        match (self.state, heard) {
            (State::Beep { .. }, _) => None,
            // What the assistant said before it was told who calls, or says while it fetches its owner.
            (State::Owner, _) if self.greeting.began.is_none() || says(text, &HOLDING_PHRASES) => {
                self.greeting = Greeting::default();
                None
            }
            (State::Owner, AnsweredBy::Assistant) => None,
            (State::Owner, heard) => {
                self.greeting.text = all;
                Some(Verdict::AnsweredBy(heard))
            }
            (_, heard) => {
                self.greeting.text = all;
                // A person may turn out to be a machine that talks on, and an assistant is to be heard out.
                let is_clear = heard == AnsweredBy::Machine || self.greeting.stopped.is_some();
                if !is_clear {
                    self.greeting.settled = Some(now);
                    timers.put_off(Timer::Screening, now + self.policy.words_timeout);
                }
                is_clear.then_some(Verdict::AnsweredBy(heard))
            }
        }
    }

    pub(super) fn beeped(&mut self) -> Option<Verdict> {
        self.has_beeped = true;
        match self.state {
            State::Beep { .. } => Some(Verdict::Beeped),
            // Nobody greets with a beep.
            State::Greeting | State::Waiting => Some(Verdict::AnsweredBy(AnsweredBy::Machine)),
            State::Owner => None,
        }
    }

    /// No person makes such a tone, and no machine before its beep.
    pub(super) fn toned(&self) -> Option<Verdict> {
        matches!(self.state, State::Greeting | State::Waiting).then_some(Verdict::AnsweredBy(AnsweredBy::Machine))
    }

    pub(super) fn handle_timeout(&self, now: Instant) -> Verdict {
        // The end of speech may get lost: words that were settled and not gone on with are over as well.
        let settled = |at: Instant| now.saturating_since(at) >= self.policy.words_timeout;
        let is_over = self.greeting.stopped.is_some() || self.greeting.settled.is_some_and(settled);
        match self.state {
            State::Beep { .. } => Verdict::Beeped,
            State::Greeting if is_over => {
                Verdict::AnsweredBy(classify(&self.greeting.text).unwrap_or(AnsweredBy::Human))
            }
            State::Greeting => Verdict::AnsweredBy(AnsweredBy::Machine),
            State::Owner => Verdict::OwnerAbsent,
            State::Waiting => Verdict::AnsweredBy(AnsweredBy::Unknown),
        }
    }
}

/// Who says such a thing; `None` for no words at all.
fn classify(text: &str) -> Option<AnsweredBy> {
    if text.trim().is_empty() {
        None
    } else if says(text, &ASSISTANT_PHRASES) {
        Some(AnsweredBy::Assistant)
    } else if says(text, &MACHINE_PHRASES) {
        Some(AnsweredBy::Machine)
    } else {
        Some(AnsweredBy::Human)
    }
}

fn says(text: &str, phrases: &[&str]) -> bool {
    let text = text.to_lowercase().replace('\u{2019}', "'");
    phrases.iter().any(|phrase| text.contains(phrase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_and_assistants_are_known_by_their_words() {
        let says = |text| classify(text).unwrap();
        assert_eq!(says("Hello?"), AnsweredBy::Human);
        assert_eq!(says("Hi, who is this?"), AnsweredBy::Human);
        assert_eq!(says("Who are you trying to reach?"), AnsweredBy::Human);
        assert_eq!(says("May I ask the reason for calling?"), AnsweredBy::Human);
        assert_eq!(says("Please leave a message after the tone."), AnsweredBy::Machine);
        assert_eq!(says("We can\u{2019}t take your call right now"), AnsweredBy::Machine);
        let assistant = "If you record your name and reason for calling, I will see if this person is available.";
        assert_eq!(says(assistant), AnsweredBy::Assistant);
        assert_eq!(classify("  "), None);
    }
}
