//! Spans of one call, from what its machine is told and what it puts out.

use std::collections::BTreeMap;

use async_channel::Sender;

use super::Providers;
use crate::call::record::{CallStatus, Direction};
use crate::call::{CallConfig, CallEventKind, CallRecord, Command, CommandId, Failure, Input, Output, Progress};
use crate::provider::ProviderInfo;
use crate::provider::llm::{FinishReason, LlmEvent};
use crate::time::{Instant, Timestamp};
use crate::trace::{Span, SpanId, SpanKind, SpanValue, TraceId, TraceParent};

/// Spans of a turn at most; what it does beyond them is not told.
const CHILDREN_MAX: u32 = 1_000;

/// Puts the spans of a call together and sends each when it is over. A span for which there is no room is lost.
pub(super) struct Tracer {
    begin: Instant,
    call: SpanId,
    config: CallConfig,
    /// Turns that others have followed, of which something still goes on.
    ending: Vec<Turn>,
    ids: Ids,
    llm: ProviderInfo,
    parent: Option<SpanId>,
    /// What is being done.
    running: BTreeMap<CommandId, Running>,
    sender: Sender<Span>,
    stt: ProviderInfo,
    trace: TraceId,
    tts: ProviderInfo,
    turn: Option<Turn>,
    turns: u64,
}

struct Running {
    span: Span,
    turn: SpanId,
}

/// A turn. The next one begins when the caller speaks after the agent has begun to answer.
struct Turn {
    begin: Instant,
    children: u32,
    /// The latest moment of any of its parts.
    end: Instant,
    has_answer: bool,
    id: SpanId,
    index: u64,
    /// When the caller's words were settled last.
    settled: Option<Instant>,
    speech: Option<Speech>,
}

struct Speech {
    begin: Instant,
    end: Option<Instant>,
}

impl Tracer {
    /// Nothing is traced that `parent` does not want to be.
    pub(super) fn new(
        sender: Sender<Span>,
        providers: &Providers,
        config: &CallConfig,
        parent: Option<TraceParent>,
        begin: Instant,
    ) -> Option<Self> {
        if parent.is_some_and(|parent| !parent.is_sampled) {
            return None;
        }
        let own = config.id.as_uuid();
        let mut ids = Ids { next: own.as_u64_pair().1 };
        Some(Self {
            begin,
            call: ids.next(),
            config: config.clone(),
            ending: Vec::new(),
            ids,
            llm: providers.llm.info(),
            parent: parent.map(|parent| parent.span),
            running: BTreeMap::new(),
            sender,
            stt: providers.stt.info(),
            trace: parent.map_or(own.into_bytes(), |parent| parent.trace),
            tts: providers.tts.info(),
            turn: None,
            turns: 0,
        })
    }

    pub(super) fn input(&mut self, now: Instant, input: &Input) {
        match input {
            Input::Completed(id, _) => self.stop(now, *id, None),
            Input::Failed(id, failure) => self.stop(now, *id, Some(failure)),
            Input::Progress(id, progress) => self.progress(now, *id, progress),
            _ => {}
        }
    }

    pub(super) fn output(&mut self, now: Instant, output: &Output) {
        match output {
            Output::Cancel(id) => {
                if let Some(running) = self.running.get_mut(id) {
                    running.span.attributes.push(("offhook.cancelled", true.into()));
                }
                self.stop(now, *id, None);
            }
            Output::Event(event) => match &event.kind {
                CallEventKind::Ended { record, .. } => self.end(now, record),
                CallEventKind::TurnAnswered { latency } => {
                    let moment = self.begin + event.at;
                    let turn = self.turn(moment);
                    turn.end = turn.end.max(moment);
                    let parent = turn.id;
                    let span = self.span(SpanKind::FirstAudio, (moment - *latency, moment), Some(parent), Vec::new());
                    self.send(span);
                }
                _ => {}
            },
            Output::Start(id, command) => self.start(now, *id, command),
        }
    }

    fn start(&mut self, now: Instant, id: CommandId, command: &Command) {
        let (kind, attributes) = match command {
            Command::Generate(_) => (SpanKind::Llm, served_by("chat", &self.llm)),
            Command::RunFunction(call) => {
                (SpanKind::Function, vec![operation("execute_tool"), ("gen_ai.tool.name", call.name.as_str().into())])
            }
            Command::Speak { language, text } => {
                let mut attributes = served_by("text_to_speech", &self.tts);
                attributes.push(("offhook.language", language.as_str().into()));
                attributes.push(("offhook.characters", (text.chars().count() as u64).into()));
                (SpanKind::Tts, attributes)
            }
            _ => return,
        };
        let turn = self.turn(now);
        turn.has_answer = true;
        turn.children += 1;
        let (parent, is_told) = (turn.id, turn.children <= CHILDREN_MAX);
        if is_told {
            let span = self.span(kind, (now, now), Some(parent), attributes);
            self.running.insert(id, Running { span, turn: parent });
        }
    }

    fn stop(&mut self, now: Instant, id: CommandId, failure: Option<&Failure>) {
        let Some(Running { mut span, turn: id }) = self.running.remove(&id) else { return };
        span.end = self.wall(now);
        span.failure = failure.map(|failure| failure.message.clone());
        self.send(span);
        for turn in self.turn.iter_mut().chain(&mut self.ending).filter(|turn| turn.id == id) {
            turn.end = turn.end.max(now);
        }
        if !self.is_at_work(id)
            && let Some(at) = self.ending.iter().position(|turn| turn.id == id)
        {
            let turn = self.ending.swap_remove(at);
            self.send_turn(&turn);
        }
    }

    /// Whether something of that turn goes on.
    fn is_at_work(&self, turn: SpanId) -> bool {
        self.running.values().any(|running| running.turn == turn)
    }

    fn progress(&mut self, now: Instant, id: CommandId, progress: &Progress) {
        match progress {
            Progress::Final { .. } => {
                if let Some(turn) = &mut self.turn {
                    turn.settled = Some(now);
                    turn.end = turn.end.max(now);
                }
            }
            Progress::Generated(event) => self.generated(now, id, event),
            Progress::Playing => self.playing(now, id),
            Progress::SpeechEnded { at } => {
                let Some(turn) = &mut self.turn else { return };
                turn.end = turn.end.max((*at).min(now));
                if let Some(speech) = &mut turn.speech {
                    speech.end = Some((*at).min(now));
                }
            }
            Progress::SpeechStarted { at } => {
                let begin = (*at).min(now);
                if self.turn.as_ref().is_some_and(|turn| turn.has_answer) {
                    self.end_turn();
                }
                let turn = self.turn(begin);
                turn.speech.get_or_insert(Speech { begin, end: None });
            }
            _ => {}
        }
    }

    fn generated(&mut self, now: Instant, id: CommandId, event: &LlmEvent) {
        let moment = self.wall(now);
        let Some(Running { span, .. }) = self.running.get_mut(&id) else { return };
        match event {
            LlmEvent::Finished { reason } => {
                let reasons = SpanValue::Texts(vec![word(*reason).to_owned()]);
                span.attributes.push(("gen_ai.response.finish_reasons", reasons));
            }
            LlmEvent::Text(_) | LlmEvent::ToolCall(_) => {
                if span.events.is_empty() {
                    span.events.push(("first_token", moment));
                }
            }
            LlmEvent::Usage { cached_tokens, input_tokens, output_tokens } => {
                span.attributes.push(("gen_ai.usage.cache_read.input_tokens", (*cached_tokens).into()));
                span.attributes.push(("gen_ai.usage.input_tokens", (*input_tokens).into()));
                span.attributes.push(("gen_ai.usage.output_tokens", (*output_tokens).into()));
            }
        }
    }

    fn playing(&mut self, now: Instant, id: CommandId) {
        let moment = self.wall(now);
        let Some(Running { span, .. }) = self.running.get_mut(&id) else { return };
        if span.events.is_empty() {
            span.events.push(("first_audio", moment));
        }
    }

    /// The turn that goes on, or a new one that begins now.
    fn turn(&mut self, now: Instant) -> &mut Turn {
        let (ids, turns) = (&mut self.ids, &mut self.turns);
        self.turn.get_or_insert_with(|| {
            *turns += 1;
            let (id, index) = (ids.next(), *turns - 1);
            Turn { begin: now, children: 0, end: now, has_answer: false, id, index, settled: None, speech: None }
        })
    }

    fn end_turn(&mut self) {
        let Some(turn) = self.turn.take() else { return };
        if self.is_at_work(turn.id) {
            self.ending.push(turn);
        } else {
            self.send_turn(&turn);
        }
    }

    fn send_turn(&mut self, turn: &Turn) {
        if let Some(speech) = &turn.speech {
            let end = turn.settled.or(speech.end).unwrap_or(turn.end).max(speech.begin);
            let mut attributes = served_by("speech_to_text", &self.stt);
            attributes.push(("offhook.language", self.config.language.as_str().into()));
            let span = self.span(SpanKind::Stt, (speech.begin, end), Some(turn.id), attributes);
            self.send(span);
        }
        let attributes = vec![("offhook.turn.index", turn.index.into())];
        let mut span = self.span(SpanKind::Turn, (turn.begin, turn.end), Some(self.call), attributes);
        span.id = turn.id;
        self.send(span);
    }

    fn end(&mut self, now: Instant, record: &CallRecord) {
        let left: Vec<_> = self.running.keys().copied().collect();
        left.into_iter().for_each(|id| self.stop(now, id, None));
        self.end_turn();
        let mut attributes = vec![
            operation("invoke_agent"),
            ("gen_ai.agent.id", record.agent.to_string().into()),
            ("gen_ai.conversation.id", record.id.to_string().into()),
            ("offhook.tenant.id", record.tenant.to_string().into()),
            ("offhook.call.direction", direction(record).into()),
            ("offhook.call.status", record.status.to_string().into()),
        ];
        attributes.extend(record.end_reason.map(|reason| ("offhook.call.end_reason", reason.to_string().into())));
        attributes.extend(record.task.map(|task| ("offhook.task.id", task.to_string().into())));
        let mut span = self.span(SpanKind::Call, (self.begin, now), self.parent, attributes);
        span.id = self.call;
        let is_failed = record.status == CallStatus::Failed;
        span.failure = record.end_reason.filter(|_| is_failed).map(|reason| reason.to_string());
        self.send(span);
    }

    fn span(
        &mut self,
        kind: SpanKind,
        (begin, end): (Instant, Instant),
        parent: Option<SpanId>,
        attributes: Vec<(&'static str, SpanValue)>,
    ) -> Span {
        let (begin, end) = (self.wall(begin), self.wall(end));
        let (id, trace) = (self.ids.next(), self.trace);
        Span { attributes, begin, end, events: Vec::new(), failure: None, id, kind, parent, trace }
    }

    fn wall(&self, moment: Instant) -> Timestamp {
        self.config.wall_clock + moment.saturating_since(self.begin)
    }

    fn send(&self, span: Span) {
        // Nobody waits for an exporter.
        let _ = self.sender.try_send(span);
    }
}

/// Counts up from a part of the call's id, in which no two calls agree.
struct Ids {
    next: u64,
}

impl Ids {
    fn next(&mut self) -> SpanId {
        self.next = self.next.wrapping_add(1).max(1);
        self.next.to_be_bytes()
    }
}

fn operation(name: &'static str) -> (&'static str, SpanValue) {
    ("gen_ai.operation.name", name.into())
}

fn served_by(name: &'static str, provider: &ProviderInfo) -> Vec<(&'static str, SpanValue)> {
    let mut attributes = vec![operation(name), ("gen_ai.provider.name", provider.name.into())];
    if !provider.detail.is_empty() {
        attributes.push(("gen_ai.request.model", provider.detail.as_str().into()));
    }
    attributes
}

fn word(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Length => "length",
        FinishReason::Stop => "stop",
        FinishReason::ToolCalls => "tool_calls",
    }
}

fn direction(record: &CallRecord) -> &'static str {
    match record.direction {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
    }
}
