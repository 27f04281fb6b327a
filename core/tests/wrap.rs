//! Providers around providers.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_lite::future::block_on;
use offhook::error::{Error, ErrorKind, Result};
use offhook::provider::telephony::{
    CarrierEvent, CarrierRequest, DialOptions, DialProgress, DtmfDigit, E164, HangupCause, IncomingCall, LegId, Media,
    TelephonyCapabilities,
};
use offhook::provider::{ProviderInfo, Telephony};
use offhook::runtime::Runtime;
use offhook::time::Instant;
use offhook::wrap::{CarrierName, Carriers, Route, Scaled};
use offhook_testkit::runtime::VirtualRuntime;
use proptest::prelude::*;

/// Writes down what it is told.
struct Clerk {
    can: TelephonyCapabilities,
    leg: String,
    told: Arc<Mutex<Vec<String>>>,
}

const ABLE: TelephonyCapabilities =
    TelephonyCapabilities { dial: true, send_dtmf: true, transfer: true, webhooks: false };

impl Clerk {
    fn hire(can: TelephonyCapabilities, leg: &str) -> (Arc<dyn Telephony>, Arc<Mutex<Vec<String>>>) {
        let told = Arc::default();
        (Arc::new(Self { can, leg: leg.to_owned(), told: Arc::clone(&told) }), told)
    }

    fn note(&self, what: String) -> Result<()> {
        self.told.lock().unwrap().push(what);
        Ok(())
    }
}

#[async_trait]
impl Telephony for Clerk {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "clerk", detail: String::new() }
    }

    fn capabilities(&self) -> TelephonyCapabilities {
        self.can.clone()
    }

    async fn dial(&self, options: DialOptions) -> Result<DialProgress> {
        self.note(format!("dial {}", options.to))?;
        Ok(DialProgress { leg: LegId::new(self.leg.as_str())?, events: Box::pin(futures_lite::stream::empty()) })
    }

    async fn answer(&self, leg: LegId) -> Result<()> {
        self.note(format!("answer {leg}"))
    }

    async fn hang_up(&self, leg: LegId, cause: HangupCause) -> Result<()> {
        self.note(format!("hang up {leg} {cause}"))
    }

    async fn send_dtmf(&self, leg: LegId, _digits: Vec<DtmfDigit>) -> Result<()> {
        if !self.can.send_dtmf {
            return Err(Error::unsupported("clerk.send_dtmf", "sending digits"));
        }
        self.note(format!("digits {leg}"))
    }

    async fn transfer(&self, leg: LegId, target: E164) -> Result<()> {
        self.note(format!("transfer {leg} {target}"))
    }

    async fn open_media(&self, leg: LegId) -> Result<Media> {
        self.note(format!("open {leg}"))?;
        Err(Error::new(ErrorKind::NotFound, "clerk.open_media", "no media here"))
    }

    fn decode(&self, _request: CarrierRequest) -> Result<Vec<CarrierEvent>> {
        let leg = LegId::new("inner:1")?;
        let call = IncomingCall { leg: leg.clone(), from: None, to: None, parameters: BTreeMap::new() };
        Ok(vec![CarrierEvent::Incoming(call), CarrierEvent::Ended { leg, cause: HangupCause::USER_BUSY }])
    }
}

fn name(text: &str) -> CarrierName {
    text.parse().unwrap()
}

fn number(text: &str) -> E164 {
    text.parse().unwrap()
}

fn call(from: &str, to: &str) -> DialOptions {
    DialOptions::new(number(from), number(to), Duration::from_secs(30))
}

fn carriers(all: Vec<(&str, Arc<dyn Telephony>)>, routes: Vec<Route>) -> Result<Carriers> {
    Carriers::new(all.into_iter().map(|(text, carrier)| (name(text), carrier)).collect(), routes)
}

#[test]
fn a_leg_is_found_again_by_another_process() {
    block_on(async {
        let (trunk, told) = Clerk::hire(ABLE, "a:b");
        let (streams, untold) = Clerk::hire(ABLE, "leg");
        let both = || vec![("trunk", trunk.clone()), ("streams", streams.clone())];
        let one = carriers(both(), vec![Route::all(name("trunk"))]).unwrap();
        let leg = one.dial(call("+622150001000", "+628123456789")).await.unwrap().leg;
        assert_eq!(leg.as_str(), "trunk:a:b");

        let other = carriers(both(), vec![]).unwrap();
        other.answer(leg.clone()).await.unwrap();
        other.send_dtmf(leg.clone(), vec![]).await.unwrap();
        other.transfer(leg.clone(), number("+6281")).await.unwrap();
        assert_eq!(other.open_media(leg.clone()).await.err().unwrap().kind(), ErrorKind::NotFound);
        other.hang_up(leg, HangupCause::USER_BUSY).await.unwrap();
        let expected = [
            "dial +628123456789",
            "answer a:b",
            "digits a:b",
            "transfer a:b +6281",
            "open a:b",
            "hang up a:b user_busy",
        ];
        assert_eq!(*told.lock().unwrap(), expected);
        assert!(untold.lock().unwrap().is_empty());
    });
}

#[test]
fn a_leg_of_nobody_is_not_found() {
    block_on(async {
        let all = carriers(vec![("trunk", Clerk::hire(ABLE, "1").0)], vec![]).unwrap();
        for text in ["1", "other:1", "trunk:", "Trunk:1", ":1"] {
            let leg = LegId::new(text).unwrap();
            assert_eq!(all.answer(leg.clone()).await.unwrap_err().kind(), ErrorKind::NotFound, "{text}");
            let error = all.hang_up(leg, HangupCause::NORMAL_CLEARING).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{text}");
        }
    });
}

#[test]
fn what_one_carrier_cannot_do_is_unsupported_for_its_legs_alone() {
    block_on(async {
        let can = TelephonyCapabilities { dial: true, ..TelephonyCapabilities::default() };
        let all = vec![("trunk", Clerk::hire(ABLE, "1").0), ("plain", Clerk::hire(can.clone(), "1").0)];
        let all = carriers(all, vec![Route::all(name("trunk"))]).unwrap();
        assert_eq!(all.capabilities(), ABLE);
        all.send_dtmf(LegId::new("trunk:1").unwrap(), vec![]).await.unwrap();
        let refused = all.send_dtmf(LegId::new("plain:1").unwrap(), vec![]).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);

        let unrouted = carriers(vec![("plain", Clerk::hire(can, "1").0)], vec![]).unwrap();
        assert_eq!(unrouted.capabilities(), TelephonyCapabilities::default());
        let refused = unrouted.dial(call("+6221", "+6281")).await.err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
    });
}

#[test]
fn what_comes_in_is_named_after_its_carrier() {
    let all = carriers(vec![("trunk", Clerk::hire(ABLE, "1").0)], vec![]).unwrap();
    let incoming = |leg: &str| IncomingCall {
        leg: LegId::new(leg).unwrap(),
        from: None,
        to: None,
        parameters: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
    };
    assert_eq!(all.incoming(&name("trunk"), incoming("7")).unwrap(), incoming("trunk:7"));
    assert_eq!(all.incoming(&name("other"), incoming("7")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(all.incoming(&name("trunk"), incoming(&"7".repeat(256))).unwrap_err().kind(), ErrorKind::Rejected);
}

#[test]
fn a_webhook_is_one_carriers() {
    let all = carriers(vec![("trunk", Clerk::hire(ABLE, "1").0)], vec![]).unwrap();
    let request = || CarrierRequest::new("https://calls.example/trunk", vec![], Bytes::new());
    let events = all.decode_for(&name("trunk"), request()).unwrap();
    let [CarrierEvent::Incoming(call), CarrierEvent::Ended { leg, cause }] = &events[..] else { panic!("{events:?}") };
    assert_eq!((call.leg.as_str(), leg.as_str(), *cause), ("trunk:inner:1", "trunk:inner:1", HangupCause::USER_BUSY));
    assert_eq!(all.decode_for(&name("other"), request()).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(all.decode(request()).unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let able = || vec![("trunk", Clerk::hire(ABLE, "1").0)];
    let deaf = vec![("deaf", Clerk::hire(TelephonyCapabilities::default(), "1").0)];
    let all = || Route::all(name("trunk"));
    for (carriers, problem) in [
        (carriers(vec![], vec![]), "there is no carrier"),
        (carriers(able(), vec![all(), Route::all(name("other"))]), "a route names a carrier that is not there"),
        (carriers(deaf, vec![Route::all(name("deaf"))]), "a route names a carrier that places no calls"),
        (carriers(able(), vec![all().to_prefix("62")]), "a prefix is + and digits, such as +62"),
        (carriers(able(), vec![all().to_prefix("+62 8")]), "a prefix is + and digits, such as +62"),
    ] {
        let error = carriers.err().unwrap();
        assert_eq!((error.kind(), error.message()), (ErrorKind::ConfigInvalid, problem));
    }
    for bad in ["", "Trunk", "a:b", "a b", &"a".repeat(33)] {
        assert_eq!(bad.parse::<CarrierName>().unwrap_err().kind(), ErrorKind::ConfigInvalid, "{bad}");
    }
}

proptest! {
    #[test]
    fn the_first_route_that_fits_dials(
        routes in prop::collection::vec((0_usize..3, prop::option::of(0_usize..3), prop::option::of("\\+6[0-9]{0,2}")), 0..6),
        from in 0_usize..3,
        to in "6[0-9]{2,8}",
    ) {
        const NAMES: [&str; 3] = ["a", "b", "c"];
        const FROM: [&str; 3] = ["+111", "+222", "+333"];
        let to = format!("+{to}");
        let fits = routes.iter().find(|(_, shown, prefix)| {
            shown.is_none_or(|shown| shown == from) && prefix.as_ref().is_none_or(|prefix| to.starts_with(prefix))
        });
        let routes = routes.iter().map(|(carrier, shown, prefix)| {
            let mut route = Route::all(name(NAMES[*carrier]));
            route.from = shown.map(|shown| number(FROM[shown]));
            route.to_prefix = prefix.clone();
            route
        });
        let all = NAMES.map(|text| (text, Clerk::hire(ABLE, "leg").0)).to_vec();
        let dialled = block_on(carriers(all, routes.collect()).unwrap().dial(call(FROM[from], &to)));
        match fits {
            Some((carrier, ..)) => prop_assert_eq!(dialled.unwrap().leg.to_string(), format!("{}:leg", NAMES[*carrier])),
            None => prop_assert_eq!(dialled.err().unwrap().kind(), ErrorKind::Unsupported),
        }
    }

    #[test]
    fn scaled_time_is_the_time_below_times_the_factor(
        factor in 1_u32..1_000,
        start_ms in 0_u64..10_000,
        naps in prop::collection::vec(0_u64..5_000_000, 1..10),
    ) {
        let below = VirtualRuntime::new(1);
        below.block_on(async {
            below.sleep(Duration::from_millis(start_ms)).await;
            let scaled = Scaled::new(Arc::new(below.clone()), NonZeroU32::new(factor).unwrap());
            let (start, wall) = (below.now(), below.wall_clock());
            prop_assert_eq!((scaled.now(), scaled.wall_clock()), (start, wall));
            for nap in naps {
                let deadline = scaled.now() + Duration::from_micros(nap);
                scaled.sleep_until(deadline).await;
                prop_assert!(scaled.now() >= deadline);
                prop_assert!(scaled.now().saturating_since(deadline) < Duration::from_micros(u64::from(factor)));
                let (since, passed) = (scaled.now().saturating_since(start), below.now().saturating_since(start));
                prop_assert_eq!(since, passed * factor);
                prop_assert_eq!(scaled.wall_clock(), wall + since);
            }
            Ok(())
        })?;
    }
}

#[test]
fn far_deadlines_of_scaled_time_do_not_overflow() {
    let below = VirtualRuntime::new(1);
    let scaled = Scaled::new(Arc::new(below.clone()), NonZeroU32::MAX);
    below.block_on(async {
        below.sleep(Duration::from_secs(10_000_000_000)).await;
        assert_eq!(scaled.now(), Instant::from_micros(u64::MAX));
        scaled.sleep_until(Instant::from_micros(u64::MAX)).await;
    });
}
