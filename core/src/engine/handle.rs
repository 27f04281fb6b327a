//! What the holder of a call has in hand.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::call::record::EndReason;
use crate::call::{CallEvent, CallEventKind, CallRecord, Control, LedgerSummary, Phase, TranscriptEntry};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::CallId;
use crate::provider::telephony::{DtmfDigit, HangupCause};

/// Events that wait for a holder who does not take them; then the oldest are dropped, never the last.
pub const EVENTS_MAX: usize = 1_024;

/// Requests that wait for the call.
const CONTROLS_MAX: usize = 16;

/// A call that runs. Dropping it lets the call go on.
pub struct CallHandle {
    events: async_channel::Receiver<CallEvent>,
    line: Arc<Line>,
}

/// What a call looks like to somebody who joins it late.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Glance {
    /// Where it stands; `None` when it has only just begun.
    pub phase: Option<Phase>,
    /// What was said so far, by its index in the transcript.
    pub transcript: BTreeMap<usize, TranscriptEntry>,
}

impl Glance {
    /// Takes an event in. Says whether the transcript changed.
    pub fn take(&mut self, event: &CallEvent) -> bool {
        match &event.kind {
            CallEventKind::Phase { phase } => self.phase = Some(*phase),
            CallEventKind::Transcript { index, entry } => {
                self.transcript.insert(*index, entry.clone());
                return true;
            }
            CallEventKind::TranscriptTruncated { length } => {
                self.transcript.split_off(length);
                return true;
            }
            _ => {}
        }
        false
    }
}

/// What connects a call's driver with everybody who follows it.
pub(super) struct Line {
    /// Closed when the call has begun, or is over.
    begun: async_channel::Receiver<()>,
    controls: async_channel::Sender<Control>,
    id: CallId,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    followers: Vec<async_channel::Sender<CallEvent>>,
    glance: Glance,
    has_begun: bool,
    is_over: bool,
}

/// The driver's end of the line. Dropping it ends the events of all who follow.
pub(super) struct LineEnd {
    begin: async_channel::Sender<()>,
    pub(super) controls: Pin<Box<async_channel::Receiver<Control>>>,
    line: Arc<Line>,
}

impl LineEnd {
    /// Whoever waits for the call to begin need not any more.
    pub(super) fn begun(&self) {
        self.line.state().has_begun = true;
        self.begin.close();
    }

    pub(super) fn tell(&self, event: CallEvent) {
        let mut state = self.line.state();
        state.glance.take(&event);
        // The oldest event gives way to the newest; without a holder nobody misses either.
        state.followers.retain(|follower| follower.force_send(event.clone()).is_ok());
    }
}

impl Drop for LineEnd {
    fn drop(&mut self) {
        let mut state = self.line.state();
        state.is_over = true;
        state.followers.clear();
        self.begin.close();
    }
}

impl Line {
    pub(super) fn new(id: CallId) -> (Arc<Self>, LineEnd) {
        let (controls, controls_out) = async_channel::bounded(CONTROLS_MAX);
        let (begin, begun) = async_channel::bounded(1);
        let line = Arc::new(Self { begun, controls, id, state: Mutex::default() });
        (line.clone(), LineEnd { begin, controls: Box::pin(controls_out), line })
    }

    /// One more who follows the call, and what there is to see now; `None` when it is over.
    pub(super) fn follow(self: &Arc<Self>) -> Option<(CallHandle, Glance)> {
        let (sender, events) = async_channel::bounded(EVENTS_MAX);
        let mut state = self.state();
        if state.is_over {
            return None;
        }
        state.followers.push(sender);
        Some((CallHandle { events, line: self.clone() }, state.glance.clone()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under the lock can panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CallHandle {
    /// The call.
    pub fn id(&self) -> CallId {
        self.line.id
    }

    /// Waits until the call has begun: it is committed, has a slot and credits, and is about to ring or be answered.
    ///
    /// `RateLimited` when there was no slot, `InsufficientFunds` when there were no credits, `Rejected` when the agent does
    /// not take calls now or nobody has said what the call costs, `Conflict` when its task changed, `Unavailable` when the
    /// store failed; the context `reason` has the record's [`EndReason`].
    pub async fn begun(&mut self) -> Result<()> {
        // Nothing is ever sent: the channel is closed.
        let _ = self.line.begun.recv().await;
        if self.line.state().has_begun {
            return Ok(());
        }
        while let Some(event) = self.next_event().await {
            if let CallEventKind::Ended { record, .. } = event.kind {
                return Err(never_begun(record.end_reason));
            }
        }
        Err(never_begun(None))
    }

    /// The next event; `None` after [`CallEventKind::Ended`].
    pub async fn next_event(&mut self) -> Option<CallEvent> {
        self.events.recv().await.ok()
    }

    /// Ends the call at once, and counts it as failed. Cancelling one that is over is not an error.
    pub fn cancel(&self) -> Result<()> {
        self.control(Control::Cancel)
    }

    /// Ends the call. Ending one that is over is not an error.
    pub fn hang_up(&self) -> Result<()> {
        self.control(Control::HangUp)
    }

    /// Puts the caller on hold: the agent neither listens nor speaks.
    pub fn hold(&self) -> Result<()> {
        self.control(Control::Hold)
    }

    /// Refuses a call that is not answered yet.
    pub fn reject(&self, cause: HangupCause) -> Result<()> {
        self.control(Control::Reject { cause })
    }

    /// Goes on after a hold.
    pub fn resume(&self) -> Result<()> {
        self.control(Control::Resume)
    }

    /// Presses keys on the leg, where the carrier can.
    pub fn send_digits(&self, digits: Vec<DtmfDigit>) -> Result<()> {
        self.control(Control::SendDigits { digits })
    }

    /// Hands the call over to one of the agent's targets; a human who is briefed first is told `brief`.
    pub fn transfer(&self, target: impl Into<String>, brief: impl Into<String>) -> Result<()> {
        self.control(Control::Transfer { brief: brief.into(), target: target.into() })
    }

    /// Lets the agent say `text`, after what it is saying.
    pub fn say(&self, text: impl Into<String>) -> Result<()> {
        self.control(Control::Say { text: text.into(), interruptible: true })
    }

    /// Lets the agent say `text` to its end, whatever the caller does, after what it is saying.
    pub fn announce(&self, text: impl Into<String>) -> Result<()> {
        self.control(Control::Say { text: text.into(), interruptible: false })
    }

    /// Waits for the call's end; events are passed over.
    ///
    /// `Unexpected` when the call was lost: its task ended without a last event.
    pub async fn finished(mut self) -> Result<(CallRecord, Option<LedgerSummary>)> {
        while let Some(event) = self.next_event().await {
            if let CallEventKind::Ended { record, ledger } = event.kind {
                return Ok((*record, ledger));
            }
        }
        Err(Error::new(ErrorKind::Unexpected, "call.finished", "the call ended without a record"))
    }

    fn control(&self, control: Control) -> Result<()> {
        match self.line.controls.try_send(control) {
            Ok(()) | Err(async_channel::TrySendError::Closed(_)) => Ok(()),
            Err(async_channel::TrySendError::Full(_)) => {
                Err(Error::new(ErrorKind::RateLimited, "call.control", "too many requests wait for the call"))
            }
        }
    }
}

fn never_begun(reason: Option<EndReason>) -> Error {
    let (kind, message) = match reason {
        Some(EndReason::OverCapacity) => (ErrorKind::RateLimited, "as many calls go on as may"),
        Some(EndReason::InsufficientCredits) => (ErrorKind::InsufficientFunds, "no prepaid credit is left"),
        Some(EndReason::AgentInactive) => (ErrorKind::Rejected, "the agent is switched off"),
        Some(EndReason::OutsideHours) => (ErrorKind::Rejected, "it is outside of the agent's active hours"),
        Some(EndReason::Rejected) => (ErrorKind::Rejected, "nobody has said what the call costs"),
        Some(EndReason::Cancelled | EndReason::OperatorHangUp) => {
            (ErrorKind::Conflict, "the call was called off before it began")
        }
        Some(EndReason::StoreFailure | EndReason::SetUpTimeout) => (ErrorKind::Unavailable, "the store failed"),
        _ => (ErrorKind::Unexpected, "the call did not begin"),
    };
    let error = Error::new(kind, "call.begin", message);
    reason.into_iter().fold(error, |error, reason| error.with_context("reason", reason))
}
