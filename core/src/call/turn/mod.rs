//! Whose turn it is: Listening → Hearing → Endpointing → Thinking → Speaking.

mod barge_in;
mod caller;
mod early;
mod endpointing;
mod filler;
mod hold;
mod language;
mod pause;
mod reply;
mod speech;

use std::collections::VecDeque;

use self::early::Early;
use self::pause::Pause;
use super::answer::Answer;
use super::dialogue::Dialogue;
use super::echo::Echo;
use super::function::Functions;
use super::input::{Failure, Outcome, Progress};
use super::outbox::Role;
use super::output::{Command, CommandId};
use super::record::{BargeInRecord, EndReason, FunctionRecord, TurnRecord};
use super::screening::Greeting;
use super::shared::Shared;
use super::timer::Timer;
use super::transfer::Wish;
use crate::error::ErrorKind;
use crate::time::Instant;

/// Longest transcript of one turn of the caller, in bytes; what is longer is cut.
const CALLER_TEXT_BYTES_MAX: usize = 16 * 1024;

/// Failures in a row of model, recogniser or synthesiser before the call is given up.
const FAILURES_MAX: u32 = 3;

/// Answers of the model in one turn, so that tools cannot go round for ever.
const ROUNDS_MAX: u32 = 8;

/// Turns, interruptions and functions that a record lists; later ones are not listed.
const RECORDS_MAX: usize = 1_000;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Nobody speaks.
    Listening,
    /// The caller speaks.
    Hearing,
    /// The caller has stopped, perhaps only for breath.
    Endpointing,
    /// The model or a function works.
    Thinking,
    /// The agent's speech is on its way or heard.
    Speaking,
}

/// What the caller said and nobody has answered.
#[derive(Debug, Default)]
struct Pending {
    text: String,
    began: Option<Instant>,
    /// Words that are not settled.
    interim: String,
    /// How sure the recogniser is that the turn is over.
    turn_end_percent: Option<u8>,
    /// The agent's own words were heard.
    was_echo: bool,
}

/// Failures in a row.
#[derive(Debug, Default)]
struct Failures {
    model: u32,
    recogniser: u32,
    synthesiser: u32,
}

/// What follows once the agent has said what it had to say.
#[derive(Clone, Debug)]
pub(super) enum AfterSpeech {
    /// The end.
    End(EndReason),
    /// The end, as the model wants it for now.
    HangUp,
    /// Somebody else takes the call.
    Transfer(Wish),
}

/// A stretch of an utterance that is said as one.
#[derive(Clone, Copy, Debug)]
struct Piece {
    item: usize,
    /// Where it begins in its utterance, and where it ends.
    start: usize,
    end: usize,
    /// It must be heard to its end.
    protected: bool,
}

/// A piece that is on its way to the caller.
#[derive(Debug)]
struct Speech {
    command: CommandId,
    piece: Piece,
}

#[derive(Debug)]
pub(super) struct Turn {
    state: State,
    pub(super) dialogue: Dialogue,
    listen: Option<CommandId>,
    /// When the caller began to speak, if the caller speaks.
    caller_speaks: Option<Instant>,
    /// When the caller last began to speak.
    caller_began: Option<Instant>,
    caller_stopped: Option<Instant>,
    /// The caller speaks by words alone: no sound was detected.
    is_soundless: bool,
    /// Speech has ended whose transcript has not come.
    awaits_final: bool,
    pending: Pending,
    answer: Option<Answer>,
    early: Option<Early>,
    early_attempts: u32,
    echo: Echo,
    /// Phrases that were said in this turn while a function kept the caller waiting.
    fillers: u32,
    functions: Functions,
    /// The greeting is being said.
    greets: bool,
    /// The recogniser tells words while they are being said.
    interims_seen: bool,
    /// What the call has changed to.
    language: Option<String>,
    next_filler: usize,
    pause: Option<Pause>,
    speech: VecDeque<Speech>,
    /// When the agent's current utterance was begun.
    utterance_began: Option<Instant>,
    /// The first sound of the current turn's answer is still to come.
    awaits_sound: bool,
    after_speech: Option<AfterSpeech>,
    /// The line is on hold: nothing is heard, and nothing is begun but what [`Turn::say`] is told.
    on_hold: bool,
    /// Words of that recognition that were taken without its settling them.
    taken_unsettled: Option<(CommandId, Vec<String>)>,
    /// The turn that a sound before its answer took back.
    taken_back: Option<String>,
    /// Functions that keys have called.
    keys_told: u32,
    /// A noise or an echo has silenced this utterance: only words interrupt what is left of it.
    words_only: bool,
    failures: Failures,
    rounds: u32,
    silence_prompts: u32,
    /// The call is being wound up: nothing is begun any more.
    stopped: bool,
    request: Option<AfterSpeech>,
    pub(super) turns: Vec<TurnRecord>,
    pub(super) barge_ins: Vec<BargeInRecord>,
}

impl Turn {
    pub(super) fn new() -> Self {
        Self {
            state: State::Listening,
            dialogue: Dialogue::default(),
            listen: None,
            caller_speaks: None,
            caller_began: None,
            caller_stopped: None,
            is_soundless: false,
            awaits_final: false,
            pending: Pending::default(),
            answer: None,
            early: None,
            early_attempts: 0,
            echo: Echo::default(),
            fillers: 0,
            functions: Functions::default(),
            greets: false,
            interims_seen: false,
            language: None,
            next_filler: 0,
            pause: None,
            speech: VecDeque::new(),
            utterance_began: None,
            awaits_sound: false,
            after_speech: None,
            on_hold: false,
            taken_unsettled: None,
            taken_back: None,
            keys_told: 0,
            words_only: false,
            failures: Failures::default(),
            rounds: 0,
            silence_prompts: 0,
            stopped: false,
            request: None,
            turns: Vec::new(),
            barge_ins: Vec::new(),
        }
    }

    /// What the conversation wants of the call, once.
    pub(super) fn take_request(&mut self) -> Option<AfterSpeech> {
        self.request.take()
    }

    pub(super) fn functions(&self) -> Vec<FunctionRecord> {
        self.functions.records()
    }

    /// The media is open: listen.
    pub(super) fn listen(&mut self, shared: &mut Shared) {
        self.start_listening(shared);
    }

    /// The conversation begins.
    pub(super) fn begin(&mut self, now: Instant, heard: &Greeting, shared: &mut Shared) {
        self.on_hold = false;
        self.caller_speaks = heard.began.filter(|_| heard.stopped.is_none());
        self.caller_stopped = heard.stopped;
        self.pending.began = self.pending.began.or(heard.began);
        self.awaits_final = heard.stopped.is_some() && heard.text.is_empty();
        match shared.config.greeting.clone() {
            Some(greeting) => {
                let interruptible = shared.config.policy.barge_in.greeting;
                self.commit_pending(now, shared);
                self.say(now, &greeting, interruptible, shared);
                self.greets = true;
            }
            None if self.caller_speaks.is_some() => self.become_hearing(now, shared),
            None if heard.stopped.is_some() => self.become_endpointing(now, shared),
            None => self.become_listening(now, shared),
        }
    }

    /// Lets the agent say something of its own accord.
    pub(super) fn say(&mut self, now: Instant, text: &str, interruptible: bool, shared: &mut Shared) {
        if text.trim().is_empty() {
            if self.pause.is_none() && self.speech.is_empty() && self.answer.is_none() && !self.functions.are_running()
            {
                self.utterance_finished(now, shared);
            }
            return;
        }
        let item = match (&self.answer, self.speech.back()) {
            // It is heard before what the answer has yet to say.
            (Some(answer), _) => answer.item,
            (None, Some(speech)) if speech.piece.protected != interruptible => speech.piece.item,
            (None, _) => {
                let calling = self.dialogue.calling().filter(|_| self.functions.are_running() && interruptible);
                calling.unwrap_or_else(|| self.dialogue.open_agent())
            }
        };
        self.speak(now, item, text, interruptible, shared);
    }

    /// The call is over for the caller: stop everything but the recogniser, whose last words still count.
    pub(super) fn stop(&mut self, now: Instant, shared: &mut Shared) {
        self.stopped = true;
        self.drop_early(now, shared);
        self.silence_agent(now, shared);
        self.functions.cancel(shared);
        shared.outbox.cancel_role(Role::Finalize);
        if shared.outbox.is_open(Role::Listen) {
            shared.outbox.start(Command::FinishListening);
        }
    }

    /// No more transcripts will come: what was not answered is still said.
    pub(super) fn conclude(&mut self, now: Instant, shared: &mut Shared) {
        self.settle_interim(now, shared);
        self.commit_pending(now, shared);
    }

    pub(super) fn progress(&mut self, now: Instant, id: CommandId, progress: Progress, shared: &mut Shared) {
        match progress {
            Progress::Final { text, .. } if self.stopped => self.append_last_words(now, &text, shared),
            _ if self.stopped => {}
            Progress::Beep
            | Progress::Consult(_)
            | Progress::Dial(_)
            | Progress::MachineTone
            | Progress::Queued { .. } => {}
            Progress::EndOfTurn { .. } | Progress::Final { .. } | Progress::Interim { .. } if self.on_hold => {}
            Progress::SpeechEnded { at } if self.on_hold => {
                self.caller_stopped = Some(at.min(now));
                self.caller_speaks = None;
            }
            Progress::SpeechStarted { at } if self.on_hold => self.caller_speaks = Some(at.min(now)),
            Progress::EndOfTurn { percent } => self.turn_end_judged(now, percent, shared),
            Progress::Final { language, text } => self.transcribed(now, &text, language.as_deref(), shared),
            Progress::Generated(event) => self.generated(now, id, event, shared),
            Progress::Heard { text_end } => self.heard(now, id, text_end, shared),
            Progress::Interim { text } => self.interim(now, &text, shared),
            Progress::Playing => self.playing(now, id, shared),
            Progress::SpeechEnded { at } => self.caller_stops(now, at.min(now), shared),
            Progress::SpeechStarted { at } => self.caller_starts(now, at.min(now), shared),
        }
    }

    pub(super) fn completed(&mut self, now: Instant, id: CommandId, role: Role, outcome: Outcome, shared: &mut Shared) {
        match role {
            _ if self.stopped => {}
            Role::Generate if self.early_failed(now, id, shared) => {}
            Role::Generate => self.generation_failed(now, ErrorKind::Unexpected, shared),
            Role::Listen => self.deaf(now, shared),
            Role::RunFunction | Role::SendDigits => {
                let result = match outcome {
                    Outcome::Function(value) => value,
                    _ if role == Role::SendDigits => serde_json::json!({ "ok": true }),
                    _ => serde_json::Value::Null,
                };
                self.function_finished(now, id, result, shared);
            }
            Role::Speak => self.spoken(now, id, shared),
            _ => {}
        }
    }

    pub(super) fn failed(&mut self, now: Instant, id: CommandId, role: Role, failure: &Failure, shared: &mut Shared) {
        match role {
            _ if self.stopped => {}
            Role::Generate if self.early_failed(now, id, shared) => {}
            Role::Generate => self.generation_failed(now, failure.kind, shared),
            Role::Listen | Role::Speak if failure.kind == ErrorKind::Unsupported && self.language.is_some() => {
                self.language_failed(now, role, shared);
            }
            Role::Listen => self.deaf(now, shared),
            Role::RunFunction | Role::SendDigits => {
                let result = serde_json::json!({ "error": failure.kind });
                self.function_finished(now, id, result, shared);
            }
            Role::Speak => self.speech_failed(now, shared),
            _ => {}
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, timer: Timer, shared: &mut Shared) {
        match timer {
            Timer::BargeIn => self.consider_interruption(now, shared),
            Timer::Endpoint => self.endpoint(now, shared),
            Timer::Filler => self.fill(now, shared),
            Timer::Function => self.functions_timed_out(now, shared),
            Timer::Reply => self.generation_failed(now, ErrorKind::TimedOut, shared),
            Timer::Resume => self.resume_timed_out(now, shared),
            Timer::Silence => self.silence(now, shared),
            Timer::Speech => self.speech_failed(now, shared),
            Timer::Transcript => self.transcript_missing(now, shared),
            _ => {}
        }
    }
}

fn join(left: &str, right: &str) -> String {
    match (left.is_empty(), right.is_empty()) {
        (true, _) => right.to_owned(),
        (_, true) => left.to_owned(),
        _ => format!("{left} {right}"),
    }
}

fn clamp(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}
