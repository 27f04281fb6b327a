//! One call's loop: carries out what the call machine wants and tells it what came of it.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::Engine;
use super::handle::HandleEnds;
use super::job::{self, JobEvent, Jobs, Kind};
use super::lease::Lease;
use super::log::Log;
use super::media::MediaSession;
use super::recording::Recording;
use crate::call::{Call, CallConfig, Command, CommandId, Control, Failure, Input, Offer, Outcome, Output, Progress};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{self, Entry};
use crate::provider::llm::ToolCall;
use crate::provider::stt::SttOptions;
use crate::provider::telephony::{DialOptions, HangupCause, LegId, Media, MediaEvent};
use crate::provider::tts::{TtsInput, TtsOptions};
use crate::runtime;
use crate::service::agents::Agent;
use crate::service::calls::Snapshot;
use crate::service::functions;
use crate::service::recovery::LiveCall;
use crate::time::Instant;

/// Longest wait for the last entries of the journal after the call's end: they say how it ended, should it not be settled.
const LOG_FLUSH_TIMEOUT: Duration = Duration::from_secs(600);

pub(super) struct Driver {
    agent: Arc<Agent>,
    call: Call,
    config: CallConfig,
    engine: Engine,
    handle: HandleEnds,
    inbox: VecDeque<Input>,
    jobs: Jobs,
    lease: Lease,
    leg: Option<LegId>,
    _live: LiveCall,
    log: Log,
    media: Option<MediaSession>,
    media_first: bool,
    offer: Offer,
    sleep: Option<(Instant, Sleep)>,
}

type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Why the loop goes on.
enum Wake {
    Control(Control),
    Job(CommandId, JobEvent),
    LeaseLost,
    Media(Option<MediaEvent>),
    Time,
}

impl Driver {
    pub(super) fn new(engine: Engine, agent: Arc<Agent>, config: CallConfig, offer: Offer, handle: HandleEnds) -> Self {
        let providers = &engine.shared.providers;
        let start = providers.runtime.now();
        let mut log =
            Log::new(providers.runtime.clone(), providers.store.clone(), journal::log_key(config.tenant, config.id));
        let boxed = Box::new(config.clone());
        log.write(&Entry::Start { at: start, config: boxed, offer: offer.clone(), version: journal::VERSION });
        let leg = match &offer {
            Offer::Inbound { leg, .. } => Some(leg.clone()),
            Offer::Outbound { .. } => None,
        };
        let calls = engine.shared.calls.clone();
        let lease = Lease::new(providers.runtime.clone(), calls, engine.shared.lease);
        let live = engine.shared.live.enter(config.id);
        Self {
            agent,
            call: Call::new(config.clone(), offer.clone(), start),
            config,
            engine,
            handle,
            inbox: VecDeque::new(),
            jobs: Jobs::default(),
            lease,
            leg,
            _live: live,
            log,
            media: None,
            media_first: false,
            offer,
            sleep: None,
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
        let flush = async { poll_fn(|context| log.poll_flush(context).map(Ok)).await };
        if runtime::timeout(&*runtime, LOG_FLUSH_TIMEOUT, "journal.flush", flush).await.is_err() {
            tracing::warn!(call = %self.config.id, "the journal's last entries were not written in time");
        }
    }

    /// Carries out outputs and feeds what came of them at once, until nothing is left to do.
    fn settle_down(&mut self) {
        loop {
            while let Some(output) = self.call.poll_output() {
                self.perform(output);
            }
            let input = self.inbox.pop_front().or_else(|| self.media.as_mut()?.poll_input());
            match input {
                Some(input) => self.feed(input),
                None => return,
            }
        }
    }

    fn feed(&mut self, input: Input) {
        let at = self.engine.shared.providers.runtime.now();
        self.log.write(&Entry::Input { at, input: input.clone() });
        self.call.handle_input(at, input);
    }

    fn handle(&mut self, wake: Wake) {
        let now = self.engine.shared.providers.runtime.now();
        match wake {
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
        if let Some(media) = self.media.as_mut().filter(|media| media.next_tick() <= now) {
            media.tick(now);
        }
        if self.lease.next_renewal() <= now {
            let live = self.snapshot();
            self.lease.renew(now, live);
        }
        if self.call.poll_timeout().is_some_and(|(deadline, _)| deadline <= now) {
            self.log.write(&Entry::Timeout { at: now });
            self.call.handle_timeout(now);
        }
    }

    async fn next_wake(&mut self) -> Wake {
        let ticks = self.media.as_ref().map(MediaSession::next_tick);
        let timeout = self.call.poll_timeout().map(|(deadline, _)| deadline);
        let deadline = ticks.into_iter().chain(timeout).chain([self.lease.next_renewal()]).min();
        if let Some(deadline) = deadline
            && self.sleep.as_ref().is_none_or(|(until, _)| *until != deadline)
        {
            let runtime = self.engine.shared.providers.runtime.clone();
            self.sleep = Some((deadline, Box::pin(async move { runtime.sleep_until(deadline).await })));
        }
        poll_fn(|context| self.poll_wake(context)).await
    }

    fn poll_wake(&mut self, context: &mut Context<'_>) -> Poll<Wake> {
        // The journal gets on beside everything else and never decides anything.
        let _ = self.log.poll_flush(context);
        if self.lease.poll_lost(context).is_ready() {
            return Poll::Ready(Wake::LeaseLost);
        }
        if let Poll::Ready(Some(control)) = self.handle.controls.poll_next_unpin(context) {
            return Poll::Ready(Wake::Control(control));
        }
        // Jobs and media take turns, so that a carrier that floods us cannot hold up a settlement.
        self.media_first = !self.media_first;
        let polls =
            if self.media_first { [Self::poll_media, Self::poll_jobs] } else { [Self::poll_jobs, Self::poll_media] };
        for poll in polls {
            if let Poll::Ready(wake) = poll(self, context) {
                return Poll::Ready(wake);
            }
        }
        let Some((_, sleep)) = &mut self.sleep else {
            return Poll::Pending;
        };
        sleep.as_mut().poll(context).map(|()| {
            self.sleep = None;
            Wake::Time
        })
    }

    fn poll_media(&mut self, context: &mut Context<'_>) -> Poll<Wake> {
        match self.media.as_mut().filter(|session| session.is_alive()) {
            Some(session) => session.media.events.poll_next_unpin(context).map(Wake::Media),
            None => Poll::Pending,
        }
    }

    fn poll_jobs(&mut self, context: &mut Context<'_>) -> Poll<Wake> {
        let media = self.media.as_ref();
        let hold = |id| media.is_some_and(|session| session.is_full(id));
        self.jobs.poll_next(context, hold).map(|(id, event)| Wake::Job(id, event))
    }

    fn job_event(&mut self, now: Instant, id: CommandId, event: JobEvent) {
        match event {
            JobEvent::Dialled(leg) => {
                self.leg = Some(leg);
                // Whoever has to end this call for us must be able to take the leg down.
                self.lease.hurry(now);
            }
            JobEvent::Input(input) => {
                if matches!(input, Input::Completed(..) | Input::Failed(..)) {
                    self.jobs.cancel(id);
                }
                if let (Input::Failed(..), Some(media)) = (&input, &mut self.media) {
                    media.cancel_speech(id);
                }
                self.inbox.push_back(input);
            }
            JobEvent::Media(media) => self.join(now, *media),
            JobEvent::Speech(event) => {
                if let Some(media) = &mut self.media {
                    media.speech(id, event);
                }
            }
            JobEvent::Transcript(event) => {
                if let Some(media) = &mut self.media {
                    media.transcript(id, event);
                }
            }
        }
    }

    fn join(&mut self, now: Instant, media: Media) {
        let providers = &self.engine.shared.providers;
        let recording = providers.blob.clone().filter(|_| self.config.policy.record).and_then(|blob| {
            let key = format!("recordings/{}/{}.wav", self.config.tenant, self.config.id);
            Recording::start(blob, &*providers.runtime, key, media.format.rate_hz)
                .inspect_err(|error| tracing::warn!(%error, "the call is not recorded"))
                .ok()
        });
        let marks = providers.telephony.capabilities().marks;
        self.media = Some(MediaSession::new(now, media, marks, recording));
    }
}

/// Commands.
impl Driver {
    fn perform(&mut self, output: Output) {
        match output {
            Output::Cancel(id) => {
                self.jobs.cancel(id);
                if let Some(media) = &mut self.media {
                    media.cancel_speech(id);
                }
            }
            Output::Event(event) => {
                // The oldest event gives way to the newest; without a holder nobody misses either.
                let _ = self.handle.events.force_send(event);
            }
            Output::Start(id, command) => {
                if let Err(error) = self.start(id, command) {
                    self.inbox.push_back(Input::Failed(id, Failure::from(&error)));
                }
            }
        }
    }

    fn start(&mut self, id: CommandId, command: Command) -> Result<()> {
        match command {
            Command::Answer => self.answer(id),
            Command::CloseMedia => self.close_media(id),
            Command::Dial => self.dial(id),
            Command::Finalize => {
                self.session()?.finalize();
                self.complete(id);
            }
            Command::FinishListening => {
                self.session()?.finish_listening();
                self.complete(id);
            }
            Command::Generate(request) => {
                let llm = self.engine.shared.providers.llm.clone();
                let answer = async move { llm.generate(*request).await };
                self.jobs.start(id, Kind::Prompt, job::generate(id, answer));
            }
            Command::HangUp { cause } => self.hang_up(id, cause),
            Command::Listen => self.listen(id)?,
            Command::OpenMedia => self.open_media(id)?,
            Command::ReportAnswered => {
                let (calls, live) = (self.engine.calls().clone(), self.snapshot());
                let report = async move { calls.report_answered(live).await.map(|()| Outcome::Done) };
                self.jobs.start(id, Kind::Prompt, job::once(id, report));
            }
            Command::Reserve { wanted } => self.reserve(id, wanted),
            Command::RunFunction(call) => self.run_function(id, call)?,
            Command::Settle(record) => {
                let calls = self.engine.calls().clone();
                let settle = async move { calls.settle(*record).await.map(Outcome::Settled) };
                self.jobs.start(id, Kind::Prompt, job::once(id, settle));
            }
            Command::Speak { text } => self.speak(id, text)?,
        }
        Ok(())
    }

    fn reserve(&mut self, id: CommandId, wanted: Duration) {
        let (calls, live) = (self.engine.calls().clone(), self.snapshot());
        let (queued, progress) = async_channel::bounded(1);
        let reserve = async move {
            // There is room for the one thing that is said.
            let queued = |wait| drop(queued.try_send(Progress::Queued { wait }));
            calls.reserve(live, wanted, queued).await.map(|granted| Outcome::Reserved { granted })
        };
        self.jobs.start(id, Kind::Prompt, job::with_progress(id, progress, reserve));
    }

    fn answer(&mut self, id: CommandId) {
        let telephony = self.engine.shared.providers.telephony.clone();
        let leg = self.leg.clone();
        let answer = async move {
            match leg {
                Some(leg) => telephony.answer(leg).await.map(|()| Outcome::Done),
                None => Err(no_leg()),
            }
        };
        self.jobs.start(id, Kind::Prompt, job::once(id, answer));
    }

    fn dial(&mut self, id: CommandId) {
        let Offer::Outbound { from, to } = self.offer.clone() else {
            self.complete(id);
            return;
        };
        let telephony = self.engine.shared.providers.telephony.clone();
        let options = DialOptions::new(from, to, self.config.policy.ring_timeout);
        self.jobs.start(id, Kind::Prompt, job::dial(id, async move { telephony.dial(options).await }));
    }

    fn hang_up(&mut self, id: CommandId, cause: HangupCause) {
        let Some(leg) = self.leg.clone() else {
            self.complete(id);
            return;
        };
        let telephony = self.engine.shared.providers.telephony.clone();
        let hang_up = async move { telephony.hang_up(leg, cause).await.map(|()| Outcome::Done) };
        self.jobs.start(id, Kind::Prompt, job::once(id, hang_up));
    }

    fn open_media(&mut self, id: CommandId) -> Result<()> {
        let telephony = self.engine.shared.providers.telephony.clone();
        let leg = self.leg.clone().ok_or_else(no_leg)?;
        self.jobs.start(id, Kind::Prompt, job::open_media(id, async move { telephony.open_media(leg).await }));
        Ok(())
    }

    fn close_media(&mut self, id: CommandId) {
        let recording = self.media.as_mut().and_then(MediaSession::take_recording);
        let close = async move {
            match recording {
                Some(recording) => recording.finish().await.map(Outcome::Recorded),
                None => Ok(Outcome::Recorded(None)),
            }
        };
        self.jobs.start(id, Kind::Prompt, job::once(id, close));
    }

    fn listen(&mut self, id: CommandId) -> Result<()> {
        let stt = self.engine.shared.providers.stt.clone();
        let capabilities = stt.capabilities();
        let language = self.config.language.clone();
        let session = self.session()?;
        let rate_hz = best_rate(&capabilities.rates_hz, session.media.format.rate_hz);
        let input = session.listen(id, rate_hz, capabilities.detects_speech)?;
        let options = SttOptions::new(language, rate_hz);
        let events = async move { stt.transcribe(options, input.boxed()).await };
        self.jobs.start(id, Kind::Prompt, job::listen(id, events));
        Ok(())
    }

    fn speak(&mut self, id: CommandId, text: String) -> Result<()> {
        let tts = self.engine.shared.providers.tts.clone();
        let (language, voice) = (self.config.language.clone(), self.agent.voice.clone());
        let session = self.session()?;
        let rate_hz = best_rate(&tts.capabilities().rates_hz, session.media.format.rate_hz);
        session.begin_speech(id, &text, rate_hz)?;
        let mut options = TtsOptions::new(language, rate_hz);
        options.voice = voice;
        let input = stream::iter([TtsInput::Text(text), TtsInput::Flush]).boxed();
        let events = async move { tts.synthesize(options, input).await };
        self.jobs.start(id, Kind::Speech, job::speak(id, events));
        Ok(())
    }

    fn run_function(&mut self, id: CommandId, tool_call: ToolCall) -> Result<()> {
        let function = self.agent.functions.iter().find(|function| function.tool.name == tool_call.name);
        let Some(function) = function.cloned() else {
            return Err(Error::new(ErrorKind::NotFound, "function.run", "the agent has no such function"));
        };
        let providers = &self.engine.shared.providers;
        let (http, now, call) = (providers.http.clone(), providers.runtime.wall_clock(), self.config.id);
        let run = async move { functions::run(http, function, call, id, tool_call, now).await.map(Outcome::Function) };
        self.jobs.start(id, Kind::Prompt, job::once(id, run));
        Ok(())
    }

    fn complete(&mut self, id: CommandId) {
        self.inbox.push_back(Input::Completed(id, Outcome::Done));
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot { leg: self.leg.clone(), record: self.call.record() }
    }

    fn session(&mut self) -> Result<&mut MediaSession> {
        self.media
            .as_mut()
            .ok_or_else(|| Error::new(ErrorKind::Conflict, "call.media", "the media of the call is not open"))
    }
}

/// The wanted rate if it is offered, else the best one.
fn best_rate(offered: &[u32], wanted: u32) -> u32 {
    if offered.contains(&wanted) { wanted } else { offered.first().copied().unwrap_or(wanted) }
}

fn no_leg() -> Error {
    Error::new(ErrorKind::NotFound, "call.leg", "the call has no leg")
}
