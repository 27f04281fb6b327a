//! One call's loop: carries out what the call machine wants and tells it what came of it.

mod commands;
mod human;
mod meter;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;

use self::meter::Meter;
use super::Engine;
use super::consult::Consult;
use super::handle::LineEnd;
use super::job::{JobEvent, Jobs};
use super::lease::Lease;
use super::log::Log;
use super::media::MediaSession;
use super::recording::Recording;
use super::tracer::Tracer;
use crate::call::{Call, CallConfig, CommandId, Control, Input, Offer, Outcome, Progress};
use crate::provider::telephony::{LegId, Media, MediaEvent};
use crate::runtime::{self, Timer};
use crate::service::after_call::Pending;
use crate::service::agents::Agent;
use crate::service::recordings;
use crate::service::recovery::LiveCall;
use crate::time::Instant;

/// Longest wait for the last entries of the journal after the call's end: they say how it ended, should it not be settled.
const LOG_FLUSH_TIMEOUT: Duration = Duration::from_secs(600);

pub(super) struct Driver {
    /// What is done when the call is over.
    after: Option<Pending>,
    agent: Arc<Agent>,
    call: Call,
    config: CallConfig,
    consult: Option<Consult>,
    engine: Engine,
    inbox: VecDeque<Input>,
    jobs: Jobs,
    lease: Lease,
    leg: Option<LegId>,
    line: LineEnd,
    _live: LiveCall,
    log: Log,
    media: Option<MediaSession>,
    media_first: bool,
    meter: Meter,
    offer: Offer,
    timer: Box<dyn Timer>,
    tracer: Option<Tracer>,
}

/// Why the loop goes on.
enum Wake {
    Consult(Option<MediaEvent>),
    Control(Control),
    Job(CommandId, JobEvent),
    LeaseLost,
    Media(Option<MediaEvent>),
    Time,
}

impl Driver {
    pub(super) fn new(
        engine: Engine,
        agent: Arc<Agent>,
        config: CallConfig,
        after: Option<Pending>,
        offer: Offer,
        line: LineEnd,
    ) -> Self {
        let providers = &engine.shared.providers;
        let start = providers.runtime.now();
        let log = Log::new(providers.runtime.clone(), providers.store.clone(), start, &config, &offer);
        let leg = match &offer {
            Offer::Inbound { leg, .. } => Some(leg.clone()),
            Offer::Outbound { .. } => None,
        };
        let calls = engine.shared.calls.clone();
        let lease = Lease::new(providers.runtime.clone(), calls, engine.shared.lease);
        let live = engine.shared.live.enter(config.id);
        let timer = providers.runtime.clone().timer();
        let meter = Meter::new(&engine.shared.providers);
        let spans = engine.shared.spans.clone();
        let tracer = spans.and_then(|spans| Tracer::new(spans, providers, &config, engine.parent, start));
        Self {
            after,
            agent,
            call: Call::new(config.clone(), offer.clone(), start),
            config,
            consult: None,
            engine,
            inbox: VecDeque::new(),
            jobs: Jobs::default(),
            lease,
            leg,
            line,
            _live: live,
            log,
            media: None,
            media_first: false,
            meter,
            offer,
            timer,
            tracer,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            self.settle_down();
            if self.call.is_ended() {
                break;
            }
            let wake = self.next_wake().await;
            self.handle(wake);
        }
        let runtime = self.engine.shared.providers.runtime.clone();
        let log = &mut self.log;
        log.end(runtime.now());
        let flush = async { poll_fn(|context| log.poll_flush(context).map(Ok)).await };
        if runtime::timeout(&*runtime, LOG_FLUSH_TIMEOUT, "journal.flush", flush).await.is_err() {
            tracing::warn!(call = %self.config.id, "the journal's last entries were not written in time");
        }
    }

    /// Carries out outputs and feeds what came of them at once, until nothing is left to do.
    fn settle_down(&mut self) {
        loop {
            while let Some(output) = self.call.poll_output() {
                self.log.output(&output);
                if let Some(tracer) = &mut self.tracer {
                    tracer.output(self.engine.shared.providers.runtime.now(), &output);
                }
                self.perform(output);
            }
            let input = self.inbox.pop_front();
            let input = input.or_else(|| self.media.as_mut()?.poll_input());
            let input = input.or_else(|| self.consult.as_mut()?.poll_input());
            match input {
                Some(input) => self.feed(input),
                None => return,
            }
        }
    }

    fn feed(&mut self, input: Input) {
        let at = self.engine.shared.providers.runtime.now();
        self.log.input(at, &input);
        if let Some(tracer) = &mut self.tracer {
            tracer.input(at, &input);
        }
        self.call.handle_input(at, input);
    }

    fn handle(&mut self, wake: Wake) {
        let now = self.engine.shared.providers.runtime.now();
        match wake {
            Wake::Consult(event) => {
                if let Some(human) = self.human() {
                    human.receive(now, event);
                }
            }
            Wake::Control(control) => self.inbox.push_back(Input::Control(control)),
            Wake::Job(id, event) => self.job_event(now, id, event),
            Wake::LeaseLost => self.inbox.push_back(Input::LeaseLost),
            Wake::Media(event) => {
                if let Some(media) = &mut self.media {
                    media.receive(now, event);
                }
            }
            Wake::Time => {}
        }
        if let (Some(consult), Some(caller)) = (&mut self.consult, &mut self.media) {
            consult.exchange(caller);
        }
        let human = self.consult.as_mut().and_then(|consult| consult.media.as_mut());
        self.media.iter_mut().chain(human).for_each(|media| media.tick(now));
        if self.lease.next_renewal() <= now {
            let live = self.snapshot();
            self.lease.renew(now, live);
        }
        if self.call.poll_timeout().is_some_and(|(deadline, _)| deadline <= now) {
            self.log.timeout(now);
            self.call.handle_timeout(now);
        }
    }

    async fn next_wake(&mut self) -> Wake {
        let human = self.consult.as_ref().and_then(|consult| consult.media.as_ref());
        let ticks = self.media.iter().chain(human).map(MediaSession::next_tick).min();
        let timeout = self.call.poll_timeout().map(|(deadline, _)| deadline);
        let due = ticks.into_iter().chain(timeout).fold(self.lease.next_renewal(), Instant::min);
        poll_fn(|context| self.poll_wake(context, due)).await
    }

    fn poll_wake(&mut self, context: &mut Context<'_>, due: Instant) -> Poll<Wake> {
        // The journal gets on beside everything else and never decides anything.
        let _ = self.log.poll_flush(context);
        if self.lease.poll_lost(context).is_ready() {
            return Poll::Ready(Wake::LeaseLost);
        }
        if let Poll::Ready(Some(control)) = self.line.controls.poll_next_unpin(context) {
            return Poll::Ready(Wake::Control(control));
        }
        // Jobs and media take turns, so that a carrier that floods us cannot hold up a settlement.
        self.media_first = !self.media_first;
        let polls = if self.media_first {
            [Self::poll_media, Self::poll_consult, Self::poll_jobs]
        } else {
            [Self::poll_jobs, Self::poll_consult, Self::poll_media]
        };
        for poll in polls {
            if let Poll::Ready(wake) = poll(self, context) {
                return Poll::Ready(wake);
            }
        }
        self.media.iter().for_each(MediaSession::wake_recogniser);
        self.timer.poll_at(context, due).map(|()| Wake::Time)
    }

    fn poll_media(&mut self, context: &mut Context<'_>) -> Poll<Wake> {
        match self.media.as_mut().filter(|session| session.is_alive()) {
            Some(session) => session.media.events.poll_next_unpin(context).map(Wake::Media),
            None => Poll::Pending,
        }
    }

    fn poll_consult(&mut self, context: &mut Context<'_>) -> Poll<Wake> {
        match self.human().filter(|session| session.is_alive()) {
            Some(session) => session.media.events.poll_next_unpin(context).map(Wake::Consult),
            None => Poll::Pending,
        }
    }

    fn poll_jobs(&mut self, context: &mut Context<'_>) -> Poll<Wake> {
        let human = self.consult.as_ref().and_then(|consult| consult.media.as_ref());
        let sessions = [self.media.as_ref(), human];
        let hold = |id| sessions.iter().flatten().any(|session| session.is_full(id));
        self.jobs.poll_next(context, hold).map(|(id, event)| Wake::Job(id, event))
    }

    fn job_event(&mut self, now: Instant, id: CommandId, event: JobEvent) {
        match event {
            JobEvent::Consult(consult, step) => self.consulted(now, consult, step),
            JobEvent::Dialled(leg) => {
                self.leg = Some(leg);
                // Whoever has to end this call for us must be able to take the leg down.
                self.lease.hurry(now);
            }
            JobEvent::Input(input) => {
                if let Input::Progress(_, Progress::Generated(event)) = &input {
                    self.meter.generated(event);
                }
                if matches!(input, Input::Completed(_, Outcome::Reserved { .. })) {
                    self.line.begun();
                }
                if matches!(input, Input::Completed(..) | Input::Failed(..)) {
                    self.jobs.cancel(id);
                }
                if matches!(input, Input::Failed(..)) {
                    self.cancel_speech(id);
                    self.release_consult(id);
                }
                self.inbox.push_back(input);
            }
            JobEvent::Media(media) => self.join(now, *media),
            JobEvent::Speech(event) => {
                self.meter.synthesized(id, event.as_ref());
                self.speech(id, event);
            }
            JobEvent::Transcript(event) => {
                self.meter.transcribed(id, &event);
                if let Some(media) = &mut self.media {
                    media.transcript(id, event);
                }
            }
        }
    }

    fn join(&mut self, now: Instant, media: Media) {
        let providers = &self.engine.shared.providers;
        let recording = providers.blob.clone().filter(|_| self.config.policy.record).and_then(|blob| {
            let key = recordings::object_key(self.config.tenant, self.config.id);
            Recording::start(blob, &*providers.runtime, key, media.format.rate_hz)
                .inspect_err(|error| tracing::warn!(%error, "the call is not recorded"))
                .ok()
        });
        self.media = Some(MediaSession::new(now, media, recording));
    }
}
