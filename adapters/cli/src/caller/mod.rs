//! The caller at the other end: dials over a real WebSocket, listens, and says its lines when it is time.
//!
//! | file | what |
//! |---|---|
//! | [`ear`] | what is heard on the caller's side, counted in samples |
//! | [`script`] | when which line is said, without I/O and without a clock |
//!
//! The line's own clock is the count of samples: in every 20 ms one frame is heard and one is said, so that what is
//! measured here is what a person with the receiver in hand would measure.

pub mod ear;
pub mod script;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, select_biased};
use offhook::audio::codec::{self, Decoder};
use offhook::error::{Error, ErrorKind, Result};
use offhook::provider::Telephony;
use offhook::provider::telephony::{
    DialEvent, DialOptions, E164, HangupCause, LegId, Media, MediaCommand, MediaEvent, MediaFormat,
};
use offhook::runtime::Runtime;
use offhook::time::Timestamp;
use tokio::sync::watch;

use self::ear::Ear;
use self::script::{Act, Cue, Habits, Script};

/// Longest ringing.
const RING_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest silence of the line itself; a telephone line carries a frame every 20 ms.
const LINE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the agent must be silent after an interruption for its last sound to be taken for the last.
const SILENCED: Duration = Duration::from_millis(400);

/// A line that carries nothing for so long was held up by its machine; then figures mean little.
const LATE: Duration = Duration::from_millis(60);

/// Encoded sound handed to the line at once: ten seconds.
const CHUNK_BYTES: usize = 80_000;

/// Something to say.
#[derive(Clone, Debug)]
pub struct Item {
    /// When to say it.
    pub cue: Cue,
    /// The sound, at [`RATE_HZ`](crate::sound::RATE_HZ).
    pub samples: Vec<i16>,
}

/// A call as the caller knew it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CallersView {
    /// From the first sound of the interruption to the last sound of the agent, as both were on the caller's line.
    pub barge_in_reaction: Option<Duration>,
    /// Why the other side hung up; `None` when the caller did.
    pub hung_up: Option<HangupCause>,
    /// When each item was begun; `None` for those that were not.
    pub said_at: Vec<Option<Timestamp>>,
}

/// A caller with a telephone.
pub struct Caller {
    begun: Arc<AtomicUsize>,
    runtime: Arc<dyn Runtime>,
    telephone: Arc<dyn Telephony>,
}

impl Caller {
    /// A caller on `telephone`, which must be able to dial and to acknowledge marks.
    pub fn new(runtime: Arc<dyn Runtime>, telephone: Arc<dyn Telephony>) -> Self {
        Self { begun: Arc::default(), runtime, telephone }
    }

    /// Counts in `begun` how many items were begun.
    #[must_use]
    pub fn with_progress(self, begun: Arc<AtomicUsize>) -> Self {
        Self { begun, ..self }
    }

    /// Rings `to` and says `items` in turn, until the other side hangs up, the script is over, or `stop` becomes true.
    pub async fn call(
        &self,
        (from, to): (E164, E164),
        items: Vec<Item>,
        habits: Habits,
        stop: watch::Receiver<bool>,
    ) -> Result<CallersView> {
        let leg = self.dial(from, to).await?;
        let talked = self.talk(&leg, items, habits, stop).await;
        self.telephone.hang_up(leg, HangupCause::NORMAL_CLEARING).await?;
        talked
    }

    async fn talk(
        &self,
        leg: &LegId,
        items: Vec<Item>,
        habits: Habits,
        mut stop: watch::Receiver<bool>,
    ) -> Result<CallersView> {
        let media = self.telephone.open_media(leg.clone()).await?;
        let mut line = Line::new(media, items, habits)?;
        loop {
            let act = select_biased! {
                _ = pin!(stop.wait_for(|stop| *stop).fuse()) => Act::HangUp,
                event = line.media.events.next().fuse() => line.receive(event, self.runtime.wall_clock()),
                () = pin!(tokio::time::sleep(LINE_TIMEOUT).fuse()) => {
                    return Err(Error::new(ErrorKind::TimedOut, "caller.call", "the line went dead"));
                }
            };
            match act {
                Act::HangUp => return Ok(line.view),
                Act::Listen if line.view.hung_up.is_some() => return Ok(line.view),
                Act::Listen => {}
                Act::Say(item) => {
                    self.begun.store(item + 1, Ordering::Relaxed);
                    line.say(item)?;
                }
            }
        }
    }

    async fn dial(&self, from: E164, to: E164) -> Result<LegId> {
        let mut progress = self.telephone.dial(DialOptions::new(from, to, RING_TIMEOUT)).await?;
        while let Some(event) = progress.events.next().await {
            match event {
                DialEvent::Answered => return Ok(progress.leg),
                DialEvent::Failed { cause } => {
                    return Err(Error::new(ErrorKind::Rejected, "caller.dial", "the call was not taken")
                        .with_context("cause", cause));
                }
                _ => {}
            }
        }
        Err(Error::new(ErrorKind::Unavailable, "caller.dial", "nobody answered"))
    }
}

/// The caller's end of an open line.
struct Line {
    decoder: Decoder,
    ear: Ear,
    format: MediaFormat,
    heard_at: Option<Timestamp>,
    interruption: Option<Interruption>,
    items: Vec<Item>,
    media: Media,
    samples: Vec<i16>,
    script: Script,
    view: CallersView,
}

/// The caller speaks over the agent since sample `began`.
#[derive(Clone, Copy, Debug)]
struct Interruption {
    began: u64,
}

impl Line {
    fn new(media: Media, items: Vec<Item>, habits: Habits) -> Result<Self> {
        let format = media.format;
        let script = Script::new(items.iter().map(|item| item.cue).collect(), habits, format.rate_hz);
        let view = CallersView { said_at: vec![None; items.len()], ..CallersView::default() };
        Ok(Self {
            decoder: Decoder::new(format.codec),
            ear: Ear::new(format.rate_hz)?,
            format,
            heard_at: None,
            interruption: None,
            items,
            media,
            samples: Vec::new(),
            script,
            view,
        })
    }

    fn receive(&mut self, event: Option<MediaEvent>, now: Timestamp) -> Act {
        match event {
            Some(MediaEvent::Audio(audio)) => {
                let gap = now.saturating_since(self.heard_at.replace(now).unwrap_or(now));
                if gap > LATE {
                    tracing::debug!(gap_ms = gap.as_millis(), at = self.ear.position() / 8, "the line stood still");
                }
                self.samples.clear();
                self.decoder.decode(&audio, &mut self.samples);
                self.ear.hear(&self.samples);
                self.watch_interruption();
                self.script.next_act(&self.ear)
            }
            Some(MediaEvent::Marked(mark)) => {
                self.marked(mark, now);
                Act::Listen
            }
            Some(MediaEvent::Ended { cause }) => {
                self.view.hung_up = Some(cause);
                Act::Listen
            }
            Some(_) => Act::Listen,
            None => {
                self.view.hung_up.get_or_insert(HangupCause::NETWORK_OUT_OF_ORDER);
                Act::Listen
            }
        }
    }

    /// The line has come to the begin or to the end of an item; the frame of that moment is heard next.
    fn marked(&mut self, mark: u64, now: Timestamp) {
        let (item, is_end) = (usize::try_from(mark / 2).unwrap_or(usize::MAX), mark % 2 == 1);
        let Some(cue) = self.items.get(item).map(|item| item.cue) else { return };
        if is_end {
            self.script.said(&self.ear);
            return;
        }
        self.view.said_at[item] = Some(now);
        if matches!(cue, Cue::Interrupting { .. }) {
            self.interruption = Some(Interruption { began: self.ear.position() });
        }
    }

    fn say(&mut self, item: usize) -> Result<()> {
        let Some(Item { samples, .. }) = self.items.get(item) else { return Ok(()) };
        let mut encoded = Vec::with_capacity(samples.len());
        codec::encode(self.format.codec, samples, &mut encoded);
        let encoded = Bytes::from(encoded);
        let pieces = (0..encoded.len()).step_by(CHUNK_BYTES);
        let pieces = pieces.map(|at| MediaCommand::Audio(encoded.slice(at..encoded.len().min(at + CHUNK_BYTES))));
        let begin = [MediaCommand::Mark(item as u64 * 2)];
        let end = [MediaCommand::Mark(item as u64 * 2 + 1)];
        for command in begin.into_iter().chain(pieces).chain(end) {
            self.media.commands.try_send(command).map_err(|_| {
                Error::new(ErrorKind::RateLimited, "caller.say", "the recording is longer than the line takes at once")
            })?;
        }
        Ok(())
    }

    /// Once the agent has fallen silent: how long that took.
    fn watch_interruption(&mut self) {
        let Some(Interruption { began }) = self.interruption else { return };
        let silent_since = self.ear.last_heard().map_or(began, |last| (last + 1).max(began));
        if self.ear.position() - silent_since >= self.ear.samples_in(SILENCED) {
            self.view.barge_in_reaction.get_or_insert(self.ear.duration_of(silent_since - began));
            self.interruption = None;
        }
    }
}
