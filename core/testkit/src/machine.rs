//! A stage for the call machine: drives a [`Call`] by hand in virtual time and watches its invariants.

use std::collections::BTreeMap;
use std::time::Duration;

use offhook::call::{
    Admission, Call, CallConfig, CallEvent, CallEventKind, CallRecord, Command, CommandId, Input, Offer, Outcome,
    Output, Phase, Policy, Progress,
};
use offhook::ids::{AgentId, CallId, TenantId};
use offhook::journal::{self, Entry, Journal, Tail};
use offhook::provider::llm::{FinishReason, LlmEvent, Message, ToolCall};
use offhook::provider::telephony::{HangupCause, LegId};
use offhook::time::{Instant, Timestamp};

use crate::hearing::Hearing;
use crate::reference::Reference;

/// A call on stage.
#[derive(Debug)]
pub struct Stage {
    /// The call.
    pub call: Call,
    /// All events so far.
    pub events: Vec<CallEvent>,
    /// The virtual clock.
    pub now: Instant,
    entries: Vec<Entry>,
    hearing: Hearing,
    open: BTreeMap<CommandId, Command>,
    outputs: Vec<Output>,
    reference: Reference,
    settled: bool,
    stale: Vec<CommandId>,
    violations: Vec<String>,
}

/// A configuration for tests: greets, may call `check_appointment`.
pub fn config(policy: Policy) -> CallConfig {
    let moment = Timestamp::from_unix_micros(1_763_622_000_000_000);
    CallConfig {
        admission: Admission::default(),
        id: CallId::new(moment, [1; 10]),
        tenant: TenantId::new(moment, [2; 10]),
        agent: AgentId::new(moment, [3; 10]),
        greeting: Some("Good morning.".to_owned()),
        language: "en-US".to_owned(),
        policy,
        system_prompt: "You answer the telephone.".to_owned(),
        tools: vec![offhook::provider::llm::Tool {
            description: "Looks an appointment up.".to_owned(),
            name: "check_appointment".to_owned(),
            parameters: serde_json::json!({ "type": "object" }),
        }],
        task: None,
        wall_clock: moment,
    }
}

/// A call that comes in.
pub fn inbound() -> Offer {
    Offer::Inbound {
        leg: LegId::new("leg-1").expect("a leg id"),
        from: "+628123456789".parse().ok(),
        to: "+622150001000".parse().ok(),
    }
}

/// A call that goes out.
pub fn outbound() -> Offer {
    Offer::Outbound { from: "+622150001000".parse().expect("a number"), to: "+628123456789".parse().expect("a number") }
}

/// A conversation of so many turns as providers report one: transcripts that grow word by word, answers that come in
/// tokens, speech that is heard word by word. Each turn takes about 12 s. It ends with the caller.
pub fn conversation(turns: usize) -> Stage {
    let mut stage = Stage::connected(Policy { duration_max: Duration::from_secs(86_400), ..Policy::default() });
    for _ in 0..turns {
        stage.wait(Duration::from_millis(800));
        stage.hear("And could you tell me on which days of the week the doctor sees children after school?");
        stage.wait(Duration::from_millis(500));
        stage.answer("On Mondays and Thursdays, from three until six. Shall I make an appointment for you?");
    }
    stage.input(Input::LegEnded { cause: HangupCause::NORMAL_CLEARING });
    stage.tear_down();
    stage
}

impl Stage {
    /// A call that has just begun.
    pub fn new(config: CallConfig, offer: Offer) -> Self {
        Self::starting_at(Instant::from_micros(5_000_000), config, offer)
    }

    fn starting_at(now: Instant, config: CallConfig, offer: Offer) -> Self {
        let start = Entry::Start { at: now, config: Box::new(config.clone()), offer: offer.clone() };
        let reference = Reference::new(now, &config);
        let mut stage = Self {
            call: Call::new(config, offer, now),
            entries: vec![start],
            events: Vec::new(),
            hearing: Hearing::default(),
            now,
            open: BTreeMap::new(),
            outputs: Vec::new(),
            reference,
            settled: false,
            stale: Vec::new(),
            violations: Vec::new(),
        };
        stage.drain();
        stage
    }

    /// A call that has been held, from its journal: what it was told is given to it again.
    ///
    /// # Errors
    /// When the journal does not begin with its start, or starts twice.
    pub fn replay(entries: impl IntoIterator<Item = Entry>) -> Result<Self, String> {
        let mut entries = entries.into_iter();
        let Some(Entry::Start { at, config, offer, .. }) = entries.next() else {
            return Err("the journal does not begin with a start".to_owned());
        };
        let mut stage = Self::starting_at(at, *config, offer);
        for entry in entries {
            match entry {
                Entry::End { .. } => {}
                Entry::Input { at, input } => {
                    stage.now = at;
                    stage.input(input);
                }
                Entry::Start { .. } => return Err("the journal starts twice".to_owned()),
                Entry::Timeout { at } => {
                    stage.now = at;
                    stage.entries.push(Entry::Timeout { at });
                    stage.call.handle_timeout(at);
                    stage.drain();
                }
            }
        }
        Ok(stage)
    }

    /// A call in conversation, after its greeting.
    pub fn connected(policy: Policy) -> Self {
        let mut stage = Self::new(config(policy), inbound());
        stage.set_up();
        stage.play();
        stage
    }

    /// Completes everything up to the greeting.
    pub fn set_up(&mut self) {
        self.complete("reserve", Outcome::Reserved { granted: Duration::from_secs(3_600) });
        self.complete("answer", Outcome::Done);
        self.complete("report_answered", Outcome::Done);
        self.complete("open_media", Outcome::Done);
    }

    /// Completes everything after the end.
    pub fn tear_down(&mut self) {
        for name in ["report_answered", "finish_listening", "listen", "hang_up"] {
            if self.find(name).is_some() {
                self.complete(name, Outcome::Done);
            }
        }
        if self.find("close_media").is_some() {
            self.complete("close_media", Outcome::Recorded(Some("memory:recording.wav".to_owned())));
        }
        self.complete("settle", Outcome::Settled(Default::default()));
    }

    /// Gives an input now.
    pub fn input(&mut self, input: Input) {
        // An input fires the timers that are late by itself, as the replay shows; here they come before it to be checked.
        self.call.handle_timeout(self.now);
        self.drain();
        if let Input::Completed(id, _) | Input::Failed(id, _) | Input::Progress(id, _) = &input {
            self.reference.handle_input(self.now, &input, self.open.get(id));
        } else {
            self.reference.handle_input(self.now, &input, None);
        }
        if let Input::Completed(id, _) | Input::Failed(id, _) = &input
            && let Some(command) = self.open.remove(id)
        {
            self.settled |= matches!((command, &input), (Command::Settle(_), Input::Completed(_, Outcome::Settled(_))));
            self.stale.push(*id);
        }
        self.hearing.input(&input);
        self.entries.push(Entry::Input { at: self.now, input: input.clone() });
        self.call.handle_input(self.now, input);
        self.drain();
        self.violations.extend(self.reference.check_goes_on());
    }

    /// Lets time pass; timers fire at their deadlines.
    pub fn wait(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Some((deadline, _)) = self.call.poll_timeout().filter(|(deadline, _)| *deadline <= until) {
            self.now = self.now.max(deadline);
            self.entries.push(Entry::Timeout { at: self.now });
            self.call.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
        self.reference.handle_timeout(self.now);
        self.violations.extend(self.reference.check_goes_on());
    }

    /// Time passes and nobody wakes the call: its timers fire late, with the next input.
    pub fn oversleep(&mut self, duration: Duration) {
        self.now = self.now + duration;
    }

    /// Completes the oldest open command of that name.
    pub fn complete(&mut self, name: &str, outcome: Outcome) {
        let id = self.find(name).unwrap_or_else(|| panic!("no open {name}: {:?}", self.open));
        self.input(Input::Completed(id, outcome));
    }

    /// Reports progress of the oldest open command of that name.
    pub fn progress(&mut self, name: &str, progress: Progress) {
        let id = self.find(name).unwrap_or_else(|| panic!("no open {name}: {:?}", self.open));
        self.input(Input::Progress(id, progress));
    }

    /// The caller says something that takes `length`, and the transcript comes `delay` after its end.
    pub fn caller_says(&mut self, text: &str, length: Duration, delay: Duration) {
        self.progress("listen", Progress::SpeechStarted { at: self.now });
        self.wait(length);
        self.progress("listen", Progress::SpeechEnded { at: self.now });
        self.wait(delay);
        if self.find("finalize").is_some() {
            self.complete("finalize", Outcome::Done);
        }
        self.progress("listen", Progress::Final { language: None, text: text.to_owned() });
    }

    /// The caller says something, a word every 300 ms, and the recogniser tells each.
    pub fn hear(&mut self, text: &str) {
        self.progress("listen", Progress::SpeechStarted { at: self.now - Duration::from_millis(60) });
        for end in word_ends(text) {
            self.wait(Duration::from_millis(300));
            self.progress("listen", Progress::Interim { text: text[..end].to_owned() });
        }
        self.progress("listen", Progress::SpeechEnded { at: self.now - Duration::from_millis(40) });
        self.wait(Duration::from_millis(200));
        self.progress("listen", Progress::Final { language: None, text: text.to_owned() });
    }

    /// The model answers in tokens, and the answer is heard, a word every 300 ms.
    pub fn answer(&mut self, text: &str) {
        for token in text.split_inclusive(' ') {
            self.progress("generate", Progress::Generated(LlmEvent::Text(token.to_owned())));
            self.wait(Duration::from_millis(15));
        }
        self.progress("generate", Progress::Generated(LlmEvent::Finished { reason: FinishReason::Stop }));
        while let Some(text) = self.speaking().first().map(|text| (*text).to_owned()) {
            self.progress("speak", Progress::Playing);
            for text_end in word_ends(&text) {
                self.wait(Duration::from_millis(300));
                self.progress("speak", Progress::Heard { text_end });
            }
            self.complete("speak", Outcome::Done);
        }
    }

    /// The model answers with text, and with tool calls if there are any.
    pub fn model_says(&mut self, text: &str, tool_calls: &[ToolCall]) {
        if !text.is_empty() {
            self.progress("generate", Progress::Generated(LlmEvent::Text(text.to_owned())));
        }
        for call in tool_calls {
            self.progress("generate", Progress::Generated(LlmEvent::ToolCall(call.clone())));
        }
        let reason = if tool_calls.is_empty() { FinishReason::Stop } else { FinishReason::ToolCalls };
        self.progress("generate", Progress::Generated(LlmEvent::Finished { reason }));
    }

    /// Plays all speech that is queued, 60 ms a character.
    pub fn play(&mut self) {
        while let Some(id) = self.find("speak") {
            let Some(Command::Speak { text, .. }) = self.open.get(&id) else {
                return;
            };
            let length = Duration::from_millis(60) * u32::try_from(text.len()).unwrap_or(u32::MAX);
            self.input(Input::Progress(id, Progress::Playing));
            self.wait(length);
            if self.open.contains_key(&id) {
                self.input(Input::Completed(id, Outcome::Done));
            }
        }
    }

    /// The open commands, by name.
    pub fn open_names(&self) -> Vec<&'static str> {
        self.open.values().map(Command::name).collect()
    }

    /// Texts that are queued to be spoken.
    pub fn speaking(&self) -> Vec<&str> {
        let texts = self.open.values().filter_map(|command| match command {
            Command::Speak { text, .. } => Some(text.as_str()),
            _ => None,
        });
        texts.collect()
    }

    /// What the model was last asked.
    pub fn last_request(&self) -> Vec<Message> {
        let requests = self.outputs.iter().rev().find_map(|output| match output {
            Output::Start(_, Command::Generate(request)) => Some(request.messages.clone()),
            _ => None,
        });
        requests.unwrap_or_default()
    }

    /// The record in the last event, if the call has ended.
    pub fn ended(&self) -> Option<&CallRecord> {
        match self.events.last().map(|event| &event.kind) {
            Some(CallEventKind::Ended { record, .. }) => Some(record),
            _ => None,
        }
    }

    /// The oldest open command of that name.
    pub fn find(&self, name: &str) -> Option<CommandId> {
        self.open.iter().find(|(_, command)| command.name() == name).map(|(id, _)| *id)
    }

    /// The oldest open command of that name, itself.
    pub fn command(&self, name: &str) -> Option<&Command> {
        self.open.values().find(|command| command.name() == name)
    }

    /// An open command, or one that is over, by a number of the caller's choice.
    pub fn pick(&self, number: usize) -> Option<(CommandId, &'static str)> {
        let open: Vec<_> = self.open.iter().map(|(id, command)| (*id, command.name())).collect();
        let all: Vec<_> = open.into_iter().chain(self.stale.iter().map(|id| (*id, "stale"))).collect();
        (!all.is_empty()).then(|| all[number % all.len()])
    }

    /// Lets the call end with nobody answering anything, and checks every invariant.
    ///
    /// # Errors
    /// Names what did not hold.
    pub fn finish_and_check(mut self) -> Result<(), String> {
        // Longer than all limits of the default policy together.
        self.wait(Duration::from_secs(7_200));
        let mut problems = self.check();
        problems.extend(self.check_replay());
        if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
    }

    /// What does not hold of a call that should have ended.
    pub fn check(&self) -> Vec<String> {
        let mut problems = self.violations.clone();
        if !self.call.is_ended() {
            problems.push(format!("the call has not ended: {:?}", self.call.phase()));
        }
        if self.call.poll_timeout().is_some() {
            problems.push("a timer is left".to_owned());
        }
        if !self.open.is_empty() {
            problems.push(format!("commands neither done nor cancelled: {:?}", self.open_names()));
        }
        let ended = self.events.iter().filter(|event| matches!(event.kind, CallEventKind::Ended { .. })).count();
        if ended != 1 || self.ended().is_none() {
            problems.push(format!("{ended} terminal events, the last event is {:?}", self.events.last()));
        }
        problems.extend(self.check_record());
        problems.extend(self.hearing.check(&self.call.record().transcript));
        problems
    }

    fn check_record(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let record = self.call.record();
        if record.talk_time_ms > record.duration_ms {
            problems.push("talk time exceeds duration".to_owned());
        }
        let between = |from: Option<Timestamp>, to: Option<Timestamp>| match (from, to) {
            (Some(from), Some(to)) => to.saturating_since(from),
            _ => Duration::ZERO,
        };
        if between(Some(record.started_at), record.ended_at) != Duration::from_millis(record.duration_ms)
            || between(record.answered_at, record.ended_at) != Duration::from_millis(record.talk_time_ms)
        {
            problems.push("the record's moments and durations disagree".to_owned());
        }
        if record.hangup_cause.is_none() || record.hangup_party.is_none() || record.end_reason.is_none() {
            problems.push("an end without cause, party or reason".to_owned());
        }
        let settlements: Vec<_> = self.outputs.iter().filter(|output| is_settlement(output)).collect();
        if settlements.is_empty() {
            problems.push("no settlement was started".to_owned());
        }
        if let Some(Output::Start(_, Command::Settle(settled))) = settlements.last()
            && **settled != record
        {
            problems.push("the settled record is not the last one".to_owned());
        }
        problems
    }

    /// What the call was told so far.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The call so far, as it would have been kept.
    pub fn journal(&self) -> Journal {
        Journal::seal(self.entries.iter().cloned()).expect("a journal with one start")
    }

    fn check_replay(&self) -> Vec<String> {
        let journal = match Journal::from_file(&self.journal().to_file()) {
            Ok(journal) if journal.entries.starts_with(&self.entries) && journal.tail == Tail::Clean => journal,
            other => return vec![format!("the journal cannot be read: {other:?}")],
        };
        let outputs = journal::replay(journal.entries.clone()).map(|replay| replay.outputs);
        match (outputs, journal.verify()) {
            (Ok(outputs), Ok(verdict))
                if serde_json::to_vec(&outputs).ok() == serde_json::to_vec(&self.outputs).ok()
                    && verdict.difference.is_none()
                    && verdict.is_whole == self.call.is_ended() =>
            {
                vec![]
            }
            other => vec![format!("the replay puts out something else: {:?}", other.1)],
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.call.poll_output() {
            match &output {
                Output::Cancel(id) => match self.open.remove(id) {
                    Some(_) => self.stale.push(*id),
                    None => self.violations.push(format!("cancelled {id}, which is not open")),
                },
                Output::Event(event) => self.event(event),
                Output::Start(id, command) => {
                    if is_settlement(&output) && self.settled {
                        self.violations.push("settled twice".to_owned());
                    }
                    if let Command::Generate(request) = command {
                        self.violations.extend(check_history(&request.messages));
                    }
                    if self.call.is_ended() {
                        self.violations.push(format!("started {} after the end", command.name()));
                    }
                    if self.open.insert(*id, command.clone()).is_some() {
                        self.violations.push(format!("{id} was started twice"));
                    }
                }
            }
            self.hearing.output(&output);
            self.outputs.push(output);
        }
        if !self.call.is_ended() && self.call.poll_timeout().is_none() {
            self.violations.push(format!("no timer in {:?} with {:?}", self.call.phase(), self.open_names()));
        }
    }

    fn event(&mut self, event: &CallEvent) {
        if let (CallEventKind::Phase { phase }, Some(last)) = (&event.kind, self.last_phase())
            && *phase <= last
        {
            self.violations.push(format!("from {last} back to {phase}"));
        }
        if event.kind == (CallEventKind::Phase { phase: Phase::Ending }) {
            self.reference.handle_timeout(self.now);
            self.violations.extend(self.reference.check_end(&self.call.record()));
        }
        self.events.push(event.clone());
    }

    fn last_phase(&self) -> Option<Phase> {
        self.events.iter().rev().find_map(|event| match event.kind {
            CallEventKind::Phase { phase } => Some(phase),
            _ => None,
        })
    }
}

fn word_ends(text: &str) -> impl Iterator<Item = usize> {
    text.match_indices(' ').map(|(end, _)| end).chain([text.len()])
}

/// Models refuse a message that calls tools unless exactly their results follow it.
fn check_history(messages: &[Message]) -> Option<String> {
    let mut rest = messages;
    while let Some((message, after)) = rest.split_first() {
        rest = after;
        match message {
            Message::Assistant { tool_calls, .. } => {
                for call in tool_calls {
                    match rest.split_first() {
                        Some((Message::Tool { call_id, .. }, after)) if *call_id == call.id => rest = after,
                        other => return Some(format!("the result of {} does not follow its call: {other:?}", call.id)),
                    }
                }
            }
            Message::Tool { call_id, .. } => return Some(format!("a result without a call: {call_id}")),
            _ => {}
        }
    }
    None
}

fn is_settlement(output: &Output) -> bool {
    matches!(output, Output::Start(_, Command::Settle(_)))
}
