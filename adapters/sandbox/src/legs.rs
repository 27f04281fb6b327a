//! The sandbox's legs: dialled, opened once, and gone when either side hangs up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_channel::{Receiver, Sender};
use offhook::provider::telephony::{LegId, Media, MediaCommand, MediaEvent, MediaFormat};
use offhook::{Error, ErrorKind, Result};

/// Legs at once, at most.
pub const LEGS_MAX: usize = 16_384;

/// Media events that wait to be taken: five seconds of frames.
const EVENTS_MAX: usize = 256;

/// Media commands that wait to be taken: five seconds of frames.
const COMMANDS_MAX: usize = 256;

/// What happens to a leg from the agent's side. To hang up is to forget the leg, which closes its channel.
pub(crate) enum Control {
    /// Somebody else takes over.
    HandedOver,
    /// The media has been opened.
    Opened,
}

/// Requests to a leg that wait: it is opened once and handed over once.
const CONTROLS_MAX: usize = 4;

#[derive(Default)]
pub(crate) struct Legs {
    legs: Mutex<BTreeMap<LegId, Leg>>,
}

struct Leg {
    control: Sender<Control>,
    is_answered: bool,
    /// Taken when opened.
    media: Option<Media>,
}

/// The far end's place at a leg; dropping it ends the leg.
pub(crate) struct Seat {
    pub(crate) commands: Receiver<MediaCommand>,
    pub(crate) control: Receiver<Control>,
    pub(crate) events: Sender<MediaEvent>,
    leg: LegId,
    legs: Weak<Legs>,
}

impl Legs {
    /// `RateLimited` when there are too many, `Conflict` when there is one of that name.
    pub(crate) fn insert(self: &Arc<Self>, leg: LegId, format: MediaFormat) -> Result<Seat> {
        let mut legs = self.lock();
        if legs.len() >= LEGS_MAX {
            return Err(Error::new(ErrorKind::RateLimited, "sandbox.dial", "too many legs"));
        }
        if legs.contains_key(&leg) {
            return Err(Error::new(ErrorKind::Conflict, "sandbox.dial", "there is a leg of that name"));
        }
        let (control_sender, control) = async_channel::bounded(CONTROLS_MAX);
        let (command_sender, commands) = async_channel::bounded(COMMANDS_MAX);
        let (events, event_receiver) = async_channel::bounded(EVENTS_MAX);
        let media = Media { format, marks: true, events: Box::pin(event_receiver), commands: command_sender };
        legs.insert(leg.clone(), Leg { control: control_sender, is_answered: false, media: Some(media) });
        Ok(Seat { commands, control, events, leg, legs: Arc::downgrade(self) })
    }

    /// Whether the leg is there and answered.
    pub(crate) fn require(&self, leg: &LegId, operation: &'static str) -> Result<()> {
        match self.lock().get(leg) {
            Some(found) if found.is_answered => Ok(()),
            Some(_) => Err(Error::new(ErrorKind::Conflict, operation, "the leg is not answered")),
            None => Err(gone(operation)),
        }
    }

    /// Gives out the leg's media, once.
    pub(crate) fn open(&self, leg: &LegId) -> Result<Media> {
        const OPERATION: &str = "sandbox.open_media";
        self.require(leg, OPERATION)?;
        let mut legs = self.lock();
        let found = legs.get_mut(leg).ok_or_else(|| gone(OPERATION))?;
        let media = found.media.take();
        let media = media.ok_or_else(|| Error::new(ErrorKind::Conflict, OPERATION, "the media was opened before"))?;
        // There is room for what is told once.
        let _ = found.control.try_send(Control::Opened);
        Ok(media)
    }

    /// Tells the leg's far end that it has somebody else to talk to.
    pub(crate) fn hand_over(&self, leg: &LegId) -> Result<()> {
        const OPERATION: &str = "sandbox.transfer";
        let legs = self.lock();
        let found = legs.get(leg).ok_or_else(|| gone(OPERATION))?;
        // Who is full has been told before.
        let _ = found.control.try_send(Control::HandedOver);
        Ok(())
    }

    /// Forgets the leg, and so hangs it up.
    pub(crate) fn remove(&self, leg: &LegId) {
        let removed = self.lock().remove(leg);
        // Dropping a leg wakes its far end, which may want the lock.
        drop(removed);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<LegId, Leg>> {
        // Nothing that runs under the lock can panic half way.
        self.legs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// The far end picks up.
    pub(crate) fn answer(&self) {
        if let Some(legs) = self.legs.upgrade()
            && let Some(leg) = legs.lock().get_mut(&self.leg)
        {
            leg.is_answered = true;
        }
    }

    /// The leg.
    pub(crate) fn leg(&self) -> &LegId {
        &self.leg
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(legs) = self.legs.upgrade() {
            legs.remove(&self.leg);
        }
    }
}

fn gone(operation: &'static str) -> Error {
    Error::new(ErrorKind::NotFound, operation, "there is no such leg")
}
