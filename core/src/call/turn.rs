//! Whose turn it is: Listening → Hearing → Endpointing → Thinking → Speaking.

use std::collections::VecDeque;
use std::time::Duration;

use super::answer::{Answer, Step};
use super::dialogue::Dialogue;
use super::function::Functions;
use super::input::{Failure, Outcome, Progress};
use super::outbox::Role;
use super::output::{CallEventKind, Command, CommandId};
use super::record::{BargeInRecord, EndReason, FunctionRecord, TurnRecord};
use super::shared::Shared;
use super::timer::Timer;
use super::{END_CALL, sentence};
use crate::error::ErrorKind;
use crate::provider::llm::{LlmEvent, LlmRequest, ToolCall};
use crate::time::{Instant, millis};

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
}

/// Failures in a row.
#[derive(Debug, Default)]
struct Failures {
    model: u32,
    recogniser: u32,
    synthesiser: u32,
}

#[derive(Debug)]
struct Speech {
    command: CommandId,
    item: usize,
    /// Where this piece begins in its utterance.
    start: usize,
    length: usize,
}

#[derive(Debug)]
pub(super) struct Turn {
    state: State,
    pub(super) dialogue: Dialogue,
    listen: Option<CommandId>,
    /// When the caller began to speak, if the caller speaks.
    caller_speaks: Option<Instant>,
    caller_stopped: Option<Instant>,
    /// Speech has ended whose transcript has not come.
    awaits_final: bool,
    pending: Pending,
    answer: Option<Answer>,
    functions: Functions,
    speech: VecDeque<Speech>,
    /// When the agent's current utterance was begun.
    utterance_began: Option<Instant>,
    /// The first sound of the current turn's answer is still to come.
    awaits_sound: bool,
    hang_up_after_speech: bool,
    failures: Failures,
    rounds: u32,
    silence_prompts: u32,
    /// The call is being wound up: nothing is begun any more.
    stopped: bool,
    end: Option<EndReason>,
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
            caller_stopped: None,
            awaits_final: false,
            pending: Pending::default(),
            answer: None,
            functions: Functions::default(),
            speech: VecDeque::new(),
            utterance_began: None,
            awaits_sound: false,
            hang_up_after_speech: false,
            failures: Failures::default(),
            rounds: 0,
            silence_prompts: 0,
            stopped: false,
            end: None,
            turns: Vec::new(),
            barge_ins: Vec::new(),
        }
    }

    /// Why the call should end, once.
    pub(super) fn take_end(&mut self) -> Option<EndReason> {
        self.end.take()
    }

    pub(super) fn functions(&self) -> Vec<FunctionRecord> {
        self.functions.records()
    }

    /// The media is open: listen.
    pub(super) fn listen(&mut self, shared: &mut Shared) {
        self.listen = Some(shared.outbox.start(Command::Listen));
    }

    /// The conversation begins.
    pub(super) fn begin(&mut self, now: Instant, shared: &mut Shared) {
        match shared.config.greeting.clone() {
            Some(greeting) => self.say(now, &greeting, shared),
            None => self.become_listening(now, shared),
        }
    }

    /// Lets the agent say something of its own accord.
    pub(super) fn say(&mut self, now: Instant, text: &str, shared: &mut Shared) {
        if text.trim().is_empty() {
            if self.speech.is_empty() && self.answer.is_none() && !self.functions.are_running() {
                self.utterance_finished(now, shared);
            }
            return;
        }
        let item = match self.speech.back() {
            Some(speech) => speech.item,
            None => self.dialogue.open_agent(),
        };
        self.speak(now, item, text, shared);
    }

    /// The call is over for the caller: stop everything but the recogniser, whose last words still count.
    pub(super) fn stop(&mut self, now: Instant, shared: &mut Shared) {
        self.stopped = true;
        self.silence_agent(now, shared);
        self.functions.cancel(shared);
        shared.outbox.cancel_role(Role::Finalize);
        if shared.outbox.is_open(Role::Listen) {
            shared.outbox.start(Command::FinishListening);
        }
    }

    /// No more transcripts will come: what was not answered is still said.
    pub(super) fn conclude(&mut self, now: Instant, shared: &mut Shared) {
        self.commit_pending(now, shared);
    }

    pub(super) fn progress(&mut self, now: Instant, id: CommandId, progress: Progress, shared: &mut Shared) {
        match progress {
            Progress::Final { text } if self.stopped => self.append_pending(now, text.trim(), shared),
            _ if self.stopped => {}
            Progress::Dial(_) => {}
            Progress::Final { text } => self.transcribed(now, &text, shared),
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
            Role::Generate => self.generation_failed(now, ErrorKind::Unexpected, shared),
            Role::Listen => self.deaf(now, shared),
            Role::RunFunction => {
                let result = match outcome {
                    Outcome::Function(value) => value,
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
            Role::Generate => self.generation_failed(now, failure.kind, shared),
            Role::Listen => self.deaf(now, shared),
            Role::RunFunction => {
                let result = serde_json::json!({ "error": failure.kind });
                self.function_finished(now, id, result, shared);
            }
            Role::Speak => self.speech_failed(now, shared),
            _ => {}
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, timer: Timer, shared: &mut Shared) {
        match timer {
            Timer::BargeIn => self.interrupt(now, shared),
            Timer::Endpoint => self.endpoint(now, shared),
            Timer::Function => self.functions_timed_out(now, shared),
            Timer::Reply => self.generation_failed(now, ErrorKind::TimedOut, shared),
            Timer::Silence => self.silence(now, shared),
            Timer::Speech => self.speech_failed(now, shared),
            Timer::Transcript => self.transcript_missing(now, shared),
            _ => {}
        }
    }
}

/// The caller.
impl Turn {
    fn caller_starts(&mut self, now: Instant, at: Instant, shared: &mut Shared) {
        self.caller_speaks.get_or_insert(at);
        shared.timers.clear(Timer::Silence);
        match self.state {
            State::Listening | State::Endpointing => self.become_hearing(shared),
            State::Hearing => {}
            State::Speaking | State::Thinking if shared.config.policy.barge_in.enabled => {
                let deadline = (at + shared.config.policy.barge_in.speech_min).max(now);
                shared.timers.set(Timer::BargeIn, deadline);
            }
            State::Speaking | State::Thinking => {}
        }
    }

    fn caller_stops(&mut self, now: Instant, at: Instant, shared: &mut Shared) {
        if self.caller_speaks.take().is_none() {
            return;
        }
        self.caller_stopped = Some(at);
        self.awaits_final = true;
        shared.timers.clear(Timer::BargeIn);
        if self.state == State::Hearing {
            self.become_endpointing(now, shared);
        }
    }

    fn interim(&mut self, now: Instant, text: &str, shared: &mut Shared) {
        let text = clamp(text, CALLER_TEXT_BYTES_MAX);
        shared.outbox.event(now, CallEventKind::Interim { text: join(&self.pending.text, text) });
    }

    fn transcribed(&mut self, now: Instant, text: &str, shared: &mut Shared) {
        if self.caller_speaks.is_none() {
            self.awaits_final = false;
        }
        let text = clamp(text.trim(), CALLER_TEXT_BYTES_MAX);
        if text.is_empty() {
            if self.state == State::Endpointing {
                self.await_endpoint(now, shared);
            }
            return;
        }
        self.failures.recogniser = 0;
        self.silence_prompts = 0;
        if self.answers_already() {
            // Words from before the agent's answer began: they belong to the turn that is being answered.
            self.pending.began = self.pending.began.or(self.caller_stopped);
            self.append_pending(now, text, shared);
            self.commit_pending(now, shared);
            return;
        }
        self.append_pending(now, text, shared);
        match self.state {
            State::Listening => self.become_endpointing(now, shared),
            State::Endpointing => self.await_endpoint(now, shared),
            State::Thinking if !self.functions.are_running() && self.caller_speaks.is_none() => {
                self.silence_agent(now, shared);
                self.become_endpointing(now, shared);
            }
            State::Hearing | State::Speaking | State::Thinking => {}
        }
    }

    /// Whether the agent is speaking since after the caller's last sound.
    fn answers_already(&self) -> bool {
        self.state == State::Speaking
            && self.caller_speaks.is_none()
            && self.caller_stopped.is_some_and(|stopped| self.utterance_began.is_some_and(|began| stopped <= began))
    }

    fn append_pending(&mut self, now: Instant, text: &str, shared: &mut Shared) {
        self.pending.began = self.pending.began.or(self.caller_speaks).or(self.caller_stopped).or(Some(now));
        let joined = join(&self.pending.text, text);
        self.pending.text = clamp(&joined, CALLER_TEXT_BYTES_MAX).to_owned();
        shared.outbox.event(now, CallEventKind::Interim { text: self.pending.text.clone() });
    }

    fn become_hearing(&mut self, shared: &mut Shared) {
        self.state = State::Hearing;
        self.pending.began = self.pending.began.or(self.caller_speaks);
        for timer in [Timer::BargeIn, Timer::Endpoint, Timer::Silence, Timer::Transcript] {
            shared.timers.clear(timer);
        }
    }

    fn become_endpointing(&mut self, now: Instant, shared: &mut Shared) {
        self.state = State::Endpointing;
        shared.timers.clear(Timer::Silence);
        self.await_endpoint(now, shared);
    }

    /// Decides when the caller's turn is over, from what is known now.
    fn await_endpoint(&mut self, now: Instant, shared: &mut Shared) {
        let endpointing = &shared.config.policy.endpointing;
        let stopped = self.caller_stopped.unwrap_or(now);
        let transcript_timeout = stopped + endpointing.transcript_timeout;
        let complete = sentence::is_complete(&self.pending.text);
        let delay = if complete { endpointing.delay_min } else { endpointing.delay_max };
        if self.awaits_final {
            shared.timers.set(Timer::Endpoint, stopped + endpointing.delay_min);
            shared.timers.set(Timer::Transcript, transcript_timeout.max(now));
            return;
        }
        shared.timers.clear(Timer::Transcript);
        if self.pending.text.is_empty() {
            shared.timers.clear(Timer::Endpoint);
            self.become_listening(now, shared);
        } else if stopped + delay <= now {
            self.take_turn(now, shared);
        } else {
            shared.timers.set(Timer::Endpoint, stopped + delay);
        }
    }

    fn endpoint(&mut self, now: Instant, shared: &mut Shared) {
        if self.state != State::Endpointing {
            return;
        }
        if self.awaits_final {
            if !shared.outbox.is_open(Role::Finalize) {
                shared.outbox.start(Command::Finalize);
            }
            return;
        }
        self.take_turn(now, shared);
    }

    fn transcript_missing(&mut self, now: Instant, shared: &mut Shared) {
        self.awaits_final = false;
        if self.state != State::Endpointing {
            return;
        }
        if self.pending.text.is_empty() {
            self.become_listening(now, shared);
        } else {
            self.take_turn(now, shared);
        }
    }

    fn deaf(&mut self, now: Instant, shared: &mut Shared) {
        self.caller_stops(now, now, shared);
        self.failures.recogniser += 1;
        if self.is_usable(self.failures.recogniser) {
            self.listen(shared);
        }
    }

    fn silence(&mut self, now: Instant, shared: &mut Shared) {
        if self.state != State::Listening {
            return;
        }
        let silence = &shared.config.policy.silence;
        let prompt = silence.prompt.clone().filter(|_| self.silence_prompts < silence.prompts_max);
        match prompt {
            Some(prompt) => {
                self.silence_prompts += 1;
                self.say(now, &prompt, shared);
            }
            None => self.end = Some(EndReason::Silence),
        }
    }
}

/// The agent's answer.
impl Turn {
    fn take_turn(&mut self, now: Instant, shared: &mut Shared) {
        self.state = State::Thinking;
        for timer in [Timer::Endpoint, Timer::Silence, Timer::Transcript] {
            shared.timers.clear(timer);
        }
        self.rounds = 0;
        self.awaits_sound = true;
        if self.functions.are_running() {
            return;
        }
        self.commit_pending(now, shared);
        self.generate(now, shared);
    }

    fn commit_pending(&mut self, now: Instant, shared: &mut Shared) {
        let pending = std::mem::take(&mut self.pending);
        if pending.text.is_empty() {
            return;
        }
        let at = shared.since_start(pending.began.unwrap_or(now));
        self.dialogue.push_caller(pending.text, at);
        self.tell_entry(now, self.dialogue.last(), shared);
    }

    fn generate(&mut self, now: Instant, shared: &mut Shared) {
        self.state = State::Thinking;
        self.rounds += 1;
        if self.rounds > ROUNDS_MAX {
            self.apologise(now, shared);
            return;
        }
        let tools = shared.config.tools.iter().cloned().chain([super::end_call_tool()]).collect();
        let messages = self.dialogue.messages(&shared.config.system_prompt);
        let request = LlmRequest::new(messages).with_tools(tools);
        let command = shared.outbox.start(Command::Generate(Box::new(request)));
        shared.timers.set(Timer::Reply, now + shared.config.policy.reply_timeout);
        self.answer = Some(Answer::new(command, self.dialogue.open_agent()));
    }

    fn generated(&mut self, now: Instant, id: CommandId, event: LlmEvent, shared: &mut Shared) {
        let Some(answer) = self.answer.as_mut().filter(|answer| answer.command == id) else {
            return;
        };
        let item = answer.item;
        shared.timers.set(Timer::Reply, now + shared.config.policy.reply_timeout);
        match answer.take(event) {
            Step::Continue { ready } => {
                for text in ready {
                    self.speak(now, item, &text, shared);
                }
            }
            Step::Finished { rest, tool_calls } => {
                self.answer = None;
                shared.timers.clear(Timer::Reply);
                shared.outbox.cancel(id);
                if let Some(text) = rest {
                    self.speak(now, item, &text, shared);
                }
                self.answered(now, item, tool_calls, shared);
            }
        }
    }

    /// The model has finished: run its tools, or wait for its speech to be heard.
    fn answered(&mut self, now: Instant, item: usize, tool_calls: Vec<ToolCall>, shared: &mut Shared) {
        self.failures.model = 0;
        self.dialogue.set_tool_calls(item, tool_calls.clone());
        let called_any = !tool_calls.is_empty();
        for call in tool_calls {
            if call.name == END_CALL {
                self.hang_up_after_speech = true;
                self.dialogue.push_tool(call.id, "{\"ok\":true}".to_owned());
            } else if let Some(content) = self.functions.start(now, call.clone(), shared) {
                self.dialogue.push_tool(call.id, content);
            }
        }
        if self.functions.are_running() {
            return;
        }
        if called_any && !self.hang_up_after_speech {
            self.generate(now, shared);
        } else if self.speech.is_empty() {
            self.utterance_finished(now, shared);
        }
    }

    fn function_finished(&mut self, now: Instant, id: CommandId, result: serde_json::Value, shared: &mut Shared) {
        let Some((call_id, content)) = self.functions.finish(now, id, result, shared) else {
            return;
        };
        self.dialogue.push_tool(call_id, content);
        self.after_functions(now, shared);
    }

    fn functions_timed_out(&mut self, now: Instant, shared: &mut Shared) {
        for (call_id, content) in self.functions.time_out(now, shared) {
            self.dialogue.push_tool(call_id, content);
        }
        self.after_functions(now, shared);
    }

    fn after_functions(&mut self, now: Instant, shared: &mut Shared) {
        let caller_has_the_floor = matches!(self.state, State::Hearing | State::Endpointing);
        if self.functions.are_running() || self.answer.is_some() || caller_has_the_floor {
            return;
        }
        if self.hang_up_after_speech {
            if self.speech.is_empty() {
                self.utterance_finished(now, shared);
            }
            return;
        }
        if self.caller_speaks.is_none() {
            self.commit_pending(now, shared);
        }
        let speaking = !self.speech.is_empty();
        self.generate(now, shared);
        if speaking && self.answer.is_some() {
            self.state = State::Speaking;
        }
    }

    fn generation_failed(&mut self, now: Instant, kind: ErrorKind, shared: &mut Shared) {
        let Some(answer) = self.answer.take() else { return };
        shared.timers.clear(Timer::Reply);
        shared.outbox.cancel(answer.command);
        let retriable = matches!(kind, ErrorKind::RateLimited | ErrorKind::TimedOut | ErrorKind::Unavailable);
        self.failures.model += 1;
        if !self.is_usable(self.failures.model) {
            return;
        }
        if retriable && self.speech.is_empty() && self.failures.model == 1 {
            self.dialogue.cut();
            self.generate(now, shared);
            return;
        }
        self.apologise(now, shared);
    }

    fn apologise(&mut self, now: Instant, shared: &mut Shared) {
        if self.speech.is_empty() {
            self.dialogue.cut();
        }
        let apology = shared.config.policy.apology.clone();
        self.say(now, &apology, shared);
    }

    /// False, and the end of the call, when a provider has failed too often.
    fn is_usable(&mut self, failures: u32) -> bool {
        if failures < FAILURES_MAX {
            return true;
        }
        self.end = Some(EndReason::ProviderFailure);
        false
    }
}

/// The agent's speech.
impl Turn {
    fn speak(&mut self, now: Instant, item: usize, text: &str, shared: &mut Shared) {
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        if self.speech.is_empty() {
            self.utterance_began = Some(now);
            shared.timers.set(Timer::Speech, now + shared.config.policy.speech_timeout);
        }
        self.state = State::Speaking;
        shared.timers.clear(Timer::Silence);
        let start = self.dialogue.plan(item, text);
        let command = shared.outbox.start(Command::Speak { text: text.to_owned() });
        self.speech.push_back(Speech { command, item, start, length: text.len() });
    }

    fn playing(&mut self, now: Instant, id: CommandId, shared: &mut Shared) {
        let Some(speech) = self.speech.iter().find(|speech| speech.command == id) else {
            return;
        };
        shared.timers.set(Timer::Speech, now + shared.config.policy.speech_timeout);
        self.failures.synthesiser = 0;
        self.dialogue.sounded(speech.item, shared.since_start(now));
        if !std::mem::take(&mut self.awaits_sound) {
            return;
        }
        let latency = now.saturating_since(self.caller_stopped.unwrap_or(now));
        if self.turns.len() < RECORDS_MAX {
            self.turns.push(TurnRecord { latency_ms: millis(latency) });
        }
        shared.outbox.event(now, CallEventKind::TurnAnswered { latency });
    }

    fn heard(&mut self, now: Instant, id: CommandId, text_end: usize, shared: &mut Shared) {
        let Some(speech) = self.speech.iter().find(|speech| speech.command == id) else {
            return;
        };
        shared.timers.set(Timer::Speech, now + shared.config.policy.speech_timeout);
        self.dialogue.heard(speech.item, speech.start + text_end.min(speech.length));
    }

    fn spoken(&mut self, now: Instant, id: CommandId, shared: &mut Shared) {
        let Some(index) = self.speech.iter().position(|speech| speech.command == id) else {
            return;
        };
        let Some(speech) = self.speech.remove(index) else {
            return;
        };
        self.dialogue.heard(speech.item, speech.start + speech.length);
        self.tell_entry(now, Some(speech.item), shared);
        if !self.speech.is_empty() {
            shared.timers.set(Timer::Speech, now + shared.config.policy.speech_timeout);
            return;
        }
        shared.timers.clear(Timer::Speech);
        if self.answer.is_some() || self.functions.are_running() {
            self.state = State::Thinking;
            return;
        }
        self.utterance_finished(now, shared);
    }

    /// The agent has said all that it had to say.
    fn utterance_finished(&mut self, now: Instant, shared: &mut Shared) {
        self.awaits_sound = false;
        self.utterance_began = None;
        self.dialogue.cut();
        if std::mem::take(&mut self.hang_up_after_speech) {
            self.end = Some(EndReason::AgentHangUp);
        } else if self.caller_speaks.is_some() {
            self.become_hearing(shared);
        } else if self.awaits_final || !self.pending.text.is_empty() {
            self.become_endpointing(now, shared);
        } else {
            self.become_listening(now, shared);
        }
    }

    fn speech_failed(&mut self, now: Instant, shared: &mut Shared) {
        if self.speech.is_empty() {
            return;
        }
        self.silence_agent(now, shared);
        self.failures.synthesiser += 1;
        if self.is_usable(self.failures.synthesiser) {
            self.utterance_finished(now, shared);
        }
    }

    /// The caller has spoken over the agent, or before its answer, for long enough.
    fn interrupt(&mut self, now: Instant, shared: &mut Shared) {
        let Some(began) = self.caller_speaks else { return };
        if !matches!(self.state, State::Speaking | State::Thinking) {
            return;
        }
        let was_audible = !self.speech.is_empty() && !self.awaits_sound;
        if self.speech.is_empty() && self.functions.are_running() {
            // Nothing to silence, and what a function does cannot be taken back: hear the caller out meanwhile.
            self.become_hearing(shared);
            return;
        }
        self.hang_up_after_speech = false;
        self.silence_agent(now, shared);
        if !was_audible && let Some((text, _)) = self.take_back_turn(now, shared) {
            self.pending.text = join(&text, &self.pending.text);
        }
        if was_audible {
            let reaction = now.saturating_since(began);
            let at_ms = millis(shared.since_start(now));
            if self.barge_ins.len() < RECORDS_MAX {
                self.barge_ins.push(BargeInRecord { at_ms, reaction_ms: millis(reaction) });
            }
            shared.outbox.event(now, CallEventKind::BargeIn { reaction });
        }
        self.become_hearing(shared);
    }

    fn take_back_turn(&mut self, now: Instant, shared: &mut Shared) -> Option<(String, Duration)> {
        let taken = self.dialogue.take_back_caller()?;
        self.pending.began = Some(shared.started + taken.1);
        let length = self.dialogue.transcript().len();
        shared.outbox.event(now, CallEventKind::TranscriptTruncated { length });
        Some(taken)
    }

    /// Stops generation and speech, and cuts the dialogue to what was heard.
    fn silence_agent(&mut self, now: Instant, shared: &mut Shared) {
        for timer in [Timer::BargeIn, Timer::Reply, Timer::Speech] {
            shared.timers.clear(timer);
        }
        if let Some(answer) = self.answer.take() {
            shared.outbox.cancel(answer.command);
        }
        for speech in std::mem::take(&mut self.speech) {
            shared.outbox.cancel(speech.command);
        }
        self.awaits_sound = false;
        self.utterance_began = None;
        let last = self.dialogue.last_agent();
        if self.dialogue.cut() {
            self.tell_entry(now, last, shared);
        }
    }

    fn become_listening(&mut self, now: Instant, shared: &mut Shared) {
        self.state = State::Listening;
        shared.timers.set(Timer::Silence, now + shared.config.policy.silence.timeout);
    }

    fn tell_entry(&self, now: Instant, item: Option<usize>, shared: &mut Shared) {
        if let Some((index, entry)) = item.and_then(|item| self.dialogue.entry(item)) {
            shared.outbox.event(now, CallEventKind::Transcript { index, entry });
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
