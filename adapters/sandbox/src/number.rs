//! The reserved numbers.

use std::time::Duration;

use offhook::provider::telephony::{DialEvent, E164, HangupCause};

/// What all reserved numbers begin with: of the North American numbers that are kept for fiction.
pub const PREFIX: &str = "+1555010";

/// From the order to the first sign of the called number.
pub const POST_DIAL_DELAY: Duration = Duration::from_millis(300);

/// How long a number rings that is answered or refused.
pub const RING_TIME: Duration = Duration::from_millis(1_500);

/// A reserved number, by what it does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Number {
    /// Is busy.
    Busy,
    /// Answers and converses.
    Converses,
    /// Hangs up in the middle of a sentence of its own.
    HangsUp,
    /// Rings until nobody waits any longer.
    NoAnswer,
    /// Presses 1 when asked to.
    PressesOne,
    /// Refuses the call.
    Rejects,
    /// Answers and says nothing.
    Silent,
    /// Is answered by a machine with a greeting and a beep.
    Voicemail,
}

impl Number {
    /// All of them, with their last four digits.
    pub const ALL: [(&str, Self); 8] = [
        ("0001", Self::Converses),
        ("0002", Self::Busy),
        ("0003", Self::NoAnswer),
        ("0004", Self::Voicemail),
        ("0005", Self::HangsUp),
        ("0006", Self::Silent),
        ("0007", Self::Rejects),
        ("0008", Self::PressesOne),
    ];

    /// What `number` does; `None` when it is not reserved.
    pub fn of(number: &E164) -> Option<Self> {
        let digits = number.as_str().strip_prefix(PREFIX)?;
        Self::ALL.iter().find(|(last, _)| *last == digits).map(|(_, found)| *found)
    }
}

/// What becomes of a call to `number`, each event after its wait; nobody waits longer than `ring_timeout` for an answer.
pub(crate) fn progress(number: Option<Number>, ring_timeout: Duration) -> Vec<(Duration, DialEvent)> {
    let failed = |cause| DialEvent::Failed { cause };
    let at_once = |event| vec![(POST_DIAL_DELAY, event)];
    let ringing = |event, ring_time| vec![(POST_DIAL_DELAY, DialEvent::Ringing), (ring_time, event)];
    let patience = ring_timeout.saturating_sub(POST_DIAL_DELAY);
    match number {
        None => at_once(failed(HangupCause::UNALLOCATED_NUMBER)),
        Some(Number::Busy) => at_once(failed(HangupCause::USER_BUSY)),
        _ if patience < RING_TIME => ringing(failed(HangupCause::NO_ANSWER), patience),
        Some(Number::NoAnswer) => ringing(failed(HangupCause::NO_ANSWER), patience),
        Some(Number::Rejects) => ringing(failed(HangupCause::CALL_REJECTED), RING_TIME),
        Some(Number::Converses | Number::HangsUp | Number::PressesOne | Number::Silent | Number::Voicemail) => {
            ringing(DialEvent::Answered, RING_TIME)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_numbers_of_the_list_are_reserved() {
        let of = |text: &str| Number::of(&text.parse().unwrap());
        assert_eq!(of("+15550100002"), Some(Number::Busy));
        for (last, number) in Number::ALL {
            assert_eq!(of(&format!("{PREFIX}{last}")), Some(number));
        }
        for other in ["+15550100000", "+15550100009", "+1555010", "+155501000012", "+14155550001", "+628123456789"] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn nobody_answers_who_has_no_time_to_ring() {
        let short = progress(Some(Number::Converses), Duration::from_secs(1));
        assert_eq!(short.last().unwrap().1, DialEvent::Failed { cause: HangupCause::NO_ANSWER });
        assert_eq!(short.iter().map(|(wait, _)| *wait).sum::<Duration>(), Duration::from_secs(1));
    }
}
