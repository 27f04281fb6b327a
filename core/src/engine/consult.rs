//! The leg to a human who is to take the call over: rung, briefed and joined with the caller.

use std::future::Future;

use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};

use super::job::{self, JobEvent};
use super::media::MediaSession;
use crate::call::{CommandId, ConsultEvent, Input, Progress};
use crate::error::Result;
use crate::provider::telephony::{DialEvent, DialProgress, LegId, Media};
use crate::time::Instant;

/// The human's leg.
pub(super) struct Consult {
    pub(super) id: CommandId,
    pub(super) leg: LegId,
    pub(super) media: Option<MediaSession>,
}

/// What a consult's job brings.
pub(super) enum ConsultStep {
    /// The carrier named the leg.
    Dialled(LegId),
    /// The human picked up.
    Media(Box<Media>),
}

impl Consult {
    pub(super) fn new(id: CommandId, leg: LegId) -> Self {
        Self { id, leg, media: None }
    }

    pub(super) fn join(&mut self, now: Instant, media: Media) {
        self.media = Some(MediaSession::new(now, media, None));
    }

    /// What the call machine must be told, in the words of a consult.
    pub(super) fn poll_input(&mut self) -> Option<Input> {
        let event = match self.media.as_mut()?.poll_input()? {
            Input::Dtmf(key) => ConsultEvent::Dtmf(key),
            Input::LegEnded { cause } | Input::MediaLost { cause } => ConsultEvent::Ended { cause },
            brief => return Some(brief),
        };
        Some(Input::Progress(self.id, Progress::Consult(event)))
    }

    /// Lets the caller and the human hear each other; false when the human's media is not there.
    pub(super) fn bridge(&mut self, caller: &mut MediaSession) -> bool {
        let Some(human) = &mut self.media else { return false };
        human.bridge();
        caller.bridge();
        true
    }

    /// Carries what each side said to the other.
    pub(super) fn exchange(&mut self, caller: &mut MediaSession) {
        if let Some(human) = &mut self.media {
            human.relay(caller);
            caller.relay(human);
        }
    }
}

/// Rings the human, and joins the leg's media once it is answered. The job lives as long as the leg.
pub(super) fn dial<F, M>(
    id: CommandId,
    dialled: impl Future<Output = Result<DialProgress>> + Send + 'static,
    open_media: F,
) -> BoxStream<'static, JobEvent>
where
    F: Fn(LegId) -> M + Send + Sync + 'static,
    M: Future<Output = Result<Media>> + Send + 'static,
{
    let told = move |event| JobEvent::Input(Input::Progress(id, Progress::Consult(event)));
    let steps = dialled.map(move |result| {
        let progress = match result {
            Ok(progress) => progress,
            Err(error) => return stream::iter([job::failed(id, &error)]).boxed(),
        };
        let leg = progress.leg.clone();
        let events = progress.events.flat_map(move |event| match event {
            DialEvent::Answered => {
                let joined = open_media(leg.clone()).map(move |media| match media {
                    Ok(media) => stream::iter(vec![
                        JobEvent::Consult(id, ConsultStep::Media(Box::new(media))),
                        told(ConsultEvent::Answered),
                    ]),
                    Err(error) => stream::iter(vec![job::failed(id, &error)]),
                });
                joined.flatten_stream().boxed()
            }
            DialEvent::EarlyMedia | DialEvent::Ringing => stream::iter([told(ConsultEvent::Ringing)]).boxed(),
            DialEvent::Failed { cause } => stream::iter([told(ConsultEvent::Failed { cause })]).boxed(),
        });
        stream::iter([JobEvent::Consult(id, ConsultStep::Dialled(progress.leg))])
            .chain(events)
            .chain(stream::pending())
            .boxed()
    });
    steps.flatten_stream().boxed()
}
