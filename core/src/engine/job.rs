//! Commands while they run: each is a stream of what it brings, and dropping the stream cancels it.

use std::collections::BTreeMap;
use std::future::Future;
use std::task::{Context, Poll};

use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};

use super::consult::ConsultStep;
use crate::call::{CommandId, Failure, Input, Outcome, Progress};
use crate::error::{Error, ErrorKind, Result};
use crate::provider::llm::LlmEvents;
use crate::provider::stt::{SttEvent, SttEvents};
use crate::provider::telephony::{DialProgress, LegId, Media};
use crate::provider::tts::{TtsEvent, TtsEvents};

/// What a job brings.
pub(super) enum JobEvent {
    /// The leg to a human got on.
    Consult(CommandId, ConsultStep),
    /// The carrier named the leg of a placed call.
    Dialled(LegId),
    /// Something that the call machine must know.
    Input(Input),
    /// The media is joined.
    Media(Box<Media>),
    /// A piece of speech got on; `None` when all of it is synthesised.
    Speech(Option<TtsEvent>),
    /// The recogniser heard something.
    Transcript(SttEvent),
}

type Job = BoxStream<'static, JobEvent>;

/// The jobs of one call.
#[derive(Default)]
pub(super) struct Jobs {
    running: BTreeMap<CommandId, (Kind, Job)>,
}

/// Whether a job may be made to wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// Always polled.
    Prompt,
    /// Speech waits while the playout is full.
    Speech,
}

impl Jobs {
    pub(super) fn start(&mut self, id: CommandId, kind: Kind, job: Job) {
        self.running.insert(id, (kind, job));
    }

    pub(super) fn cancel(&mut self, id: CommandId) {
        self.running.remove(&id);
    }

    /// The next event of any job, in the order of their commands; speech that `hold` names is passed over.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        hold: impl Fn(CommandId) -> bool,
    ) -> Poll<(CommandId, JobEvent)> {
        let mut finished = None;
        for (id, (kind, job)) in &mut self.running {
            if *kind == Kind::Speech && hold(*id) {
                continue;
            }
            match job.poll_next_unpin(context) {
                Poll::Pending => {}
                Poll::Ready(Some(event)) => return Poll::Ready((*id, event)),
                Poll::Ready(None) => finished = Some(*id),
            }
        }
        if let Some(id) = finished {
            self.running.remove(&id);
            // Others may have ended too; their wakers are spent.
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// A job with one result.
pub(super) fn once(id: CommandId, future: impl Future<Output = Result<Outcome>> + Send + 'static) -> Job {
    stream::once(future.map(move |result| JobEvent::Input(end(id, result)))).boxed()
}

/// A job with one result, and what happens on the way to it.
pub(super) fn with_progress(
    id: CommandId,
    progress: async_channel::Receiver<Progress>,
    future: impl Future<Output = Result<Outcome>> + Send + 'static,
) -> Job {
    let progress = progress.map(move |progress| JobEvent::Input(Input::Progress(id, progress)));
    stream::select(progress, once(id, future)).boxed()
}

pub(super) fn open_media(id: CommandId, future: impl Future<Output = Result<Media>> + Send + 'static) -> Job {
    let opened = future.map(move |result| match result {
        Ok(media) => {
            stream::iter(vec![JobEvent::Media(Box::new(media)), JobEvent::Input(Input::Completed(id, Outcome::Done))])
        }
        Err(error) => stream::iter(vec![failed(id, &error)]),
    });
    opened.flatten_stream().boxed()
}

pub(super) fn dial(id: CommandId, future: impl Future<Output = Result<DialProgress>> + Send + 'static) -> Job {
    let dialled = future.map(move |result| match result {
        Ok(progress) => {
            let events = progress.events.map(move |event| JobEvent::Input(Input::Progress(id, Progress::Dial(event))));
            let end = stream::iter([JobEvent::Input(Input::Completed(id, Outcome::Done))]);
            stream::iter([JobEvent::Dialled(progress.leg)]).chain(events).chain(end).boxed()
        }
        Err(error) => stream::iter([failed(id, &error)]).boxed(),
    });
    dialled.flatten_stream().boxed()
}

pub(super) fn generate(id: CommandId, future: impl Future<Output = Result<LlmEvents>> + Send + 'static) -> Job {
    let generated = future.map(move |result| match result {
        Ok(events) => events
            .map(move |event| match event {
                Ok(event) => JobEvent::Input(Input::Progress(id, Progress::Generated(event))),
                Err(error) => failed(id, &error),
            })
            .chain(stream::iter([failed(id, &unfinished())]))
            .boxed(),
        Err(error) => stream::iter([failed(id, &error)]).boxed(),
    });
    generated.flatten_stream().boxed()
}

pub(super) fn listen(id: CommandId, future: impl Future<Output = Result<SttEvents>> + Send + 'static) -> Job {
    let heard = future.map(move |result| match result {
        Ok(events) => events
            .map(move |event| event.map_or_else(|error| failed(id, &error), JobEvent::Transcript))
            .chain(stream::iter([JobEvent::Input(Input::Completed(id, Outcome::Done))]))
            .boxed(),
        Err(error) => stream::iter([failed(id, &error)]).boxed(),
    });
    heard.flatten_stream().boxed()
}

pub(super) fn speak(id: CommandId, future: impl Future<Output = Result<TtsEvents>> + Send + 'static) -> Job {
    let spoken = future.map(move |result| match result {
        Ok(events) => events
            .map(move |event| event.map_or_else(|error| failed(id, &error), |event| JobEvent::Speech(Some(event))))
            .chain(stream::iter([JobEvent::Speech(None)]))
            .boxed(),
        Err(error) => stream::iter([failed(id, &error)]).boxed(),
    });
    spoken.flatten_stream().boxed()
}

pub(super) fn failed(id: CommandId, error: &Error) -> JobEvent {
    JobEvent::Input(end(id, Err::<Outcome, _>(error)))
}

fn end<E: std::borrow::Borrow<Error>>(id: CommandId, result: Result<Outcome, E>) -> Input {
    match result {
        Ok(outcome) => Input::Completed(id, outcome),
        Err(error) => Input::Failed(id, Failure::from(error.borrow())),
    }
}

fn unfinished() -> Error {
    Error::new(ErrorKind::Unexpected, "llm.generate", "the answer ended without a finish")
}
