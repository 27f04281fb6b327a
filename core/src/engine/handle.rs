//! What the holder of a call has in hand.

use std::pin::Pin;

use crate::call::{CallEvent, CallEventKind, CallRecord, Control, LedgerSummary};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::CallId;
use crate::provider::telephony::{DtmfDigit, HangupCause};

/// Events that wait for a holder who does not take them; then the oldest are dropped, never the last.
pub const EVENTS_MAX: usize = 1_024;

/// Requests that wait for the call.
const CONTROLS_MAX: usize = 16;

/// A call that runs. Dropping it lets the call go on.
pub struct CallHandle {
    controls: async_channel::Sender<Control>,
    events: async_channel::Receiver<CallEvent>,
    id: CallId,
}

/// The driver's ends of a handle.
pub(super) struct HandleEnds {
    pub(super) controls: Pin<Box<async_channel::Receiver<Control>>>,
    pub(super) events: async_channel::Sender<CallEvent>,
}

impl CallHandle {
    pub(super) fn new(id: CallId) -> (Self, HandleEnds) {
        let (controls, controls_out) = async_channel::bounded(CONTROLS_MAX);
        let (events_in, events) = async_channel::bounded(EVENTS_MAX);
        (Self { controls, events, id }, HandleEnds { controls: Box::pin(controls_out), events: events_in })
    }

    /// The call.
    pub fn id(&self) -> CallId {
        self.id
    }

    /// The next event; `None` after [`CallEventKind::Ended`].
    pub async fn next_event(&mut self) -> Option<CallEvent> {
        self.events.recv().await.ok()
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
        match self.controls.try_send(control) {
            Ok(()) | Err(async_channel::TrySendError::Closed(_)) => Ok(()),
            Err(async_channel::TrySendError::Full(_)) => {
                Err(Error::new(ErrorKind::RateLimited, "call.control", "too many requests wait for the call"))
            }
        }
    }
}
