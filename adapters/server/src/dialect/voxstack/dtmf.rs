//! What the caller's keys do, as the vendor writes it (VS-A7).

use offhook::call::policy::{KeyAction, KeyRule, Policy, TransferMode, TransferTarget};
use offhook::provider::telephony::E164;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::problem::{Answer, Problem};

/// Rules that an agent may have.
const RULES_MAX: usize = 100;

/// What some keys do. The longest match wins; three seconds without a key end a row.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = voxstack::DtmfRule)]
pub(super) struct Rule {
    /// Keys in order; `x` stands for any digit.
    #[schema(example = "1")]
    digits: String,
    action: Action,
    /// The words, the name of a function or a variable, or to whom: a number, or the name of a transfer target.
    #[serde(default)]
    value: Option<String>,
}

/// What keys do.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = voxstack::DtmfAction)]
enum Action {
    EndCall,
    Function,
    Say,
    SetVariable,
    Transfer,
}

impl Rule {
    /// The rules of a policy.
    pub(super) fn all(policy: &Policy) -> Vec<Self> {
        policy.keypad.rules.iter().filter_map(Self::of).collect()
    }

    fn of(rule: &KeyRule) -> Option<Self> {
        let (action, value) = match &rule.action {
            KeyAction::CallFunction { name } => (Action::Function, Some(name.clone())),
            KeyAction::End { text } => (Action::EndCall, text.clone()),
            KeyAction::Say { text } => (Action::Say, Some(text.clone())),
            KeyAction::SetVariable { name } => (Action::SetVariable, Some(name.clone())),
            KeyAction::Transfer { target } => (Action::Transfer, Some(target.clone())),
            _ => return None,
        };
        Some(Self { digits: rule.keys.to_string(), action, value })
    }
}

/// Gives a policy these rules in place of those that it has.
pub(super) fn set(policy: &mut Policy, rules: &[Rule]) -> Answer<()> {
    if rules.len() > RULES_MAX {
        return Err(Problem::invalid("dtmf_rules", format!("has at most {RULES_MAX} rules")));
    }
    let escalation = policy.transfer.escalation.clone();
    policy.transfer.targets.retain(|target| !is_of_keys(target) || Some(&target.name) == escalation.as_ref());
    policy.keypad.rules.clear();
    for (index, rule) in rules.iter().enumerate() {
        let at = |part: &str| format!("dtmf_rules[{index}].{part}");
        let keys = rule.digits.parse().map_err(|_| Problem::invalid(at("digits"), "is 1 to 32 of 0-9, *, # and x"))?;
        let value = rule.value.clone().filter(|value| !value.trim().is_empty());
        let required = || Problem::invalid(at("value"), "is required");
        let action = match rule.action {
            Action::EndCall => KeyAction::End { text: value },
            Action::Function => KeyAction::CallFunction { name: value.ok_or_else(required)? },
            Action::Say => KeyAction::Say { text: value.ok_or_else(required)? },
            Action::SetVariable => KeyAction::SetVariable { name: value.ok_or_else(required)? },
            Action::Transfer => {
                let target = value.ok_or_else(required)?;
                know(policy, &target, &at("value"))?;
                KeyAction::Transfer { target }
            }
        };
        policy.keypad.rules.push(KeyRule { keys, action });
    }
    Ok(())
}

/// Sees to it that the policy has a target of that name: a number is a target of its own.
fn know(policy: &mut Policy, target: &str, field: &str) -> Answer<()> {
    if policy.transfer.target(target).is_some() {
        return Ok(());
    }
    let wrong = |_| Problem::invalid(field, "is neither a number such as +14155550123 nor the name of a target");
    let number: E164 = target.parse().map_err(wrong)?;
    policy.transfer.targets.push(TransferTarget {
        name: target.to_owned(),
        description: "Whom callers reach by their keys.".to_owned(),
        number,
        mode: TransferMode::default(),
    });
    Ok(())
}

fn is_of_keys(target: &TransferTarget) -> bool {
    target.name == target.number.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(digits: &str, action: Action, value: Option<&str>) -> Rule {
        Rule { digits: digits.to_owned(), action, value: value.map(str::to_owned) }
    }

    #[test]
    fn vs_a7_targets_come_and_go_with_the_rules_that_name_them() {
        let mut policy = Policy::default();
        let transfer = |number| rule("1", Action::Transfer, Some(number));
        set(&mut policy, &[transfer("+14155550123"), rule("2", Action::EndCall, None)]).unwrap();
        set(&mut policy, &[transfer("+14155550124")]).unwrap();
        let names: Vec<_> = policy.transfer.targets.iter().map(|target| target.name.as_str()).collect();
        assert_eq!(names, ["+14155550124"]);
        assert_eq!(policy.keypad.inter_digit_timeout.as_secs(), 3);
        set(&mut policy, &[]).unwrap();
        assert!(policy.transfer.targets.is_empty() && policy.keypad.rules.is_empty());
    }

    #[test]
    fn vs_a7_rules_that_nobody_can_follow_are_refused() {
        for (wrong, field) in [
            (rule("", Action::EndCall, None), "dtmf_rules[0].digits"),
            (rule("1a!", Action::EndCall, None), "dtmf_rules[0].digits"),
            (rule("1", Action::Say, None), "dtmf_rules[0].value"),
            (rule("1", Action::Transfer, Some("nobody")), "dtmf_rules[0].value"),
        ] {
            assert_eq!(set(&mut Policy::default(), &[wrong]).unwrap_err().field.unwrap(), field);
        }
        let many = vec![rule("1", Action::EndCall, None); RULES_MAX + 1];
        assert!(set(&mut Policy::default(), &many).is_err());
    }
}
