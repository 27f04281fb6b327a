//! What the call machine wants, carried out.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::Driver;
use crate::audio::progress::Country;
use crate::call::{CallEventKind, Command, CommandId, Failure, Input, Offer, Outcome, Output, Progress};
use crate::engine::hang_up::hang_up;
use crate::engine::job::{self, Kind};
use crate::engine::media::MediaSession;
use crate::error::{Error, ErrorKind, Result};
use crate::provider::Telephony;
use crate::provider::llm::ToolCall;
use crate::provider::stt::SttOptions;
use crate::provider::telephony::{DialOptions, HangupCause};
use crate::provider::tts::{TtsEvent, TtsInput, TtsOptions};
use crate::service::calls::Snapshot;
use crate::service::functions::{self, Asked};

impl Driver {
    pub(super) fn perform(&mut self, output: Output) {
        match output {
            Output::Cancel(id) => {
                self.jobs.cancel(id);
                self.cancel_speech(id);
                self.release_consult(id);
            }
            Output::Event(event) => {
                if matches!(event.kind, CallEventKind::FunctionFinished { .. }) {
                    // The renewal tells the customer of it.
                    self.lease.hurry(self.engine.shared.providers.runtime.now());
                }
                self.line.tell(event);
            }
            Output::Start(id, command) => {
                if let Err(error) = self.start(id, command) {
                    self.inbox.push_back(Input::Failed(id, Failure::from(&error)));
                }
            }
        }
    }

    pub(super) fn start(&mut self, id: CommandId, command: Command) -> Result<()> {
        match command {
            Command::Answer => self.answer(id),
            Command::Bridge => self.bridge(id)?,
            Command::Brief { text } => self.brief(id, text)?,
            Command::CloseMedia => self.close_media(id),
            Command::Consult { target } => self.consult(id, target)?,
            Command::Dial => self.dial(id),
            Command::Extend { wanted } => {
                let (calls, live) = (self.engine.calls().clone(), self.snapshot());
                let extend =
                    async move { calls.extend(live, wanted).await.map(|granted| Outcome::Reserved { granted }) };
                self.jobs.start(id, Kind::Prompt, job::once(id, extend));
            }
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
                self.meter.generate();
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
                let (calls, usage, after) = (self.engine.calls().clone(), self.meter.usage(), self.after.clone());
                let settle = async move { calls.settle(*record, usage, after).await.map(Outcome::Settled) };
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

    pub(super) fn reserve(&mut self, id: CommandId, wanted: Duration) {
        let (calls, live, after) = (self.engine.calls().clone(), self.snapshot(), self.after.clone());
        let (queued, progress) = async_channel::bounded(1);
        let reserve = async move {
            // There is room for the one thing that is said.
            let queued = |wait| drop(queued.try_send(Progress::Queued { wait }));
            calls.reserve(live, wanted, after, queued).await.map(|granted| Outcome::Reserved { granted })
        };
        self.jobs.start(id, Kind::Prompt, job::with_progress(id, progress, reserve));
    }

    pub(super) fn answer(&mut self, id: CommandId) {
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

    pub(super) fn dial(&mut self, id: CommandId) {
        let Offer::Outbound { from, to } = self.offer.clone() else {
            self.complete(id);
            return;
        };
        let telephony = self.engine.shared.providers.telephony.clone();
        let options = DialOptions::new(from, to, self.config.policy.ring_timeout);
        self.jobs.start(id, Kind::Prompt, job::dial(id, async move { telephony.dial(options).await }));
    }

    pub(super) fn hang_up(&mut self, id: CommandId, cause: HangupCause) {
        let Some(leg) = self.leg.clone() else {
            self.complete(id);
            return;
        };
        let ended = hang_up(self.engine.shared.providers.runtime.clone(), self.telephony(), leg, cause);
        self.jobs.start(id, Kind::Prompt, job::once(id, async move { ended.await.map(|()| Outcome::Done) }));
    }

    pub(super) fn open_media(&mut self, id: CommandId) -> Result<()> {
        let telephony = self.engine.shared.providers.telephony.clone();
        let leg = self.leg.clone().ok_or_else(no_leg)?;
        self.jobs.start(id, Kind::Prompt, job::open_media(id, async move { telephony.open_media(leg).await }));
        Ok(())
    }

    pub(super) fn close_media(&mut self, id: CommandId) {
        let recording = self.media.as_mut().and_then(MediaSession::take_recording);
        let close = async move {
            match recording {
                Some(recording) => recording.finish().await.map(Outcome::Recorded),
                None => Ok(Outcome::Recorded(None)),
            }
        };
        self.jobs.start(id, Kind::Prompt, job::once(id, close));
    }

    pub(super) fn listen(&mut self, id: CommandId, language: String) -> Result<()> {
        let stt = self.engine.shared.providers.stt.clone();
        let capabilities = stt.capabilities();
        let silero = self.engine.shared.speech_detector.clone();
        let machines_of = match &self.offer {
            Offer::Outbound { to, .. } if self.config.policy.screening.is_some() => Some(Country::of_number(to)),
            _ => None,
        };
        let session = self.session()?;
        let rate_hz = best_rate(&capabilities.rates_hz, session.media.format.rate_hz);
        let input = session.listen(id, rate_hz, capabilities.detects_speech, silero.as_ref(), machines_of)?;
        let options = SttOptions::new(language, rate_hz);
        let sent = self.meter.listen(id, rate_hz);
        let input = input.inspect(move |input| sent.count(input)).boxed();
        let events = async move { stt.transcribe(options, input).await };
        self.jobs.start(id, Kind::Prompt, job::listen(id, events));
        Ok(())
    }

    pub(super) fn speak(&mut self, id: CommandId, language: String, text: String) -> Result<()> {
        let rates_hz = self.engine.shared.providers.tts.capabilities().rates_hz;
        let session = self.session()?;
        let rate_hz = best_rate(&rates_hz, session.media.format.rate_hz);
        session.begin_speech(id, &text, rate_hz)?;
        self.synthesize(id, language, text, rate_hz);
        Ok(())
    }

    pub(super) fn synthesize(&mut self, id: CommandId, language: String, text: String, rate_hz: u32) {
        let tts = self.engine.shared.providers.tts.clone();
        self.meter.speak(id, &text);
        let voice = self.agent.voice_of(&language).map(str::to_owned);
        let mut options = TtsOptions::new(language, rate_hz);
        options.voice = voice;
        let input = stream::iter([TtsInput::Text(text), TtsInput::Flush]).boxed();
        let events = async move { tts.synthesize(options, input).await };
        self.jobs.start(id, Kind::Speech, job::speak(id, events));
    }

    pub(super) fn speech(&mut self, id: CommandId, event: Option<TtsEvent>) {
        if self.media.as_ref().is_some_and(|media| media.speaks(id)) {
            self.media.iter_mut().for_each(|media| media.speech(id, event.clone()));
        } else if let Some(human) = self.human() {
            human.speech(id, event);
        }
    }

    pub(super) fn cancel_speech(&mut self, id: CommandId) {
        let human = self.consult.as_mut().and_then(|consult| consult.media.as_mut());
        self.media.iter_mut().chain(human).for_each(|media| media.cancel_speech(id));
    }

    pub(super) fn run_function(&mut self, id: CommandId, tool_call: ToolCall) -> Result<()> {
        let function = self.agent.functions.iter().find(|function| function.tool.name == tool_call.name);
        let Some(function) = function.cloned() else {
            return Err(Error::new(ErrorKind::NotFound, "function.run", "the agent has no such function"));
        };
        let providers = &self.engine.shared.providers;
        let (http, now, call) = (providers.http.clone(), providers.runtime.wall_clock(), self.config.id);
        let reach = self.engine.shared.reach.clone();
        let (tenants, tenant) = (self.engine.shared.tenants.clone(), self.config.tenant);
        let run = async move {
            let secret = match function.secret.clone() {
                Some(secret) => secret,
                None => tenants.signing_secret(tenant).await?,
            };
            let asked = Asked { arguments: tool_call.arguments, at: now, call, command: id, secret };
            functions::run(http, reach, function, asked).await.map(Outcome::Function)
        };
        self.jobs.start(id, Kind::Prompt, job::once(id, run));
        Ok(())
    }

    pub(super) fn telephony(&self) -> Arc<dyn Telephony> {
        self.engine.shared.providers.telephony.clone()
    }

    pub(super) fn complete(&mut self, id: CommandId) {
        self.inbox.push_back(Input::Completed(id, Outcome::Done));
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let human = self.consult.as_ref().map(|consult| consult.leg.clone());
        let legs = self.leg.iter().cloned().chain(human).collect();
        let is_recorded = self.config.policy.record && self.engine.shared.providers.blob.is_some();
        Snapshot { is_recorded, legs, record: self.call.record(), usage: self.meter.usage() }
    }

    pub(super) fn session(&mut self) -> Result<&mut MediaSession> {
        self.media
            .as_mut()
            .ok_or_else(|| Error::new(ErrorKind::Conflict, "call.media", "the media of the call is not open"))
    }
}

/// The wanted rate if it is offered, else the best one.
pub(super) fn best_rate(offered: &[u32], wanted: u32) -> u32 {
    if offered.contains(&wanted) { wanted } else { offered.first().copied().unwrap_or(wanted) }
}

pub(super) fn no_leg() -> Error {
    Error::new(ErrorKind::NotFound, "call.leg", "the call has no leg")
}
