//! The leg to a human who is to take the call over.

use super::Driver;
use super::commands::{best_rate, no_leg};
use crate::call::CommandId;
use crate::engine::consult::{self, Consult, ConsultStep};
use crate::engine::hang_up::hang_up;
use crate::engine::job::Kind;
use crate::engine::media::MediaSession;
use crate::error::{Error, ErrorKind, Result};
use crate::provider::telephony::{DialOptions, E164, HangupCause};
use crate::time::Instant;

impl Driver {
    pub(super) fn consult(&mut self, id: CommandId, target: E164) -> Result<()> {
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

    pub(super) fn consulted(&mut self, now: Instant, id: CommandId, step: ConsultStep) {
        match (step, &mut self.consult) {
            (ConsultStep::Dialled(leg), _) => {
                self.consult = Some(Consult::new(id, leg));
                self.lease.hurry(now);
            }
            (ConsultStep::Media(media), Some(consult)) if consult.id == id => consult.join(now, *media),
            (ConsultStep::Media(_), _) => {}
        }
    }

    pub(super) fn brief(&mut self, id: CommandId, text: String) -> Result<()> {
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

    pub(super) fn bridge(&mut self, id: CommandId) -> Result<()> {
        let (Some(consult), Some(caller)) = (&mut self.consult, &mut self.media) else {
            return Err(no_leg());
        };
        if !consult.bridge(caller) {
            return Err(no_leg());
        }
        self.complete(id);
        Ok(())
    }

    pub(super) fn human(&mut self) -> Option<&mut MediaSession> {
        self.consult.as_mut()?.media.as_mut()
    }

    /// The consult is over: ends its leg, without waiting for the carrier.
    pub(super) fn release_consult(&mut self, id: CommandId) {
        let Some(consult) = self.consult.take_if(|consult| consult.id == id) else {
            return;
        };
        let runtime = self.engine.shared.providers.runtime.clone();
        drop(hang_up(runtime, self.telephony(), consult.leg, HangupCause::NORMAL_CLEARING));
    }
}
