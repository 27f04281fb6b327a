//! Active hours: when an agent takes and places calls, by the clock on the wall of its time zone.
//!
//! A window is open while a local clock shows a time inside it. So a window that begins in the hour that a change to
//! summer time skips opens at the change, and one that ends in the hour that a change to winter time repeats is open for
//! both passes of that hour. Zones are those of the IANA database as it was when this crate was built.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::time::Timestamp;

/// Days that are looked at for the next opening: a year of holidays in a row is closed for good.
const SEARCH_DAYS_MAX: usize = 400;

/// Windows in a week at most.
pub const WINDOWS_MAX: usize = 64;

/// Holidays at most.
pub const HOLIDAYS_MAX: usize = 1_000;

/// Weekly windows in a time zone, and days without any.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(into = "Form", try_from = "Form")]
pub struct Hours {
    holidays: BTreeSet<Date>,
    windows: Vec<Window>,
    zone: TimeZone,
}

/// A time of the day at which it opens, on some days of the week, and the next time of the day at which it closes: a
/// window whose `closes` is not after its `opens` ends on the day after.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// First moment outside.
    pub closes: TimeOfDay,
    /// The days on which it opens.
    pub days: BTreeSet<Weekday>,
    /// First moment inside.
    pub opens: TimeOfDay,
}

/// A day of the week, as ISO 8601 orders them.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the days of the week")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Weekday {
    /// From Monday to Sunday.
    pub const ALL: [Self; 7] =
        [Self::Monday, Self::Tuesday, Self::Wednesday, Self::Thursday, Self::Friday, Self::Saturday, Self::Sunday];
}

/// A local time of the day, written `22:00`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TimeOfDay(jiff::civil::Time);

/// A local date, written `2026-12-25`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Date(jiff::civil::Date);

impl Hours {
    /// Never open yet, in an IANA time zone such as `Asia/Jakarta`.
    ///
    /// `ConfigInvalid` for a zone that does not exist.
    pub fn new(zone: &str) -> Result<Self> {
        let zone = TimeZoneDatabase::bundled()
            .get(zone)
            .map_err(|error| invalid("not a time zone such as Asia/Jakarta").with_source(error))?;
        Ok(Self { holidays: BTreeSet::new(), windows: Vec::new(), zone })
    }

    /// Open from `opens` to `closes` on `days` too; a time that is not after the other is one of the next day.
    ///
    /// `ConfigInvalid` when it would be more than [`WINDOWS_MAX`] windows.
    pub fn with_window(
        mut self,
        days: impl IntoIterator<Item = Weekday>,
        opens: TimeOfDay,
        closes: TimeOfDay,
    ) -> Result<Self> {
        self.windows.push(Window { closes, days: days.into_iter().collect(), opens });
        self.checked()
    }

    /// Does not open on `date`. A window that opened on the evening before runs to its end.
    ///
    /// `ConfigInvalid` when it would be more than [`HOLIDAYS_MAX`] holidays.
    pub fn with_holiday(mut self, date: Date) -> Result<Self> {
        self.holidays.insert(date);
        self.checked()
    }

    /// Whether it is open at that moment.
    pub fn is_open(&self, at: Timestamp) -> bool {
        jiff::Timestamp::from_microsecond(at.as_unix_micros()).is_ok_and(|at| self.is_open_at(at))
    }

    /// The first open moment from `at` on, which is `at` itself when it is open; `None` when it opens in none of the next
    /// 400 days.
    pub fn next_open(&self, at: Timestamp) -> Option<Timestamp> {
        let from = jiff::Timestamp::from_microsecond(at.as_unix_micros()).ok()?;
        if self.is_open_at(from) {
            return Some(at);
        }
        let today = self.zone.to_datetime(from).date();
        let openings = today.series(jiff::Span::new().days(1)).take(SEARCH_DAYS_MAX).find_map(|date| {
            let opens_at = |window: &Window| self.moments(date.to_datetime(window.opens.0));
            self.windows.iter().flat_map(opens_at).filter(|moment| *moment > from && self.is_open_at(*moment)).min()
        });
        // It also opens when the clock is put back or forward into a window.
        let change = self.zone.following(from).map(|change| change.timestamp());
        let change = change.take_while(|moment| openings.is_some_and(|opening| *moment < opening));
        let moment = change.take(SEARCH_DAYS_MAX).find(|moment| self.is_open_at(*moment)).or(openings)?;
        Some(Timestamp::from_unix_micros(moment.as_microsecond()))
    }

    fn is_open_at(&self, at: jiff::Timestamp) -> bool {
        let local = self.zone.to_datetime(at);
        let (today, time) = (local.date(), local.time());
        let opens_on = |window: &Window, date: jiff::civil::Date| {
            window.days.contains(&weekday_of(date)) && !self.holidays.contains(&Date(date))
        };
        self.windows.iter().any(|window| {
            let (opens, closes) = (window.opens.0, window.closes.0);
            let is_overnight = closes <= opens;
            let since_today = time >= opens && (is_overnight || time < closes) && opens_on(window, today);
            let since_yesterday =
                is_overnight && time < closes && today.yesterday().is_ok_and(|yesterday| opens_on(window, yesterday));
            since_today || since_yesterday
        })
    }

    /// When a local clock shows that time: once, twice, or in place of it the moment at which it is skipped.
    fn moments(&self, local: DateTime) -> Vec<jiff::Timestamp> {
        let moment = |offset: Offset| offset.to_timestamp(local).ok();
        match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Fold { before, after } => [before, after].into_iter().filter_map(moment).collect(),
            AmbiguousOffset::Gap { after, .. } => {
                // By the new offset a skipped time lies before the change.
                let changes = moment(after).and_then(|before| self.zone.following(before).next());
                changes.map(|change| change.timestamp()).into_iter().collect()
            }
            AmbiguousOffset::Unambiguous { offset } => moment(offset).into_iter().collect(),
        }
    }

    fn checked(self) -> Result<Self> {
        if self.windows.len() > WINDOWS_MAX || self.holidays.len() > HOLIDAYS_MAX {
            return Err(invalid("too many windows or holidays"));
        }
        Ok(self)
    }
}

/// How hours are written.
#[derive(Serialize, Deserialize)]
struct Form {
    #[serde(default)]
    holidays: BTreeSet<Date>,
    windows: Vec<Window>,
    zone: String,
}

impl From<Hours> for Form {
    fn from(hours: Hours) -> Self {
        let zone = hours.zone.iana_name().unwrap_or("UTC").to_owned();
        Self { holidays: hours.holidays, windows: hours.windows, zone }
    }
}

impl TryFrom<Form> for Hours {
    type Error = Error;

    fn try_from(form: Form) -> Result<Self> {
        Self { holidays: form.holidays, windows: form.windows, ..Self::new(&form.zone)? }.checked()
    }
}

macro_rules! written_as_text {
    ($name:ident, $inner:ty, $format:literal, $refusal:literal) => {
        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                let parsed = <$inner>::strptime($format, text);
                parsed.map(Self).map_err(|error| invalid($refusal).with_source(error))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.strftime($format).fmt(f)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}

written_as_text!(TimeOfDay, jiff::civil::Time, "%H:%M", "not a time of the day such as 22:00");
written_as_text!(Date, jiff::civil::Date, "%Y-%m-%d", "not a date such as 2026-12-25");

fn weekday_of(date: jiff::civil::Date) -> Weekday {
    let days = date.weekday().to_monday_zero_offset();
    usize::try_from(days).ok().and_then(|day| Weekday::ALL.get(day)).copied().unwrap_or(Weekday::Monday)
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::ConfigInvalid, "hours", message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WORKDAYS: [Weekday; 5] =
        [Weekday::Monday, Weekday::Tuesday, Weekday::Wednesday, Weekday::Thursday, Weekday::Friday];

    fn hours(zone: &str, days: &[Weekday], opens: &str, closes: &str) -> Hours {
        let days = days.iter().copied();
        Hours::new(zone).unwrap().with_window(days, opens.parse().unwrap(), closes.parse().unwrap()).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::from_unix_micros(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
    }

    fn next(hours: &Hours, text: &str) -> String {
        hours.next_open(at(text)).map_or_else(|| "never".to_owned(), |moment| moment.to_string())
    }

    #[test]
    fn office_hours_are_local() {
        let office = hours("Asia/Jakarta", &WORKDAYS, "09:00", "17:00");
        // 2026-11-20 is a Friday; Jakarta is seven hours ahead of UTC.
        assert!(!office.is_open(at("2026-11-20T01:59:59Z")));
        assert!(office.is_open(at("2026-11-20T02:00:00Z")));
        assert!(office.is_open(at("2026-11-20T09:59:59.999Z")));
        assert!(!office.is_open(at("2026-11-20T10:00:00Z")));
        assert_eq!(next(&office, "2026-11-20T09:00:00Z"), "2026-11-20T09:00:00.000Z");
        assert_eq!(next(&office, "2026-11-20T10:00:00Z"), "2026-11-23T02:00:00.000Z");
        let office = office.with_holiday("2026-11-23".parse().unwrap()).unwrap();
        assert_eq!(next(&office, "2026-11-20T10:00:00Z"), "2026-11-24T02:00:00.000Z");
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let night = hours("UTC", &[Weekday::Friday], "22:00", "06:00");
        assert!(!night.is_open(at("2026-11-20T05:00:00Z")), "Thursday's night");
        assert!(night.is_open(at("2026-11-20T22:00:00Z")));
        assert!(night.is_open(at("2026-11-21T05:59:59Z")), "Saturday morning");
        assert!(!night.is_open(at("2026-11-21T06:00:00Z")));
        let night = night.with_holiday("2026-11-21".parse().unwrap()).unwrap();
        assert!(night.is_open(at("2026-11-21T05:00:00Z")), "the holiday opens nothing, and closes nothing either");
        let night = night.with_holiday("2026-11-20".parse().unwrap()).unwrap();
        assert!(!night.is_open(at("2026-11-21T05:00:00Z")));
        assert!(hours("UTC", &[Weekday::Friday], "00:00", "00:00").is_open(at("2026-11-20T23:59:59Z")));
    }

    #[test]
    fn a_skipped_hour_opens_at_the_change() {
        // Berlin goes from 02:00 to 03:00 at 01:00 UTC on 2026-03-29.
        let early = hours("Europe/Berlin", &[Weekday::Sunday], "02:30", "04:00");
        assert_eq!(next(&early, "2026-03-29T00:00:00Z"), "2026-03-29T01:00:00.000Z");
        assert!(early.is_open(at("2026-03-29T01:59:59Z")));
        assert!(!early.is_open(at("2026-03-29T02:00:00Z")));
        let skipped = hours("Europe/Berlin", &[Weekday::Sunday], "02:10", "02:50");
        assert_eq!(
            next(&skipped, "2026-03-29T00:00:00Z"),
            "2026-04-05T00:10:00.000Z",
            "there is no such time that day"
        );
    }

    #[test]
    fn a_repeated_hour_is_open_twice() {
        // Berlin goes from 03:00 back to 02:00 at 01:00 UTC on 2026-10-25.
        let early = hours("Europe/Berlin", &[Weekday::Sunday], "01:00", "02:30");
        assert!(early.is_open(at("2026-10-25T00:29:59Z")));
        assert!(!early.is_open(at("2026-10-25T00:30:00Z")));
        assert_eq!(next(&early, "2026-10-25T00:30:00Z"), "2026-10-25T01:00:00.000Z");
        let late = hours("Europe/Berlin", &[Weekday::Sunday], "02:45", "03:30");
        assert_eq!(next(&late, "2026-10-25T00:00:00Z"), "2026-10-25T00:45:00.000Z");
        assert_eq!(next(&late, "2026-10-25T01:00:00Z"), "2026-10-25T01:45:00.000Z");
    }

    #[test]
    fn what_never_opens_says_so() {
        assert_eq!(Hours::new("UTC").unwrap().next_open(at("2026-11-20T00:00:00Z")), None);
        assert_eq!(hours("UTC", &[], "09:00", "17:00").next_open(at("2026-11-20T00:00:00Z")), None);
        let always = hours("UTC", &Weekday::ALL, "00:00", "00:00");
        assert_eq!(always.next_open(Timestamp::from_unix_micros(i64::MAX)), None);
        assert!(!always.is_open(Timestamp::from_unix_micros(i64::MIN)));
    }

    #[test]
    fn hours_are_kept_as_people_write_them() {
        let office =
            hours("Europe/London", &WORKDAYS[..2], "09:00", "17:30").with_holiday("2026-12-25".parse().unwrap());
        let office = office.unwrap();
        let json = serde_json::to_value(&office).unwrap();
        let expected = serde_json::json!({
            "holidays": ["2026-12-25"],
            "windows": [{ "days": ["monday", "tuesday"], "opens": "09:00", "closes": "17:30" }],
            "zone": "Europe/London",
        });
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_value::<Hours>(json).unwrap(), office);
        assert!(Hours::new("Mars/Olympus").is_err());
        for text in ["24:00", "9", "noon", "", "09:60"] {
            assert!(text.parse::<TimeOfDay>().is_err(), "{text}");
        }
        for text in ["2026-02-30", "2026-12", ""] {
            assert!(text.parse::<Date>().is_err(), "{text}");
        }
    }

    proptest! {
        /// Against a walk through the minutes.
        #[test]
        fn the_next_opening_is_the_first(
            zone in prop::sample::select(vec!["Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Australia/Lord_Howe"]),
            windows in prop::collection::vec((0_u8..128, 0_i8..24, 0_i8..24, 0_i8..60), 1..3),
            minute in 0_i64..(365 * 24 * 60),
        ) {
            let mut hours = Hours::new(zone).unwrap();
            for (days, opens, closes, past) in windows {
                let days = Weekday::ALL.into_iter().enumerate().filter(|(day, _)| days >> day & 1 == 1);
                let time = |hour, minute| TimeOfDay(jiff::civil::time(hour, minute, 0, 0));
                hours = hours.with_window(days.map(|(_, day)| day), time(opens, past), time(closes, 0)).unwrap();
            }
            let minutes = |minute: i64| Timestamp::from_unix_micros(1_767_225_600_000_000 + minute * 60_000_000);
            let walked = (minute..minute + 9 * 24 * 60).map(minutes).find(|moment| hours.is_open(*moment));
            if let Some(walked) = walked {
                prop_assert_eq!(hours.next_open(minutes(minute)), Some(walked));
            }
        }
    }
}
