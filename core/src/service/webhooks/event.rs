//! What happens that a customer may want to hear of.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::billing::Unit;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::TenantId;
use crate::service::calls::StoredCall;
use crate::time::Timestamp;

/// The place of a call's end among its events: behind any number of functions.
const ENDED: u64 = 1 << 32;

/// Where what is told beside a call's events stands: behind all of them.
pub(crate) const AFTER_ALL_EVENTS: u64 = ENDED + 2;

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[non_exhaustive]
pub enum EventName {
    /// The call was answered.
    #[serde(rename = "call.answered")]
    CallAnswered,
    /// The call is over and settled.
    #[serde(rename = "call.ended")]
    CallEnded,
    /// The call rings.
    #[serde(rename = "call.started")]
    CallStarted,
    /// What was said in a call that is over.
    #[serde(rename = "call.transcript")]
    CallTranscript,
    /// The prepaid time or money fell below the tenant's threshold.
    #[serde(rename = "credits.low")]
    CreditsLow,
    /// A function of the agent was called and has answered, or has failed.
    #[serde(rename = "function.called")]
    FunctionCalled,
    /// Somebody wants to see whether the endpoint works. Nobody asks for it and every endpoint takes it.
    #[serde(rename = "webhook.test")]
    WebhookTest,
}

impl EventName {
    /// All that an endpoint can ask for.
    pub const ALL: [Self; 6] = [
        Self::CallStarted,
        Self::CallAnswered,
        Self::FunctionCalled,
        Self::CallEnded,
        Self::CallTranscript,
        Self::CreditsLow,
    ];

    /// The dotted name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CallAnswered => "call.answered",
            Self::CallEnded => "call.ended",
            Self::CallStarted => "call.started",
            Self::CallTranscript => "call.transcript",
            Self::CreditsLow => "credits.low",
            Self::FunctionCalled => "function.called",
            Self::WebhookTest => "webhook.test",
        }
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EventName {
    type Err = Error;

    /// `ConfigInvalid` for a name that no endpoint can ask for.
    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|name| name.as_str() == text);
        found.ok_or_else(|| Error::new(ErrorKind::ConfigInvalid, "event.parse", "there is no such event"))
    }
}

/// Something that happened, with what is told of it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// See [`EventName::CallAnswered`].
    CallAnswered(&'a StoredCall),
    /// See [`EventName::CallEnded`].
    CallEnded(&'a StoredCall),
    /// See [`EventName::CallStarted`].
    CallStarted(&'a StoredCall),
    /// See [`EventName::CallTranscript`].
    CallTranscript(&'a StoredCall),
    /// See [`EventName::CreditsLow`].
    CreditsLow(&'a CreditsLow),
    /// See [`EventName::FunctionCalled`]: the function of this index in the record's list.
    FunctionCalled(&'a StoredCall, usize),
    /// See [`EventName::WebhookTest`].
    WebhookTest(&'a WebhookTest),
}

/// A balance that fell below its threshold.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CreditsLow {
    /// What is left, counting no call that was settled in the same moment; at most the threshold.
    pub balance: i64,
    /// Names this crossing among all of the tenant: an event of the same key is the same event.
    pub key: String,
    /// Whose balance.
    pub tenant: TenantId,
    /// What it should not fall below.
    pub threshold: i64,
    /// Of what: milliseconds of talk, or millionths of a currency.
    pub unit: Unit,
}

/// A wish to see whether an endpoint works.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WebhookTest {
    /// Names it among all of the tenant.
    pub key: String,
    /// Whose endpoint.
    pub tenant: TenantId,
}

impl Event<'_> {
    /// What kind of thing.
    pub fn name(&self) -> EventName {
        match self {
            Self::CallAnswered(_) => EventName::CallAnswered,
            Self::CallEnded(_) => EventName::CallEnded,
            Self::CallStarted(_) => EventName::CallStarted,
            Self::CallTranscript(_) => EventName::CallTranscript,
            Self::CreditsLow(_) => EventName::CreditsLow,
            Self::FunctionCalled(..) => EventName::FunctionCalled,
            Self::WebhookTest(_) => EventName::WebhookTest,
        }
    }

    /// To whom it happened.
    pub fn tenant(&self) -> TenantId {
        match self {
            Self::CallAnswered(call)
            | Self::CallEnded(call)
            | Self::CallStarted(call)
            | Self::CallTranscript(call)
            | Self::FunctionCalled(call, _) => call.record.tenant,
            Self::CreditsLow(event) => event.tenant,
            Self::WebhookTest(event) => event.tenant,
        }
    }

    /// Unique in the tenant, and the same each time that the event is told.
    pub fn id(&self) -> String {
        // No full stop: it parts the fields that a signature covers.
        let name = self.name().as_str().replace('.', "_");
        match self {
            Self::FunctionCalled(_, index) => format!("{}:{name}_{index}", self.lane()),
            _ => format!("{}:{name}", self.lane()),
        }
    }

    /// What it is told in order with.
    pub(super) fn lane(&self) -> String {
        match self {
            Self::CallAnswered(call)
            | Self::CallEnded(call)
            | Self::CallStarted(call)
            | Self::CallTranscript(call)
            | Self::FunctionCalled(call, _) => call.record.id.to_string(),
            Self::CreditsLow(event) => event.key.clone(),
            Self::WebhookTest(event) => event.key.clone(),
        }
    }

    /// Its place in that order.
    pub(super) fn place(&self) -> u64 {
        match self {
            Self::CallStarted(_) | Self::CreditsLow(_) | Self::WebhookTest(_) => 0,
            Self::CallAnswered(_) => 1,
            Self::FunctionCalled(_, index) => 2 + *index as u64,
            Self::CallEnded(_) => ENDED,
            Self::CallTranscript(_) => ENDED + 1,
        }
    }

    /// When it happened, where that is known; else it happens now.
    pub(super) fn at(&self, now: Timestamp) -> Timestamp {
        match self {
            Self::CallAnswered(call) => call.record.answered_at,
            Self::CallEnded(call) => call.record.ended_at,
            Self::CallStarted(call) => Some(call.record.started_at),
            _ => None,
        }
        .unwrap_or(now)
    }
}

/// Which events of a call have been written.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// `call.answered`.
    pub answered: bool,
    /// `call.ended`.
    pub ended: bool,
    /// `function.called`, of so many functions of the record's list.
    pub functions: usize,
    /// `call.started`.
    pub started: bool,
    /// `call.transcript`.
    pub transcript: bool,
}

impl Told {
    /// What `call` tells and this does not have, in order. A function waits for those before it, until the call is over.
    pub(super) fn missing<'a>(&self, call: &'a StoredCall) -> Vec<Event<'a>> {
        let record = &call.record;
        let is_over = call.ledger.is_some();
        let mut events = Vec::new();
        if !self.started {
            events.push(Event::CallStarted(call));
        }
        if !self.answered && record.answered_at.is_some() {
            events.push(Event::CallAnswered(call));
        }
        let functions = record.functions.iter().enumerate().skip(self.functions);
        let called = functions.take_while(|(_, function)| is_over || function.result.is_some());
        events.extend(called.map(|(index, _)| Event::FunctionCalled(call, index)));
        if !self.ended && is_over {
            events.push(Event::CallEnded(call));
        }
        if !self.transcript && is_over && !record.transcript.is_empty() && !call.awaits_analysis() {
            events.push(Event::CallTranscript(call));
        }
        events
    }

    /// With `event`.
    pub(super) fn with(mut self, event: &Event<'_>) -> Self {
        match event {
            Event::CallAnswered(_) => self.answered = true,
            Event::CallEnded(_) => self.ended = true,
            Event::CallStarted(_) => self.started = true,
            Event::CallTranscript(_) => self.transcript = true,
            Event::FunctionCalled(_, index) => self.functions = self.functions.max(index + 1),
            Event::CreditsLow(_) | Event::WebhookTest(_) => {}
        }
        self
    }
}
