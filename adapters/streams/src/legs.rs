//! The legs of one carrier: announced, opened once, and gone when their task is.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_channel::{Receiver, Sender, TrySendError};
use futures_util::future::{self, Either};
use offhook::provider::telephony::{DtmfDigit, E164, HangupCause, LegId, Media, MediaCommand, MediaEvent, MediaFormat};
use offhook::runtime::Runtime;
use offhook::{Error, ErrorKind, Result};

/// Legs at once, at most.
pub(crate) const LEGS_MAX: usize = 16_384;

/// Legs whose media has not been opened, at most.
pub(crate) const LEGS_UNOPENED_MAX: usize = 1_024;

/// Media events that wait to be taken: two seconds of frames and more.
pub(crate) const EVENTS_MAX: usize = 128;

/// Media commands that wait to be sent: two seconds of frames and more.
pub(crate) const COMMANDS_MAX: usize = 128;

/// Requests to a leg's task that wait.
const CONTROLS_MAX: usize = 16;

/// A carrier's legs.
#[derive(Default)]
pub(crate) struct Legs {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    legs: BTreeMap<LegId, Leg>,
    next_serial: u64,
    unopened: usize,
}

struct Leg {
    control: Sender<Control>,
    /// Taken when opened.
    media: Option<Media>,
    /// Tells a leg from a later one of the same name.
    serial: u64,
}

/// A request to a leg's task. A leg that is forgotten is hung up, as if it had been asked to.
pub(crate) enum Control {
    /// Press these keys.
    Dtmf(Vec<DtmfDigit>),
    /// End the leg.
    HangUp(HangupCause),
    /// The media has been opened.
    Opened,
    /// Hand the leg over, and say whether that can be done.
    Transfer(E164, Sender<Result<()>>),
}

/// A leg's task's side of the leg; dropping it forgets the leg.
pub(crate) struct Seat {
    pub(crate) commands: Receiver<MediaCommand>,
    pub(crate) control: Receiver<Control>,
    pub(crate) events: Sender<MediaEvent>,
    leg: LegId,
    legs: Weak<Legs>,
    serial: u64,
}

impl Legs {
    /// Announces a leg. `Conflict` when there is one of that name, `RateLimited` when there are too many.
    pub(crate) fn insert(
        self: &Arc<Self>,
        leg: LegId,
        (format, marks): (MediaFormat, bool),
        operation: &'static str,
    ) -> Result<Seat> {
        let mut state = self.lock();
        if state.legs.contains_key(&leg) {
            return Err(Error::new(ErrorKind::Conflict, operation, "there is a leg of that name"));
        }
        if state.legs.len() >= LEGS_MAX || state.unopened >= LEGS_UNOPENED_MAX {
            return Err(Error::new(ErrorKind::RateLimited, operation, "too many legs"));
        }
        let serial = state.next_serial;
        state.next_serial += 1;
        state.unopened += 1;
        let (control_sender, control) = async_channel::bounded(CONTROLS_MAX);
        let (command_sender, commands) = async_channel::bounded(COMMANDS_MAX);
        let (events, event_receiver) = async_channel::bounded(EVENTS_MAX);
        let media = Media { format, marks, events: Box::pin(event_receiver), commands: command_sender };
        state.legs.insert(leg.clone(), Leg { control: control_sender, media: Some(media), serial });
        Ok(Seat { commands, control, events, leg, legs: Arc::downgrade(self), serial })
    }

    /// Whether the leg is there.
    pub(crate) fn require(&self, leg: &LegId, operation: &'static str) -> Result<()> {
        self.lock().legs.get(leg).map(|_| ()).ok_or_else(|| gone(operation))
    }

    /// Gives out the leg's media, once.
    pub(crate) fn open(&self, leg: &LegId, operation: &'static str) -> Result<Media> {
        let mut state = self.lock();
        let found = state.legs.get_mut(leg).ok_or_else(|| gone(operation))?;
        let media = found
            .media
            .take()
            .ok_or_else(|| Error::new(ErrorKind::Conflict, operation, "the media of this leg was opened before"))?;
        // Never full: nothing else is sent to a leg before it is opened.
        let _ = found.control.try_send(Control::Opened);
        state.unopened -= 1;
        Ok(media)
    }

    /// Passes `request` to an opened leg's task.
    pub(crate) fn control(&self, leg: &LegId, request: Control, operation: &'static str) -> Result<()> {
        let state = self.lock();
        let found = state.legs.get(leg).ok_or_else(|| gone(operation))?;
        if found.media.is_some() {
            return Err(Error::new(ErrorKind::Conflict, operation, "the media of this leg is not open"));
        }
        found.control.try_send(request).map_err(|error| match error {
            TrySendError::Closed(_) => gone(operation),
            TrySendError::Full(_) => Error::new(ErrorKind::RateLimited, operation, "the leg is busy"),
        })
    }

    /// Hangs the leg up and forgets it.
    pub(crate) fn hang_up(&self, leg: &LegId, cause: HangupCause) {
        let mut state = self.lock();
        let removed = state.legs.remove(leg);
        state.note_removed(removed.as_ref());
        if let Some(leg) = &removed {
            // To a task that has no room for the cause, the forgetting says enough.
            let _ = leg.control.try_send(Control::HangUp(cause));
        }
        // Dropping a leg wakes its task, which may want the lock.
        drop(state);
    }

    fn remove_serial(&self, leg: &LegId, serial: u64) {
        let mut state = self.lock();
        if state.legs.get(leg).is_some_and(|found| found.serial == serial) {
            let removed = state.legs.remove(leg);
            state.note_removed(removed.as_ref());
            drop(state);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under the lock can panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note_removed(&mut self, leg: Option<&Leg>) {
        if leg.is_some_and(|leg| leg.media.is_some()) {
            self.unopened -= 1;
        }
    }
}

impl Seat {
    /// The leg.
    pub(crate) fn leg(&self) -> &LegId {
        &self.leg
    }

    /// Waits until the media is opened; the cause when the leg is hung up first, or `limit` passes.
    pub(crate) async fn opened(&self, runtime: &dyn Runtime, limit: Duration) -> Result<(), HangupCause> {
        let deadline = runtime.sleep_until(runtime.now() + limit);
        match future::select(pin!(self.control.recv()), deadline).await {
            Either::Left((Ok(Control::HangUp(cause)), _)) => Err(cause),
            Either::Left((request, _)) => request.map(|_| ()).map_err(|_| HangupCause::NORMAL_CLEARING),
            Either::Right(_) => Err(HangupCause::RECOVERY_ON_TIMER_EXPIRY),
        }
    }

    /// Waits until the leg is hung up by our side, ignoring requests.
    pub(crate) async fn hung_up(&self) {
        while !matches!(self.control.recv().await, Ok(Control::HangUp(_)) | Err(_)) {}
    }

    /// Reports the last events and the end of the leg, unless it is hung up by our side before that can be taken.
    pub(crate) async fn end(self, last: impl IntoIterator<Item = MediaEvent> + Send, cause: HangupCause) {
        let last: Vec<_> = last.into_iter().chain([MediaEvent::Ended { cause }]).collect();
        let report = async {
            for event in last {
                // Whoever dropped the events has given the media back.
                let _ = self.events.send(event).await;
            }
        };
        future::select(pin!(report), pin!(self.hung_up())).await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(legs) = self.legs.upgrade() {
            legs.remove_serial(&self.leg, self.serial);
        }
    }
}

fn gone(operation: &'static str) -> Error {
    Error::new(ErrorKind::NotFound, operation, "there is no such leg")
}
