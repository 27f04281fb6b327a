//! Outputs on their way out, and the commands that are still open.

use std::collections::{BTreeMap, VecDeque};

use super::output::{CallEvent, CallEventKind, Command, CommandId, Output};
use crate::time::Instant;

/// What an open command is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    Answer,
    Bridge,
    Brief,
    CloseMedia,
    Consult,
    Dial,
    Extend,
    Finalize,
    FinishListening,
    Generate,
    HangUp,
    Listen,
    OpenMedia,
    ReportAnswered,
    Reserve,
    RunFunction,
    SendDigits,
    Settle,
    Speak,
    Transfer,
}

impl Role {
    pub(super) fn of(command: &Command) -> Self {
        match command {
            Command::Answer => Self::Answer,
            Command::Bridge => Self::Bridge,
            Command::Brief { .. } => Self::Brief,
            Command::CloseMedia => Self::CloseMedia,
            Command::Consult { .. } => Self::Consult,
            Command::Dial => Self::Dial,
            Command::Extend { .. } => Self::Extend,
            Command::Finalize => Self::Finalize,
            Command::FinishListening => Self::FinishListening,
            Command::Generate(_) => Self::Generate,
            Command::HangUp { .. } => Self::HangUp,
            Command::Listen { .. } => Self::Listen,
            Command::OpenMedia => Self::OpenMedia,
            Command::ReportAnswered => Self::ReportAnswered,
            Command::Reserve { .. } => Self::Reserve,
            Command::RunFunction(_) => Self::RunFunction,
            Command::SendDigits { .. } => Self::SendDigits,
            Command::Settle(_) => Self::Settle,
            Command::Speak { .. } => Self::Speak,
            Command::Transfer { .. } => Self::Transfer,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Bridge => "bridge",
            Self::Brief => "brief",
            Self::CloseMedia => "close_media",
            Self::Consult => "consult",
            Self::Dial => "dial",
            Self::Extend => "extend",
            Self::Finalize => "finalize",
            Self::FinishListening => "finish_listening",
            Self::Generate => "generate",
            Self::HangUp => "hang_up",
            Self::Listen => "listen",
            Self::OpenMedia => "open_media",
            Self::ReportAnswered => "report_answered",
            Self::Reserve => "reserve",
            Self::RunFunction => "run_function",
            Self::SendDigits => "send_digits",
            Self::Settle => "settle",
            Self::Speak => "speak",
            Self::Transfer => "transfer",
        }
    }
}

#[derive(Debug)]
pub(super) struct Outbox {
    next: u32,
    open: BTreeMap<CommandId, Role>,
    queue: VecDeque<Output>,
    started: Instant,
}

impl Outbox {
    pub(super) fn new(started: Instant) -> Self {
        Self { next: 0, open: BTreeMap::new(), queue: VecDeque::new(), started }
    }

    pub(super) fn start(&mut self, command: Command) -> CommandId {
        let id = CommandId::new(self.next);
        self.next += 1;
        self.open.insert(id, Role::of(&command));
        self.queue.push_back(Output::Start(id, command));
        id
    }

    pub(super) fn cancel(&mut self, id: CommandId) {
        if self.open.remove(&id).is_some() {
            self.queue.push_back(Output::Cancel(id));
        }
    }

    pub(super) fn cancel_role(&mut self, role: Role) {
        let ids: Vec<_> = self.open.iter().filter(|(_, open)| **open == role).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.cancel(id));
    }

    pub(super) fn cancel_all(&mut self) {
        let ids: Vec<_> = self.open.keys().copied().collect();
        ids.into_iter().for_each(|id| self.cancel(id));
    }

    /// The role of an open command.
    pub(super) fn role(&self, id: CommandId) -> Option<Role> {
        self.open.get(&id).copied()
    }

    /// Takes an open command as done.
    pub(super) fn close(&mut self, id: CommandId) -> Option<Role> {
        self.open.remove(&id)
    }

    pub(super) fn is_open(&self, role: Role) -> bool {
        self.open.values().any(|open| *open == role)
    }

    pub(super) fn event(&mut self, now: Instant, kind: CallEventKind) {
        let at = now.saturating_since(self.started);
        self.queue.push_back(Output::Event(CallEvent { at, kind }));
    }

    pub(super) fn poll(&mut self) -> Option<Output> {
        self.queue.pop_front()
    }
}
