//! Which rule a row of keys means: longest match, with a pause that ends a row.

use std::collections::VecDeque;

use super::policy::{KeyAction, Keypad};
use super::timer::{Timer, Timers};
use crate::provider::telephony::DtmfDigit;
use crate::time::Instant;

/// Keys that wait for a rule; a longer row that no rule wants is handed over in pieces.
const KEYS_MAX: usize = 32;

/// What a row of keys meant.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum KeyEvent {
    /// A rule took these keys.
    Matched { action: KeyAction, entered: String, keys: String },
    /// No rule took these.
    Unmatched { keys: String },
}

/// Takes keys one by one.
#[derive(Debug, Default)]
pub(super) struct DtmfRules {
    events: VecDeque<KeyEvent>,
    keys: Vec<DtmfDigit>,
}

impl DtmfRules {
    pub(super) fn handle_input(&mut self, now: Instant, key: DtmfDigit, policy: &Keypad, timers: &mut Timers) {
        self.keys.push(key);
        self.resolve(policy, false);
        self.arm(now, policy, timers);
    }

    /// The row is over: what matches so far counts.
    pub(super) fn handle_timeout(&mut self, now: Instant, policy: &Keypad, timers: &mut Timers) {
        self.resolve(policy, true);
        self.arm(now, policy, timers);
    }

    pub(super) fn poll_event(&mut self) -> Option<KeyEvent> {
        self.events.pop_front()
    }

    fn arm(&self, now: Instant, policy: &Keypad, timers: &mut Timers) {
        if self.keys.is_empty() {
            timers.clear(Timer::InterDigit);
        } else {
            timers.set(Timer::InterDigit, now + policy.inter_digit_timeout);
        }
    }

    /// Takes rules from the front of the row for as long as it is clear which.
    fn resolve(&mut self, policy: &Keypad, is_over: bool) {
        loop {
            let grows = policy
                .rules
                .iter()
                .any(|rule| rule.keys.length() > self.keys.len() && rule.keys.begins_with(&self.keys));
            if self.keys.is_empty() || (grows && !is_over) {
                return;
            }
            let matches = (1..=self.keys.len()).rev();
            let longest = matches.filter_map(|length| {
                policy.rules.iter().find(|rule| rule.keys.is(&self.keys[..length])).map(|rule| (length, rule))
            });
            match longest.into_iter().next() {
                Some((length, rule)) => {
                    let entered = rule.keys.entered(&self.keys[..length]);
                    let keys = self.take(length);
                    self.events.push_back(KeyEvent::Matched { action: rule.action.clone(), entered, keys });
                }
                // Keys that no rule begins with belong together until the caller pauses.
                None if !is_over && self.keys.len() < KEYS_MAX => return,
                None => {
                    let keys = self.take(self.keys.len());
                    self.events.push_back(KeyEvent::Unmatched { keys });
                }
            }
        }
    }

    fn take(&mut self, length: usize) -> String {
        self.keys.drain(..length).map(DtmfDigit::as_char).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::call::policy::KeyRule;

    fn keypad(patterns: &[&str]) -> Keypad {
        let rule = |pattern: &&str| KeyRule {
            keys: pattern.parse().unwrap(),
            action: KeyAction::Say { text: (*pattern).to_owned() },
        };
        Keypad { rules: patterns.iter().map(rule).collect(), ..Keypad::default() }
    }

    /// Presses keys 100 ms apart, `_` pauses; a matched rule is its pattern, what no rule took stands in brackets.
    fn press(patterns: &[&str], keys: &str) -> Vec<String> {
        let (policy, mut rules, mut timers) = (keypad(patterns), DtmfRules::default(), Timers::default());
        let mut now = Instant::from_micros(0);
        for key in keys.chars().chain(['_']) {
            now = now + Duration::from_millis(100);
            if let Ok(digit) = DtmfDigit::try_from(key) {
                rules.handle_input(now, digit, &policy, &mut timers);
                continue;
            }
            now = now + policy.inter_digit_timeout;
            if timers.expire(now).is_some() {
                rules.handle_timeout(now, &policy, &mut timers);
            }
        }
        assert_eq!(timers.next(), None);
        let events = std::iter::from_fn(|| rules.poll_event());
        let name = |event| match event {
            KeyEvent::Matched { action: KeyAction::Say { text }, keys, .. } => format!("{text}={keys}"),
            KeyEvent::Matched { action, .. } => panic!("{action:?}"),
            KeyEvent::Unmatched { keys } => format!("({keys})"),
        };
        events.map(name).collect()
    }

    #[test]
    fn a_menu_digit_counts_at_once() {
        let (policy, mut rules, mut timers) = (keypad(&["1", "2"]), DtmfRules::default(), Timers::default());
        rules.handle_input(Instant::from_micros(0), DtmfDigit::try_from('2').unwrap(), &policy, &mut timers);
        assert!(matches!(rules.poll_event(), Some(KeyEvent::Matched { .. })));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn the_longest_match_wins() {
        assert_eq!(press(&["1", "12"], "12"), ["12=12"]);
        assert_eq!(press(&["1", "12"], "1"), ["1=1"]);
        assert_eq!(press(&["1", "12"], "13"), ["1=1", "(3)"]);
        assert_eq!(press(&["1", "123", "2"], "122"), ["1=1", "2=2", "2=2"]);
        assert_eq!(press(&["0", "xxxx"], "0123"), ["xxxx=0123"]);
        assert_eq!(press(&["xxxx#"], "1234#"), ["xxxx#=1234#"]);
    }

    #[test]
    fn a_pause_ends_a_row() {
        assert_eq!(press(&["12"], "1_2"), ["(1)", "(2)"]);
        assert_eq!(press(&["1"], "987_1"), ["(987)", "1=1"]);
        assert_eq!(press(&[], "0812#"), ["(0812#)"]);
    }

    proptest! {
        #[test]
        fn no_key_is_lost_or_told_twice(keys in "[0-9*#]{0,80}", patterns in prop::collection::vec("[0-3x*#]{1,4}", 0..6)) {
            let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
            let told: String = press(&patterns, &keys)
                .iter()
                .map(|event| event.rsplit('=').next().unwrap_or_default().trim_matches(['(', ')']).to_owned())
                .collect();
            prop_assert_eq!(told, keys);
        }
    }
}
