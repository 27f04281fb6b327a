//! The tones of national networks, after ITU-T E.180 Supplement 2 (01/94) and the ITU's "Various tones used in national
//! networks" (Annex to Operational Bulletin 781, 2003); for the United Kingdom BT SIN 350.

use super::ToneKind;
use crate::provider::telephony::E164;

/// Whose tones are listened for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum Country {
    /// Its congestion tone differs from busy in its level alone and is told as busy.
    Australia,
    /// As most of Latin America.
    Brazil,
    /// The mainland.
    China,
    /// France.
    France,
    /// As much of the European continent.
    Germany,
    /// India.
    India,
    /// Indonesia.
    Indonesia,
    /// Its busy tone stands for congestion too.
    Japan,
    /// The United States, Canada and the Caribbean.
    #[default]
    NorthAmerica,
    /// Spain.
    Spain,
    /// The United Kingdom.
    UnitedKingdom,
}

impl Country {
    /// By its ISO 3166-1 code, in capitals; `None` where the tones are not known.
    pub fn from_code(code: &str) -> Option<Self> {
        Some(match code {
            "AU" => Self::Australia,
            "BR" => Self::Brazil,
            "CN" => Self::China,
            "FR" => Self::France,
            "DE" => Self::Germany,
            "IN" => Self::India,
            "ID" => Self::Indonesia,
            "JP" => Self::Japan,
            "US" | "CA" => Self::NorthAmerica,
            "ES" => Self::Spain,
            "GB" => Self::UnitedKingdom,
            _ => return None,
        })
    }

    /// By the country code of a number; North America where the tones are not known.
    pub fn of_number(number: &E164) -> Self {
        let of = |(prefix, country): &(&str, Self)| number.as_str().starts_with(prefix).then_some(*country);
        NUMBERS.iter().find_map(of).unwrap_or_default()
    }

    pub(super) fn patterns(self) -> &'static [Pattern] {
        match self {
            Self::Australia => &AUSTRALIA,
            Self::Brazil => &BRAZIL,
            Self::China => &CHINA,
            Self::France => &FRANCE,
            Self::Germany => &GERMANY,
            Self::India => &INDIA,
            Self::Indonesia => &INDONESIA,
            Self::Japan => &JAPAN,
            Self::NorthAmerica => &NORTH_AMERICA,
            Self::Spain => &SPAIN,
            Self::UnitedKingdom => &UNITED_KINGDOM,
        }
    }
}

/// Country codes of ITU-T E.164, none of which begins another.
const NUMBERS: [(&str, Country); 11] = [
    ("+1", Country::NorthAmerica),
    ("+33", Country::France),
    ("+34", Country::Spain),
    ("+44", Country::UnitedKingdom),
    ("+49", Country::Germany),
    ("+55", Country::Brazil),
    ("+61", Country::Australia),
    ("+62", Country::Indonesia),
    ("+81", Country::Japan),
    ("+86", Country::China),
    ("+91", Country::India),
];

/// A tone of a network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pattern {
    pub(super) kind: ToneKind,
    pub(super) sound: Sound,
    /// Milliseconds of sound and of silence in turn, from a sound on; empty for one that goes on.
    pub(super) cadence_ms: &'static [u16],
}

/// What sounds, in hertz.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Sound {
    /// A pitch that another modulates: its side bands, and itself or not.
    Modulated(f64, f64),
    One(f64),
    Two(f64, f64),
}

const fn pattern(kind: ToneKind, sound: Sound, cadence_ms: &'static [u16]) -> Pattern {
    Pattern { kind, sound, cadence_ms }
}

use Sound::{Modulated, One, Two};
use ToneKind::{Busy, Congestion, Dial, Ringback};

const AUSTRALIA: [Pattern; 3] = [
    pattern(Dial, Two(413.0, 438.0), &[]),
    pattern(Ringback, Two(413.0, 438.0), &[400, 200, 400, 2_000]),
    pattern(Busy, One(425.0), &[375, 375]),
];
const BRAZIL: [Pattern; 4] = [
    pattern(Dial, One(425.0), &[]),
    pattern(Ringback, One(425.0), &[1_000, 4_000]),
    pattern(Busy, One(425.0), &[250, 250]),
    pattern(Congestion, One(425.0), &[250, 250, 750, 250]),
];
const CHINA: [Pattern; 4] = [
    pattern(Dial, One(450.0), &[]),
    pattern(Ringback, One(450.0), &[1_000, 4_000]),
    pattern(Busy, One(450.0), &[350, 350]),
    pattern(Congestion, One(450.0), &[700, 700]),
];
const FRANCE: [Pattern; 4] = [
    pattern(Dial, One(440.0), &[]),
    pattern(Ringback, One(440.0), &[1_500, 3_500]),
    pattern(Busy, One(440.0), &[500, 500]),
    pattern(Congestion, One(440.0), &[250, 250]),
];
const GERMANY: [Pattern; 4] = [
    pattern(Dial, One(425.0), &[]),
    pattern(Ringback, One(425.0), &[1_000, 4_000]),
    pattern(Busy, One(425.0), &[480, 480]),
    pattern(Congestion, One(425.0), &[240, 240]),
];
const INDIA: [Pattern; 4] = [
    pattern(Dial, Modulated(400.0, 25.0), &[]),
    pattern(Ringback, Modulated(400.0, 25.0), &[400, 200, 400, 2_000]),
    pattern(Busy, One(400.0), &[750, 750]),
    pattern(Congestion, One(400.0), &[250, 250]),
];
const INDONESIA: [Pattern; 4] = [
    pattern(Dial, One(425.0), &[]),
    pattern(Ringback, One(425.0), &[1_000, 4_000]),
    pattern(Busy, One(425.0), &[500, 500]),
    pattern(Congestion, One(425.0), &[250, 250]),
];
const JAPAN: [Pattern; 3] = [
    pattern(Dial, One(400.0), &[]),
    pattern(Ringback, Modulated(400.0, 16.0), &[1_000, 2_000]),
    pattern(Busy, One(400.0), &[500, 500]),
];
const NORTH_AMERICA: [Pattern; 4] = [
    pattern(Dial, Two(350.0, 440.0), &[]),
    pattern(Ringback, Two(440.0, 480.0), &[2_000, 4_000]),
    pattern(Busy, Two(480.0, 620.0), &[500, 500]),
    pattern(Congestion, Two(480.0, 620.0), &[250, 250]),
];
const SPAIN: [Pattern; 4] = [
    pattern(Dial, One(425.0), &[]),
    pattern(Ringback, One(425.0), &[1_500, 3_000]),
    pattern(Busy, One(425.0), &[200, 200]),
    pattern(Congestion, One(425.0), &[200, 200, 200, 200, 200, 600]),
];
const UNITED_KINGDOM: [Pattern; 4] = [
    pattern(Dial, Two(350.0, 440.0), &[]),
    pattern(Ringback, Two(400.0, 450.0), &[400, 200, 400, 2_000]),
    pattern(Busy, One(400.0), &[375, 375]),
    pattern(Congestion, One(400.0), &[400, 350, 225, 525]),
];
