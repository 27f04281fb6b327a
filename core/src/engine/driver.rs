//! One call's loop: carries out what the call machine wants and tells it what came of it.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::Engine;
use super::consult::{self, Consult, ConsultStep};
use super::handle::HandleEnds;
use super::job::{self, JobEvent, Jobs, Kind};
use super::lease::Lease;
use super::log::Log;
use super::media::MediaSession;
use super::recording::Recording;
use crate::call::{Call, CallConfig, Command, CommandId, Control, Failure, Input, Offer, Outcome, Output, Progress};
use crate::error::{Error, ErrorKind, Result};
use crate::provider::Telephony;
use crate::provider::llm::ToolCall;
use crate::provider::stt::SttOptions;
use crate::provider::telephony::{DialOptions, E164, HangupCause, LegId, Media, MediaEvent};
use crate::provider::tts::{TtsEvent, TtsInput, TtsOptions};
use crate::runtime;
use crate::service::agents::Agent;
use crate::service::calls::Snapshot;
use crate::service::functions;
use crate::service::recovery::LiveCall;
use crate::time::Instant;

/// Longest wait for the last entries of the journal after the call's end: they say how it ended, should it not be settled.
const LOG_FLUSH_TIMEOUT: Duration = Duration::from_secs(600);

/// Longest wait for a carrier to end the leg of a human who did not take the call.
const HANG_UP_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Driver {
    agent: Arc<Agent>,
    call: Call,
    config: CallConfig,
    consult: Option<Consult>,
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
    Consult(Option<MediaEvent>),
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
        let log = Log::new(providers.runtime.clone(), providers.store.clone(), start, &config, &offer);
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
            consult: None,
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
        for media in self.media.iter_mut().chain(human).filter(|media| media.next_tick() <= now) {
            media.tick(now);
        }
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
                self.speech(id, event);
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
                self.cancel_speech(id);
                self.release_consult(id);
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
            Command::Bridge => self.bridge(id)?,
            Command::Brief { text } => self.brief(id, text)?,
            Command::CloseMedia => self.close_media(id),
            Command::Consult { target } => self.consult(id, target)?,
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
            Command::Listen { language } => self.listen(id, language)?,
            Command::OpenMedia => self.open_media(id)?,
            Command::ReportAnswered => {
                let (calls, live) = (self.engine.calls().clone(), self.snapshot());
                let report = async move { calls.report_answered(live).await.map(|()| Outcome::Done) };
                self.jobs.start(id, Kind::Prompt, job::once(id, report));
            }
            Command::Reserve { wanted } => self.reserve(id, wanted),
            Command::RunFunction(call) => self.run_function(id, call)?,
            Command::SendDigits { digits } => {
                let (telephony, leg) = (self.telephony(), self.leg.clone().ok_or_else(no_leg)?);
                let send = async move { telephony.send_dtmf(leg, digits).await.map(|()| Outcome::Done) };
                self.jobs.start(id, Kind::Prompt, job::once(id, send));
            }
            Command::Settle(record) => {
                let calls = self.engine.calls().clone();
                let settle = async move { calls.settle(*record).await.map(Outcome::Settled) };
                self.jobs.start(id, Kind::Prompt, job::once(id, settle));
            }
            Command::Speak { language, text } => self.speak(id, language, text)?,
            Command::Transfer { target } => {
                let (telephony, leg) = (self.telephony(), self.leg.clone().ok_or_else(no_leg)?);
                let transfer = async move { telephony.transfer(leg, target).await.map(|()| Outcome::Done) };
                self.jobs.start(id, Kind::Prompt, job::once(id, transfer));
            }
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

    fn listen(&mut self, id: CommandId, language: String) -> Result<()> {
        let stt = self.engine.shared.providers.stt.clone();
        let capabilities = stt.capabilities();
        let beeps = self.config.policy.screening.is_some() && matches!(self.offer, Offer::Outbound { .. });
        let session = self.session()?;
        let rate_hz = best_rate(&capabilities.rates_hz, session.media.format.rate_hz);
        let input = session.listen(id, rate_hz, capabilities.detects_speech, beeps)?;
        let options = SttOptions::new(language, rate_hz);
        let events = async move { stt.transcribe(options, input.boxed()).await };
        self.jobs.start(id, Kind::Prompt, job::listen(id, events));
        Ok(())
    }

    fn speak(&mut self, id: CommandId, language: String, text: String) -> Result<()> {
        let rates_hz = self.engine.shared.providers.tts.capabilities().rates_hz;
        let session = self.session()?;
        let rate_hz = best_rate(&rates_hz, session.media.format.rate_hz);
        session.begin_speech(id, &text, rate_hz)?;
        self.synthesize(id, language, text, rate_hz);
        Ok(())
    }

    fn synthesize(&mut self, id: CommandId, language: String, text: String, rate_hz: u32) {
        let tts = self.engine.shared.providers.tts.clone();
        let voice = self.agent.voice_of(&language).map(str::to_owned);
        let mut options = TtsOptions::new(language, rate_hz);
        options.voice = voice;
        let input = stream::iter([TtsInput::Text(text), TtsInput::Flush]).boxed();
        let events = async move { tts.synthesize(options, input).await };
        self.jobs.start(id, Kind::Speech, job::speak(id, events));
    }

    fn speech(&mut self, id: CommandId, event: Option<TtsEvent>) {
        if self.media.as_ref().is_some_and(|media| media.speaks(id)) {
            self.media.iter_mut().for_each(|media| media.speech(id, event.clone()));
        } else if let Some(human) = self.human() {
            human.speech(id, event);
        }
    }

    fn cancel_speech(&mut self, id: CommandId) {
        let human = self.consult.as_mut().and_then(|consult| consult.media.as_mut());
        self.media.iter_mut().chain(human).for_each(|media| media.cancel_speech(id));
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

    fn telephony(&self) -> Arc<dyn Telephony> {
        self.engine.shared.providers.telephony.clone()
    }

    fn complete(&mut self, id: CommandId) {
        self.inbox.push_back(Input::Completed(id, Outcome::Done));
    }

    fn snapshot(&self) -> Snapshot {
        let human = self.consult.as_ref().map(|consult| consult.leg.clone());
        Snapshot { legs: self.leg.iter().cloned().chain(human).collect(), record: self.call.record() }
    }

    fn session(&mut self) -> Result<&mut MediaSession> {
        self.media
            .as_mut()
            .ok_or_else(|| Error::new(ErrorKind::Conflict, "call.media", "the media of the call is not open"))
    }
}

/// The leg to a human who is to take the call over.
impl Driver {
    fn consult(&mut self, id: CommandId, target: E164) -> Result<()> {
        let from = self.offer.our_number().cloned();
        let from = from.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "call.consult", "the call has no number of ours to show to the human")
        })?;
        let (dialler, joiner) = (self.telephony(), self.telephony());
        let options = DialOptions::new(from, target, self.config.policy.transfer.ring_timeout);
        let open_media = move |leg| {
            let telephony = joiner.clone();
            async move { telephony.open_media(leg).await }
        };
        let dialled = consult::dial(id, async move { dialler.dial(options).await }, open_media);
        self.jobs.start(id, Kind::Prompt, dialled);
        Ok(())
    }

    fn consulted(&mut self, now: Instant, id: CommandId, step: ConsultStep) {
        let marks = self.telephony().capabilities().marks;
        match (step, &mut self.consult) {
            (ConsultStep::Dialled(leg), _) => {
                self.consult = Some(Consult::new(id, leg));
                self.lease.hurry(now);
            }
            (ConsultStep::Media(media), Some(consult)) if consult.id == id => consult.join(now, *media, marks),
            (ConsultStep::Media(_), _) => {}
        }
    }

    fn brief(&mut self, id: CommandId, text: String) -> Result<()> {
        if text.trim().is_empty() {
            self.complete(id);
            return Ok(());
        }
        let rates_hz = self.engine.shared.providers.tts.capabilities().rates_hz;
        let human = self.human().ok_or_else(no_leg)?;
        let rate_hz = best_rate(&rates_hz, human.media.format.rate_hz);
        human.begin_speech(id, &text, rate_hz)?;
        self.synthesize(id, self.config.language.clone(), text, rate_hz);
        Ok(())
    }

    fn bridge(&mut self, id: CommandId) -> Result<()> {
        let (Some(consult), Some(caller)) = (&mut self.consult, &mut self.media) else {
            return Err(no_leg());
        };
        if !consult.bridge(caller) {
            return Err(no_leg());
        }
        self.complete(id);
        Ok(())
    }

    fn human(&mut self) -> Option<&mut MediaSession> {
        self.consult.as_mut()?.media.as_mut()
    }

    /// The consult is over: ends its leg, without waiting for the carrier.
    fn release_consult(&mut self, id: CommandId) {
        let Some(consult) = self.consult.take_if(|consult| consult.id == id) else {
            return;
        };
        let providers = &self.engine.shared.providers;
        let (telephony, runtime) = (providers.telephony.clone(), providers.runtime.clone());
        let hang_up = async move {
            let done = telephony.hang_up(consult.leg, HangupCause::NORMAL_CLEARING);
            if let Err(error) = runtime::timeout(&*runtime, HANG_UP_TIMEOUT, "consult.hang_up", done).await {
                tracing::warn!(%error, "the leg of a transfer may still be up");
            }
        };
        self.engine.shared.providers.runtime.spawn("consult", Box::pin(hang_up));
    }
}

/// The wanted rate if it is offered, else the best one.
fn best_rate(offered: &[u32], wanted: u32) -> u32 {
    if offered.contains(&wanted) { wanted } else { offered.first().copied().unwrap_or(wanted) }
}

fn no_leg() -> Error {
    Error::new(ErrorKind::NotFound, "call.leg", "the call has no leg")
}
