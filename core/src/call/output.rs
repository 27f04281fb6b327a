//! What a call yields: commands to start or cancel, and events to tell.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::dialogue::TranscriptEntry;
use super::outbox::Role;
use super::record::{AnsweredBy, CallRecord, LedgerSummary};
use crate::error::ErrorKind;
use crate::provider::llm::{LlmRequest, ToolCall};
use crate::provider::telephony::{DtmfDigit, E164, HangupCause};

/// One output, in the order in which it must be carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// Stop the command; nothing more is heard of it. Cancelling a `Speak` also clears what the carrier still holds.
    Cancel(CommandId),
    /// Tell whoever follows the call.
    Event(CallEvent),
    /// Begin the command and report on it until it is completed, failed or cancelled.
    Start(CommandId, Command),
}

/// A command's number, unique in its call and counted up.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommandId(u32);

impl CommandId {
    /// The command of that number.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Something to be done outside the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Command {
    /// Pick up the ringing leg.
    Answer,
    /// Let caller and human hear each other.
    Bridge,
    /// Speak to the human of a `Consult`, of whom the caller hears nothing.
    Brief {
        /// What to say.
        text: String,
    },
    /// Close the recording and give the media back. Completes with [`Outcome::Recorded`](super::Outcome::Recorded).
    CloseMedia,
    /// Call a human on a leg of its own; cancelling it ends that leg.
    Consult {
        /// Whom.
        target: E164,
    },
    /// Place the call.
    Dial,
    /// Hold more credits. Completes with [`Outcome::Reserved`](super::Outcome::Reserved), which counts from the answer.
    Extend {
        /// How much talk time to hold at most, with what is held already.
        wanted: Duration,
    },
    /// Ask the recogniser to settle what it has heard.
    Finalize,
    /// End the recogniser's input; the `Listen` command then completes after its last transcript.
    FinishListening,
    /// Answer the conversation.
    Generate(Box<LlmRequest>),
    /// End the leg.
    HangUp {
        /// Why.
        cause: HangupCause,
    },
    /// Recognise the caller until told to finish.
    Listen {
        /// What the caller is expected to speak; BCP 47.
        language: String,
    },
    /// Join the leg's media, and begin to record if the configuration says so.
    OpenMedia,
    /// Commit that the call was answered.
    ReportAnswered,
    /// Commit the call and hold credits for it. Completes with [`Outcome::Reserved`](super::Outcome::Reserved).
    Reserve {
        /// How much talk time to hold at most.
        wanted: Duration,
    },
    /// Run one of the agent's functions. Completes with [`Outcome::Function`](super::Outcome::Function).
    RunFunction(ToolCall),
    /// Press keys on the leg.
    SendDigits {
        /// Which.
        digits: Vec<DtmfDigit>,
    },
    /// Commit the end: record, money and reports, all or nothing.
    Settle(Box<CallRecord>),
    /// Speak, after all speech that was started before.
    Speak {
        /// The language of the text; BCP 47.
        language: String,
        /// What to say.
        text: String,
    },
    /// Let the carrier take the leg over to somebody else.
    Transfer {
        /// To whom.
        target: E164,
    },
}

impl Command {
    /// Its name in snake case, as problems and journals call it.
    pub fn name(&self) -> &'static str {
        Role::of(self).name()
    }
}

/// What happened, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallEvent {
    /// Since the call's start.
    #[serde(rename = "at_ms", with = "crate::time::duration_ms")]
    pub at: Duration,
    /// What.
    #[serde(flatten)]
    pub kind: CallEventKind,
}

/// What happened in a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum CallEventKind {
    /// It became clear who picked up.
    AnsweredBy {
        /// Who.
        answered_by: AnsweredBy,
    },
    /// A human was put through to the caller.
    Bridged {
        /// Which target.
        target: String,
    },
    /// The caller spoke over the agent and the agent fell silent.
    BargeIn {
        /// From the beginning of the caller's speech to the order to be silent.
        #[serde(rename = "reaction_ms", with = "crate::time::duration_ms")]
        reaction: Duration,
    },
    /// A key was pressed.
    Dtmf {
        /// Which.
        digit: DtmfDigit,
    },
    /// The network plays something before the answer.
    EarlyMedia,
    /// The call is over, settled and reported. Always the last event.
    Ended {
        /// The whole call.
        record: Box<CallRecord>,
        /// What it cost; `None` when it could not be settled and keeps its hold.
        ledger: Option<LedgerSummary>,
    },
    /// A function answered, or failed with an error object as its result.
    FunctionFinished {
        /// Which, as in the record's list.
        name: String,
        /// Its answer.
        result: serde_json::Value,
    },
    /// A function was called.
    FunctionStarted {
        /// Which.
        name: String,
        /// With what.
        parameters: serde_json::Value,
    },
    /// The caller was put on hold.
    Held,
    /// The conversation goes on after a hold.
    HoldEnded,
    /// What the caller seems to be saying.
    Interim {
        /// The words so far.
        text: String,
    },
    /// The call goes on in another language.
    LanguageSwitched {
        /// BCP 47.
        language: String,
    },
    /// The call moved on.
    Phase {
        /// To where.
        phase: Phase,
    },
    /// Something failed and the call goes on without it.
    Problem {
        /// The command's name.
        command: String,
        /// What kind of failure.
        kind: ErrorKind,
        /// In plain words, free of personal data.
        message: String,
    },
    /// The call waits until fewer calls go on.
    Queued {
        /// For so long at most.
        #[serde(rename = "wait_ms", with = "crate::time::duration_ms")]
        wait: Duration,
    },
    /// What silenced the agent was nothing, and it goes on where it was cut off.
    Resumed,
    /// An entry of the transcript is new, or replaces the one with its index.
    Transcript {
        /// Position in the transcript.
        index: usize,
        /// The entry.
        entry: TranscriptEntry,
    },
    /// Nobody took the call that was to be handed over.
    TransferFailed {
        /// Why.
        cause: HangupCause,
        /// Which target.
        target: String,
    },
    /// The call is being handed over.
    TransferStarted {
        /// Which target.
        target: String,
    },
    /// The agent's first sound of a turn was played.
    TurnAnswered {
        /// Since the caller's last sound.
        #[serde(rename = "latency_ms", with = "crate::time::duration_ms")]
        latency: Duration,
    },
    /// The transcript ends before this index: what stood there was never said.
    TranscriptTruncated {
        /// The new length.
        length: usize,
    },
    /// A key set a variable of the call.
    Variable {
        /// Which.
        name: String,
        /// The keys.
        value: String,
    },
}

/// Where a call stands.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Outbound, before the other side rings.
    Dialing,
    /// Not yet answered.
    Ringing,
    /// Outbound, answered; finding out whether by a person.
    Screening,
    /// In conversation.
    Connected,
    /// Hung up; transcript, recording and settlement are being completed.
    Ending,
    /// Over. Nothing more happens.
    Ended,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dialing => "dialing",
            Self::Ringing => "ringing",
            Self::Screening => "screening",
            Self::Connected => "connected",
            Self::Ending => "ending",
            Self::Ended => "ended",
        })
    }
}
