//! What the numbers of a policy may be.

use std::ops::RangeInclusive;

use super::{OnMachine, Policy};
use crate::error::{Error, ErrorKind, Result};
use crate::time::millis;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Waits for others: long enough for a network, short enough to be waited for.
const WAIT: RangeInclusive<u64> = 100..=10 * MINUTE;

/// Pauses that may also be none.
const PAUSE: RangeInclusive<u64> = 0..=MINUTE;

const PERCENT: RangeInclusive<u64> = 0..=100;

/// How often, or how many.
const TIMES: RangeInclusive<u64> = 0..=100;

/// A number of a policy: its path, its value, and what it may be.
type Field = (&'static str, u64, RangeInclusive<u64>);

impl Policy {
    /// `ConfigInvalid` for a number that no call could be held with; its contexts `field` and `range` say which, by its
    /// path in an agent, and what it may be. Durations are in milliseconds.
    pub fn check(&self) -> Result<()> {
        let fields = [self.limits(), self.turns(), self.parts()].concat();
        let Some((field, _, range)) = fields.into_iter().find(|(_, value, range)| !range.contains(value)) else {
            return Ok(());
        };
        let range = format!("{} to {}", range.start(), range.end());
        let error = Error::new(ErrorKind::ConfigInvalid, "policy.check", format!("is not {range}"));
        Err(error.with_context("field", format_args!("policy.{field}")).with_context("range", range))
    }

    fn limits(&self) -> Vec<Field> {
        vec![
            ("duration_max_ms", millis(self.duration_max), 100..=DAY),
            ("function_timeout_ms", millis(self.function_timeout), WAIT),
            ("reply_timeout_ms", millis(self.reply_timeout), WAIT),
            ("reserve_ms", millis(self.reserve), 100..=DAY),
            ("ring_timeout_ms", millis(self.ring_timeout), WAIT),
            ("set_up_timeout_ms", millis(self.set_up_timeout), WAIT),
            ("speech_timeout_ms", millis(self.speech_timeout), WAIT),
            ("stall_timeout_ms", millis(self.stall_timeout), 100..=HOUR),
            ("wrap_up_timeout_ms", millis(self.wrap_up_timeout), PAUSE),
        ]
    }

    fn turns(&self) -> Vec<Field> {
        let (barge_in, early, endpointing) = (&self.barge_in, &self.early_generation, &self.endpointing);
        let delay_min = millis(endpointing.delay_min);
        vec![
            ("barge_in.resume_timeout_ms", millis(barge_in.resume_timeout), PAUSE),
            ("barge_in.speech_min_ms", millis(barge_in.speech_min), PAUSE),
            ("barge_in.words_min", barge_in.words_min.into(), TIMES),
            ("early_generation.attempts_max", early.attempts_max.into(), TIMES),
            ("early_generation.turn_end_percent_min", early.turn_end_percent_min.into(), PERCENT),
            ("endpointing.delay_min_ms", delay_min, PAUSE),
            ("endpointing.delay_max_ms", millis(endpointing.delay_max), delay_min..=MINUTE),
            ("endpointing.digits_delay_ms", millis(endpointing.digits_delay), PAUSE),
            ("endpointing.transcript_timeout_ms", millis(endpointing.transcript_timeout), WAIT),
            ("endpointing.turn_end_percent_min", endpointing.turn_end_percent_min.into(), PERCENT),
            ("endpointing.wordless_max_ms", millis(endpointing.wordless_max), WAIT),
        ]
    }

    fn parts(&self) -> Vec<Field> {
        let ends = [
            ("goodbye.before_ms", self.goodbye.as_ref().map(|goodbye| goodbye.before)),
            ("warning.before_ms", self.warning.as_ref().map(|warning| warning.before)),
        ];
        let mut fields: Vec<Field> = vec![
            ("filler.delay_ms", millis(self.filler.delay), PAUSE),
            ("filler.phrases_max", self.filler.phrases_max.into(), TIMES),
            ("hold.prompt_interval_ms", millis(self.hold.prompt_interval), SECOND..=HOUR),
            ("hold.timeout_ms", millis(self.hold.timeout), 100..=HOUR),
            ("keypad.inter_digit_timeout_ms", millis(self.keypad.inter_digit_timeout), WAIT),
            ("languages.words_min", self.languages.words_min.into(), TIMES),
            ("silence.prompts_max", self.silence.prompts_max.into(), TIMES),
            ("silence.timeout_ms", millis(self.silence.timeout), WAIT),
            ("transfer.accept_timeout_ms", millis(self.transfer.accept_timeout), WAIT),
            ("transfer.ring_timeout_ms", millis(self.transfer.ring_timeout), WAIT),
        ];
        fields.extend(ends.into_iter().filter_map(|(field, before)| Some((field, millis(before?), 0..=HOUR))));
        fields.extend(self.screening_fields());
        fields
    }

    fn screening_fields(&self) -> Vec<Field> {
        let Some(screening) = &self.screening else { return Vec::new() };
        let mut fields = vec![
            ("screening.greeting_max_ms", millis(screening.greeting_max), WAIT),
            ("screening.owner_timeout_ms", millis(screening.owner_timeout), WAIT),
            ("screening.wait_max_ms", millis(screening.wait_max), WAIT),
            ("screening.words_timeout_ms", millis(screening.words_timeout), PAUSE),
        ];
        if let OnMachine::LeaveMessage(message) = &screening.on_machine {
            fields.extend([
                ("screening.on_machine.leave_message.beep_timeout_ms", millis(message.beep_timeout), PAUSE),
                ("screening.on_machine.leave_message.silence_ms", millis(message.silence), PAUSE),
            ]);
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::super::{Screening, Voicemail, Warning};
    use super::*;

    fn full() -> Policy {
        let on_machine = OnMachine::LeaveMessage(Voicemail::new("Call us."));
        let screening = Some(Screening { on_machine, ..Screening::default() });
        Policy { screening, warning: Some(Warning::default()), ..Policy::default() }
    }

    fn numbers(value: &Value, path: &str, found: &mut Vec<String>) {
        for (name, value) in value.as_object().unwrap_or(&Map::new()) {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            if value.is_number() {
                found.push(path.clone());
            }
            numbers(value, &path, found);
        }
    }

    /// A number that is added to a policy needs a range here.
    #[test]
    fn every_number_has_a_range_that_holds_its_default() {
        let policy = full();
        policy.check().unwrap();
        Policy::default().check().unwrap();
        let mut named: Vec<String> = [policy.limits(), policy.turns(), policy.parts()]
            .concat()
            .into_iter()
            .map(|(field, ..)| field.to_owned())
            .collect();
        let mut all = Vec::new();
        numbers(&serde_json::to_value(&policy).unwrap(), "", &mut all);
        named.sort_unstable();
        all.sort_unstable();
        assert_eq!(named, all);
    }

    #[test]
    fn a_number_out_of_range_is_named_with_its_range() {
        for (change, field, range) in [
            (json!({ "set_up_timeout_ms": 0 }), "set_up_timeout_ms", "100 to 600000"),
            (json!({ "duration_max_ms": 86_400_001_u64 }), "duration_max_ms", "100 to 86400000"),
            (json!({ "silence": { "timeout_ms": u64::MAX } }), "silence.timeout_ms", "100 to 600000"),
            (
                json!({ "endpointing": { "delay_min_ms": 500, "delay_max_ms": 400 } }),
                "endpointing.delay_max_ms",
                "500 to 60000",
            ),
            (json!({ "endpointing": { "turn_end_percent_min": 101 } }), "endpointing.turn_end_percent_min", "0 to 100"),
        ] {
            let error = serde_json::from_value::<Policy>(change).unwrap().check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
            let told = |name| error.context().iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str());
            assert_eq!((told("field"), told("range")), (Some(format!("policy.{field}").as_str()), Some(range)));
        }
    }
}
