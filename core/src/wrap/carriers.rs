//! Several carriers as one: each number is dialled by the carrier that its route names, and each leg is found again by its id.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::{Error, ErrorKind, Result};
use crate::provider::telephony::{
    CarrierEvent, CarrierRequest, DialOptions, DialProgress, DtmfDigit, E164, HangupCause, IncomingCall, LegId, Media,
    TelephonyCapabilities,
};
use crate::provider::{ProviderInfo, Telephony};

/// Bytes in a [`CarrierName`] at most.
pub const CARRIER_NAME_BYTES_MAX: usize = 32;

/// What stands between a carrier's name and its own name for a leg.
const SEPARATOR: char = ':';

/// Several carriers, each by a name.
///
/// A leg's id is the carrier's own behind `name:`, so that another process with the same carriers finds the leg's carrier
/// again. Of what the carriers can do, [`Telephony::capabilities`] names all; what the carrier of one leg cannot do is
/// `Unsupported` for that leg. Webhooks come to one carrier and not to all: [`Carriers::decode_for`] takes them.
pub struct Carriers {
    carriers: BTreeMap<CarrierName, Arc<dyn Telephony>>,
    routes: Vec<Route>,
}

/// The name of one of several carriers: 1 to 32 of `a` to `z`, `0` to `9`, `-` and `_`.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct CarrierName(String);

/// Which calls a carrier dials: those that are all that the route says. One that says nothing is for all calls.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Route {
    /// Who dials.
    pub carrier: CarrierName,
    /// The number that is shown to the called party.
    pub from: Option<E164>,
    /// How the called number begins, with its `+`.
    pub to_prefix: Option<String>,
}

impl Carriers {
    /// These carriers; the first of `routes` that fits a call says who dials it.
    ///
    /// `ConfigInvalid` when there is no carrier, when a route names one that is not there or does not dial, or when the
    /// prefix of a route begins no number.
    pub fn new(carriers: BTreeMap<CarrierName, Arc<dyn Telephony>>, routes: Vec<Route>) -> Result<Self> {
        let invalid = |message| Error::new(ErrorKind::ConfigInvalid, "carriers.new", message);
        if carriers.is_empty() {
            return Err(invalid("there is no carrier"));
        }
        for Route { carrier, to_prefix, .. } in &routes {
            let problem = match carriers.get(carrier) {
                None => "a route names a carrier that is not there",
                Some(found) if !found.capabilities().dial => "a route names a carrier that places no calls",
                Some(_) if to_prefix.as_deref().is_some_and(|prefix| !is_prefix(prefix)) => {
                    "a prefix is + and digits, such as +62"
                }
                Some(_) => continue,
            };
            return Err(invalid(problem).with_context("carrier", carrier));
        }
        Ok(Self { carriers, routes })
    }

    /// The carrier of that name.
    pub fn carrier(&self, name: &CarrierName) -> Option<&Arc<dyn Telephony>> {
        self.carriers.get(name)
    }

    /// A call that came in by the carrier of that name, as it is known here.
    ///
    /// `NotFound` when there is no such carrier, `Rejected` when its leg's id leaves no place for its name.
    pub fn incoming(&self, name: &CarrierName, call: IncomingCall) -> Result<IncomingCall> {
        self.named(name, "carriers.incoming")?;
        Ok(IncomingCall { leg: leg_here(name, &call.leg)?, ..call })
    }

    /// Verifies and parses a webhook of the carrier of that name, as [`Telephony::decode`] does.
    ///
    /// `NotFound` when there is no such carrier.
    pub fn decode_for(&self, name: &CarrierName, request: CarrierRequest) -> Result<Vec<CarrierEvent>> {
        let events = self.named(name, "carriers.decode")?.decode(request)?;
        let here = |event| match event {
            CarrierEvent::Ended { leg, cause } => Ok(CarrierEvent::Ended { leg: leg_here(name, &leg)?, cause }),
            CarrierEvent::Incoming(call) => self.incoming(name, call).map(CarrierEvent::Incoming),
        };
        events.into_iter().map(here).collect()
    }

    /// Who dials that call.
    fn route(&self, options: &DialOptions) -> Result<(&CarrierName, &Arc<dyn Telephony>)> {
        let Some(route) = self.routes.iter().find(|route| route.takes(options)) else {
            return Err(Error::new(ErrorKind::Unsupported, "carriers.dial", "no carrier has a route to that number"));
        };
        Ok((&route.carrier, self.named(&route.carrier, "carriers.dial")?))
    }

    fn named(&self, name: &CarrierName, operation: &'static str) -> Result<&Arc<dyn Telephony>> {
        self.carriers.get(name).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, operation, "there is no such carrier").with_context("carrier", name)
        })
    }

    /// The carrier of a leg, and what it calls the leg.
    fn owner(&self, leg: &LegId, operation: &'static str) -> Result<(&Arc<dyn Telephony>, LegId)> {
        let nameless = || Error::new(ErrorKind::NotFound, operation, "the leg is of no carrier here");
        let (name, theirs) = leg.as_str().split_once(SEPARATOR).ok_or_else(nameless)?;
        let name = name.parse().map_err(|_| nameless())?;
        let theirs = LegId::new(theirs).map_err(|_| nameless())?;
        Ok((self.named(&name, operation)?, theirs))
    }
}

#[async_trait]
impl Telephony for Carriers {
    fn info(&self) -> ProviderInfo {
        let names: Vec<_> = self.carriers.keys().map(CarrierName::as_str).collect();
        ProviderInfo { name: "carriers", detail: names.join(" ") }
    }

    fn capabilities(&self) -> TelephonyCapabilities {
        let all: Vec<_> = self.carriers.values().map(|carrier| carrier.capabilities()).collect();
        TelephonyCapabilities {
            dial: !self.routes.is_empty(),
            send_dtmf: all.iter().any(|one| one.send_dtmf),
            transfer: all.iter().any(|one| one.transfer),
            webhooks: false,
        }
    }

    /// `Unsupported` when no route fits the call.
    async fn dial(&self, options: DialOptions) -> Result<DialProgress> {
        let (name, carrier) = self.route(&options)?;
        let DialProgress { leg, events } = carrier.dial(options).await?;
        Ok(DialProgress { leg: leg_here(name, &leg)?, events })
    }

    async fn answer(&self, leg: LegId) -> Result<()> {
        let (carrier, leg) = self.owner(&leg, "carriers.answer")?;
        carrier.answer(leg).await
    }

    /// `NotFound` for a leg of a carrier that is not here, as nobody knows whether it is up.
    async fn hang_up(&self, leg: LegId, cause: HangupCause) -> Result<()> {
        let (carrier, leg) = self.owner(&leg, "carriers.hang_up")?;
        carrier.hang_up(leg, cause).await
    }

    async fn send_dtmf(&self, leg: LegId, digits: Vec<DtmfDigit>) -> Result<()> {
        let (carrier, leg) = self.owner(&leg, "carriers.send_dtmf")?;
        carrier.send_dtmf(leg, digits).await
    }

    async fn transfer(&self, leg: LegId, target: E164) -> Result<()> {
        let (carrier, leg) = self.owner(&leg, "carriers.transfer")?;
        carrier.transfer(leg, target).await
    }

    async fn open_media(&self, leg: LegId) -> Result<Media> {
        let (carrier, leg) = self.owner(&leg, "carriers.open_media")?;
        carrier.open_media(leg).await
    }

    fn decode(&self, _request: CarrierRequest) -> Result<Vec<CarrierEvent>> {
        Err(Error::unsupported("carriers.decode", "a webhook of no carrier in particular"))
    }
}

impl CarrierName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CarrierName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
        if text.is_empty() || text.len() > CARRIER_NAME_BYTES_MAX || !text.bytes().all(fits) {
            let message = "a carrier's name is 1 to 32 of a to z, 0 to 9, - and _";
            return Err(Error::new(ErrorKind::ConfigInvalid, "carrier_name.parse", message));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for CarrierName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Route {
    /// All calls, by `carrier`.
    pub fn all(carrier: CarrierName) -> Self {
        Self { carrier, from: None, to_prefix: None }
    }

    /// Only those that show `number`.
    #[must_use]
    pub fn from(self, number: E164) -> Self {
        Self { from: Some(number), ..self }
    }

    /// Only those to numbers that begin so, such as `+62`.
    #[must_use]
    pub fn to_prefix(self, prefix: impl Into<String>) -> Self {
        Self { to_prefix: Some(prefix.into()), ..self }
    }

    fn takes(&self, call: &DialOptions) -> bool {
        self.from.as_ref().is_none_or(|from| *from == call.from)
            && self.to_prefix.as_deref().is_none_or(|prefix| call.to.as_str().starts_with(prefix))
    }
}

/// A carrier's leg, as it is known here.
fn leg_here(name: &CarrierName, leg: &LegId) -> Result<LegId> {
    LegId::new(format!("{name}{SEPARATOR}{leg}")).map_err(|error| {
        Error::new(ErrorKind::Rejected, "carriers.leg", "the carrier's name for the leg is too long").with_source(error)
    })
}

fn is_prefix(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| digits.len() <= 15 && digits.bytes().all(|byte| byte.is_ascii_digit()))
}
