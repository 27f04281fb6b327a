//! Whoever picks up in the sandbox: what they do, frame by frame, without I/O and without a clock.

use std::time::Duration;

use crate::ear::{Ear, PAUSE};
use crate::number::Number;

/// How long somebody who picked up waits for a voice before asking whether anybody is there.
const HELLO_PATIENCE: Duration = Duration::from_millis(1_500);

/// How long somebody waits for an answer before going on without one.
const PATIENCE: Duration = Duration::from_secs(8);

/// From the last word to the hang-up.
const LINGER: Duration = Duration::from_millis(500);

/// From the answer to a machine's greeting, and from there to its beep.
const MACHINE_PAUSE: Duration = Duration::from_millis(300);

/// The longest message that a machine takes.
pub(crate) const MESSAGE_MAX: Duration = Duration::from_secs(60);

/// A machine hangs up after so much silence.
pub(crate) const MESSAGE_SILENCE: Duration = Duration::from_secs(10);

/// How often the key is pressed, at most.
const PRESSES_MAX: u32 = 5;

/// Somebody at the line.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    number: Number,
    /// Lines that were said, a machine's beep included.
    said: usize,
    /// When the last of them was over.
    since: Duration,
    lines: usize,
    presses: u32,
    said_hello: bool,
    was_speaking: bool,
}

/// What somebody does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Act {
    Beep,
    HangUp,
    PressOne,
    Say(Phrase),
}

/// What is said, of the script.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Phrase {
    Goodbye,
    Hello,
    Line(usize),
    Unfinished,
    Voicemail,
}

/// How far the mouth is with what it says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mouth {
    /// Past the middle.
    Ending,
    /// Not yet at the middle.
    Speaking,
    Still,
}

impl Person {
    /// At that number, with so many lines to say.
    pub(crate) fn new(number: Number, lines: usize) -> Self {
        Self { number, said: 0, since: Duration::ZERO, lines, presses: 0, said_hello: false, was_speaking: false }
    }

    /// What to do after a frame; `asked` when the agent has just asked for the key.
    pub(crate) fn next_act(&mut self, ear: &Ear, mouth: Mouth, asked: bool) -> Option<Act> {
        if asked && self.number == Number::PressesOne && self.presses < PRESSES_MAX {
            self.presses += 1;
            return Some(Act::PressOne);
        }
        let is_speaking = mouth != Mouth::Still;
        if std::mem::replace(&mut self.was_speaking, is_speaking) && !is_speaking {
            self.since = ear.now();
        }
        let act = match self.number {
            Number::HangsUp if mouth == Mouth::Ending && self.said > 0 => Some(Act::HangUp),
            _ if is_speaking => None,
            Number::Converses => self.converse(ear),
            Number::HangsUp if self.said == 0 && self.may_speak(ear) => Some(Act::Say(Phrase::Unfinished)),
            Number::Voicemail => self.greet(ear),
            _ => None,
        };
        if matches!(act, Some(Act::Beep | Act::Say(_))) {
            self.was_speaking = true;
            self.said += usize::from(act != Some(Act::Say(Phrase::Hello)));
        }
        act
    }

    fn converse(&mut self, ear: &Ear) -> Option<Act> {
        let is_first = self.said == 0 && !self.said_hello;
        if is_first && !ear.is_talking() && ear.silent_for() >= HELLO_PATIENCE && !ear.has_ended_since(Duration::ZERO) {
            self.said_hello = true;
            return Some(Act::Say(Phrase::Hello));
        }
        if self.said > self.lines {
            return (ear.now() - self.since >= LINGER).then_some(Act::HangUp);
        }
        let next = if self.said < self.lines { Phrase::Line(self.said) } else { Phrase::Goodbye };
        self.may_speak(ear).then_some(Act::Say(next))
    }

    /// A machine's greeting, its beep, and its end.
    fn greet(&self, ear: &Ear) -> Option<Act> {
        let waited = ear.now() - self.since;
        match self.said {
            0 => (waited >= MACHINE_PAUSE).then_some(Act::Say(Phrase::Voicemail)),
            1 => (waited >= MACHINE_PAUSE).then_some(Act::Beep),
            _ => (waited >= MESSAGE_MAX || waited.min(ear.silent_for()) >= MESSAGE_SILENCE).then_some(Act::HangUp),
        }
    }

    /// The agent has said something and come to an end, or will not say anything.
    fn may_speak(&self, ear: &Ear) -> bool {
        let waited = ear.silent_for().min(ear.now() - self.since);
        !ear.is_talking() && (ear.has_ended_since(self.since) || waited >= PATIENCE + PAUSE)
    }
}
