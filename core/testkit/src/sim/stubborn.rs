//! A carrier that is broken on purpose: it goes on playing what it was told to forget.

use std::sync::Arc;

use async_trait::async_trait;
use offhook::error::Result;
use offhook::provider::telephony::{
    CarrierEvent, CarrierRequest, DialOptions, DialProgress, DtmfDigit, E164, HangupCause, LegId, Media, MediaCommand,
    TelephonyCapabilities,
};
use offhook::provider::{ProviderInfo, Telephony};
use offhook::runtime::Runtime;

/// Frames and marks that may wait.
const WAITING_MAX: usize = 1_024;

pub(super) struct Stubborn<T> {
    pub(super) carrier: T,
    pub(super) runtime: Arc<dyn Runtime>,
}

#[async_trait]
impl<T: Telephony> Telephony for Stubborn<T> {
    fn info(&self) -> ProviderInfo {
        self.carrier.info()
    }

    fn capabilities(&self) -> TelephonyCapabilities {
        self.carrier.capabilities()
    }

    async fn dial(&self, options: DialOptions) -> Result<DialProgress> {
        self.carrier.dial(options).await
    }

    async fn answer(&self, leg: LegId) -> Result<()> {
        self.carrier.answer(leg).await
    }

    async fn hang_up(&self, leg: LegId, cause: HangupCause) -> Result<()> {
        self.carrier.hang_up(leg, cause).await
    }

    async fn send_dtmf(&self, leg: LegId, digits: Vec<DtmfDigit>) -> Result<()> {
        self.carrier.send_dtmf(leg, digits).await
    }

    async fn transfer(&self, leg: LegId, target: E164) -> Result<()> {
        self.carrier.transfer(leg, target).await
    }

    async fn open_media(&self, leg: LegId) -> Result<Media> {
        let mut media = self.carrier.open_media(leg).await?;
        let (commands, told) = async_channel::bounded(WAITING_MAX);
        let done = std::mem::replace(&mut media.commands, commands);
        let forward = async move {
            while let Ok(command) = told.recv().await {
                if command != MediaCommand::Clear && done.send(command).await.is_err() {
                    return;
                }
            }
        };
        self.runtime.spawn("stubborn", Box::pin(forward));
        Ok(media)
    }

    fn decode(&self, request: CarrierRequest) -> Result<Vec<CarrierEvent>> {
        self.carrier.decode(request)
    }
}
