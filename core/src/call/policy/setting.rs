//! One field of a policy, by name: what a command line or an experiment changes.

use std::time::Duration;

use serde_json::{Map, Value};

use super::Policy;
use crate::error::{Error, ErrorKind, Result};
use crate::time::millis;

/// Names that are offered for one that does not exist.
const NEAREST_MAX: usize = 3;

impl Policy {
    /// Sets a field by its dotted path: `endpointing.delay_min` to `400ms`, `barge_in.enabled` to `false`,
    /// `silence.prompt` to `none`. Durations have a unit (`ms`, `s`, `min`); lists are JSON. A field of a part that is not
    /// set, such as `screening.wait_max`, sets that part with its defaults.
    ///
    /// `ConfigInvalid` for a path that does not exist, which names the nearest that do, and for a value that does not fit.
    pub fn set(&mut self, path: &str, text: &str) -> Result<()> {
        let full = full();
        let keys = keys(&full, path).ok_or_else(|| unknown(&full, path))?;
        let mut policy = to_value(self);
        let mut errors = Vec::new();
        for value in readings(&full, &keys, text)? {
            place(&mut policy, &full, &keys, value);
            match serde_json::from_value(policy.clone()) {
                Ok(changed) => {
                    *self = changed;
                    return Ok(());
                }
                Err(error) => errors.push(error),
            }
        }
        let error = misfit(path, text, "does not fit");
        Err(match errors.pop() {
            Some(source) => error.with_context("reason", &source).with_source(source),
            None => error,
        })
    }

    /// All paths that [`Policy::set`] knows.
    pub fn paths() -> Vec<String> {
        let mut paths = Vec::new();
        list(&full(), "", &mut paths);
        paths
    }
}

/// The default policy with every part that may be missing.
fn full() -> Value {
    let mut full = to_value(&Policy::default());
    let missing: Vec<String> = full.as_object().into_iter().flatten().filter(|(_, v)| v.is_null()).map(name).collect();
    for name in missing {
        let mut with = full.clone();
        with[&name] = Value::Object(Map::new());
        if let Ok(policy) = serde_json::from_value::<Policy>(with) {
            full = to_value(&policy);
        }
    }
    full
}

fn name((name, _): (&String, &Value)) -> String {
    name.clone()
}

fn to_value(policy: &Policy) -> Value {
    // Numbers, texts and maps with text keys: this cannot fail.
    serde_json::to_value(policy).unwrap_or_default()
}

/// The serialised names on the way to a field.
fn keys(full: &Value, path: &str) -> Option<Vec<String>> {
    let mut keys = Vec::new();
    let mut value = full;
    for name in path.split('.') {
        let fields = value.as_object()?;
        let key = [format!("{name}_ms"), name.to_owned()].into_iter().find(|key| fields.contains_key(key))?;
        value = &fields[&key];
        keys.push(key);
    }
    Some(keys)
}

/// What `text` can mean for a field, the likeliest first.
fn readings(full: &Value, keys: &[String], text: &str) -> Result<Vec<Value>> {
    let before = keys.iter().try_fold(full, |value, key| value.get(key)).unwrap_or(&Value::Null);
    if keys.last().is_some_and(|key| key.ends_with("_ms")) {
        let duration =
            duration(text).ok_or_else(|| misfit(&keys.join("."), text, "is not a duration such as 400ms or 2s"));
        return Ok(vec![duration.map(|duration| millis(duration).into())?]);
    }
    let json = serde_json::from_str(text).ok();
    let none = (text == "none").then_some(Value::Null);
    let words = before.is_string().then(|| Value::from(text));
    let fallback = Some(Value::from(text));
    Ok([none, words, json, fallback].into_iter().flatten().collect())
}

fn duration(text: &str) -> Option<Duration> {
    let (number, unit_s) = if let Some(number) = text.strip_suffix("ms") {
        (number, 0.001)
    } else if let Some(number) = text.strip_suffix("min") {
        (number, 60.0)
    } else {
        (text.strip_suffix('s')?, 1.0)
    };
    Duration::try_from_secs_f64(number.trim().parse::<f64>().ok()? * unit_s).ok()
}

fn place(policy: &mut Value, full: &Value, keys: &[String], new: Value) {
    let (mut place, mut full) = (policy, full);
    for key in keys {
        if place.is_null() {
            *place = full.clone();
        }
        full = &full[key];
        place = &mut place[key];
    }
    *place = new;
}

fn list(value: &Value, prefix: &str, paths: &mut Vec<String>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let path = format!("{prefix}{}", key.trim_end_matches("_ms"));
        match value {
            Value::Object(fields) if !fields.is_empty() => list(value, &format!("{path}."), paths),
            _ => paths.push(path),
        }
    }
}

fn unknown(full: &Value, path: &str) -> Error {
    let mut paths = Vec::new();
    list(full, "", &mut paths);
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    paths.sort_by_key(|known| distance(known, path).min(distance(&last(known), &last(path)) + 1));
    paths.truncate(NEAREST_MAX);
    Error::new(ErrorKind::ConfigInvalid, "policy.set", format!("no policy is called {path}"))
        .with_context("nearest", paths.join(", "))
}

fn misfit(path: &str, text: &str, why: &str) -> Error {
    Error::new(ErrorKind::ConfigInvalid, "policy.set", format!("{text:?} {why}")).with_context("policy", path)
}

/// Letters that must be put in, left out or changed to make one word of the other (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (index, a) in left.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, b) in right.chars().enumerate() {
            let change = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(path: &str, text: &str) -> Result<Policy> {
        let mut policy = Policy::default();
        policy.set(path, text).map(|()| policy)
    }

    #[test]
    fn any_field_is_set_by_its_path() {
        assert_eq!(set("endpointing.delay_min", "400ms").unwrap().endpointing.delay_min, Duration::from_millis(400));
        assert_eq!(set("silence.timeout", "1.5s").unwrap().silence.timeout, Duration::from_millis(1_500));
        assert_eq!(set("duration_max", "2min").unwrap().duration_max, Duration::from_secs(120));
        assert!(!set("barge_in.enabled", "false").unwrap().barge_in.enabled);
        assert_eq!(set("silence.prompts_max", "5").unwrap().silence.prompts_max, 5);
        assert_eq!(set("silence.prompt", "none").unwrap().silence.prompt, None);
        assert_eq!(set("silence.prompt", "Hello?").unwrap().silence.prompt.as_deref(), Some("Hello?"));
        assert_eq!(set("apology", "12").unwrap().apology, "12");
    }

    #[test]
    fn a_part_that_is_not_set_comes_with_its_defaults() {
        let screening = set("screening.wait_max", "1s").unwrap().screening.unwrap();
        assert_eq!(screening.wait_max, Duration::from_secs(1));
        assert_eq!(screening.greeting_max, super::super::Screening::default().greeting_max);
        assert!(set("screening.on_machine", "converse").unwrap().screening.is_some());
        let mut policy = set("screening.wait_max", "1s").unwrap();
        policy.set("screening.greeting_max", "2s").unwrap();
        assert_eq!(policy.screening.unwrap().wait_max, Duration::from_secs(1), "what was set stays");
    }

    #[test]
    fn what_does_not_exist_or_fit_is_named() {
        let refused = |path: &str, text: &str| set(path, text).unwrap_err().to_string();
        let error = refused("endpointing.delay_mim", "1s");
        assert!(
            error.contains("endpointing.delay_mim") && error.contains("nearest: endpointing.delay_min,"),
            "{error}"
        );
        assert!(refused("delay_min", "1s").contains("endpointing.delay_min"));
        assert!(refused("endpointing", "1s").contains("endpointing"));
        assert!(refused("endpointing.delay_min", "400").contains("400ms"));
        assert!(refused("endpointing.delay_min", "-1s").contains("-1s"));
        assert!(refused("barge_in.enabled", "maybe").contains("barge_in.enabled"));
        assert!(refused("screening.on_machine", "dance").contains("converse"));
    }

    #[test]
    fn every_path_can_be_set_to_what_it_is() {
        for path in Policy::paths() {
            let full = full();
            let keys = keys(&full, &path).unwrap();
            let value = keys.iter().fold(&full, |value, key| &value[key]);
            let text = match value {
                Value::String(text) => text.clone(),
                value if keys.last().unwrap().ends_with("_ms") => format!("{value}ms"),
                Value::Null => "none".to_owned(),
                value => value.to_string(),
            };
            assert_eq!(
                to_value(&set(&path, &text).unwrap()).pointer(&format!("/{}", keys.join("/"))),
                Some(value),
                "{path}"
            );
        }
    }
}
