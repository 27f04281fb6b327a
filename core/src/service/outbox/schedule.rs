//! When a message is tried again.

use std::time::Duration;

use crate::time::Timestamp;

/// Wait after the first failed attempt; it doubles with each.
pub const BACKOFF_MIN: Duration = Duration::from_secs(2);

/// Longest wait between two attempts.
pub const BACKOFF_MAX: Duration = Duration::from_secs(4 * 3600);

/// A receiver that asks for more rest than this gets this.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// The wait after so many failed attempts: doubles from [`BACKOFF_MIN`] to [`BACKOFF_MAX`], with up to a quarter on top;
/// `jitter` is 0 to 255.
pub(super) fn backoff(attempts: u32, jitter: u8) -> Duration {
    let doublings = attempts.saturating_sub(1).min(20);
    let wait = (BACKOFF_MIN * 2_u32.pow(doublings)).min(BACKOFF_MAX);
    wait + wait * u32::from(jitter) / (4 * 256)
}

/// What a `Retry-After` header asks for: seconds or an HTTP date (RFC 9110, 10.2.3), clamped to [`RETRY_AFTER_MAX`].
pub fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    let wait = if !header.is_empty() && header.bytes().all(|byte| byte.is_ascii_digit()) {
        // Digits that are no number of this size ask for more than is given.
        header.parse().map_or(RETRY_AFTER_MAX, Duration::from_secs)
    } else {
        date(header)?.saturating_since(now)
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// The three forms of RFC 9110, 5.6.7.
fn date(text: &str) -> Option<Timestamp> {
    const FORMS: [&str; 3] = ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let moment = FORMS.iter().find_map(|form| jiff::civil::DateTime::strptime(form, text).ok())?;
    let moment = moment.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Timestamp::from_unix_micros(moment.timestamp().as_microsecond()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_double_up_to_a_limit() {
        let waits: Vec<_> = (1..=15).map(|attempts| backoff(attempts, 0).as_secs()).collect();
        assert_eq!(waits[..4], [2, 4, 8, 16]);
        assert_eq!(waits[14], BACKOFF_MAX.as_secs());
        assert_eq!(backoff(u32::MAX, 255), BACKOFF_MAX + BACKOFF_MAX * 255 / 1_024);
    }

    #[test]
    fn a_receiver_says_when_in_seconds_or_by_a_date() {
        let now = Timestamp::from_unix_micros(784_111_777_000_000);
        let asked = |header| retry_after(header, now).map(|wait| wait.as_secs());
        assert_eq!(asked(" 120 "), Some(120));
        assert_eq!(asked("0"), Some(0));
        assert_eq!(asked("99999999999999999999999"), Some(RETRY_AFTER_MAX.as_secs()));
        for date in ["Sun, 06 Nov 1994 08:49:47 GMT", "Sunday, 06-Nov-94 08:49:47 GMT", "Sun Nov  6 08:49:47 1994"] {
            assert_eq!(asked(date), Some(10), "{date}");
        }
        assert_eq!(asked("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0), "long past");
        assert_eq!(asked("Sun, 06 Nov 2094 08:00:00 GMT"), None, "2094 does not begin on that weekday");
        for nonsense in ["", "soon", "-1", "1.5", "+3"] {
            assert_eq!(asked(nonsense), None, "{nonsense}");
        }
    }

    proptest! {
        #[test]
        fn no_header_asks_for_more_than_the_limit(header in ".*", now: i64) {
            let wait = retry_after(&header, Timestamp::from_unix_micros(now));
            prop_assert!(wait.is_none_or(|wait| wait <= RETRY_AFTER_MAX));
        }
    }
}
