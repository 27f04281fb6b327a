//! Key mappers: objects whose texts are templates over what is known of a call.

use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result};
use crate::template::Template;

/// Keys and items that a key mapper may have, at all depths.
pub const KEYS_MAX: usize = 200;

/// How deep a key mapper may nest.
pub const DEPTH_MAX: usize = 8;

/// Bytes of text that may come of a key mapper.
pub const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// `ConfigInvalid`, with what is wrong, for a key mapper that cannot be filled.
pub fn check(mapper: &Map<String, Value>) -> Result<()> {
    if mapper.is_empty() {
        return Err(invalid("a key mapper has a key"));
    }
    let mut left = KEYS_MAX;
    mapper.values().try_for_each(|value| check_value(value, DEPTH_MAX, &mut left))
}

fn check_value(value: &Value, depth: usize, left: &mut usize) -> Result<()> {
    *left =
        left.checked_sub(1).ok_or_else(|| invalid("a key mapper has too many keys").with_context("most", KEYS_MAX))?;
    if depth == 0 {
        return Err(invalid("a key mapper is nested too deeply").with_context("most", DEPTH_MAX));
    }
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| check_value(item, depth - 1, left)),
        Value::Object(fields) => fields.values().try_for_each(|field| check_value(field, depth - 1, left)),
        Value::String(text) => Template::parse(text).map(drop),
        Value::Bool(_) | Value::Null | Value::Number(_) => Ok(()),
    }
}

/// What a key mapper makes of `values`: every text in it, at any depth, is filled as a template (FL-040, FL-041). Names that
/// nothing stands behind become empty text (FL-034); everything but texts stays as it is.
///
/// `ConfigInvalid` for what [`check`] refuses, `Rejected` for more than [`TEXT_BYTES_MAX`].
pub fn fill(mapper: &Map<String, Value>, values: &Value) -> Result<Value> {
    check(mapper)?;
    let mut left = TEXT_BYTES_MAX;
    fill_fields(mapper, values, &mut left)
}

fn fill_fields(fields: &Map<String, Value>, values: &Value, left: &mut usize) -> Result<Value> {
    let fields = fields.iter().map(|(key, value)| Ok((key.clone(), fill_value(value, values, left)?)));
    fields.collect::<Result<_>>().map(Value::Object)
}

fn fill_value(value: &Value, values: &Value, left: &mut usize) -> Result<Value> {
    match value {
        Value::Array(items) => {
            let items = items.iter().map(|item| fill_value(item, values, left));
            items.collect::<Result<_>>().map(Value::Array)
        }
        Value::Object(fields) => fill_fields(fields, values, left),
        Value::String(text) => {
            let text = Template::parse(text)?.render(values)?;
            let too_long = || Error::new(ErrorKind::Rejected, "after_call.fill", "what a key mapper tells is too long");
            *left = left.checked_sub(text.len()).ok_or_else(too_long)?;
            Ok(Value::String(text))
        }
        Value::Bool(_) | Value::Null | Value::Number(_) => Ok(value.clone()),
    }
}

fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::ConfigInvalid, "after_call.mapper", message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(fields) = value else { unreachable!("an object is given") };
        fields
    }

    /// FL-032, FL-034, FL-036, FL-040
    #[test]
    fn texts_are_filled_at_any_depth_and_all_else_stays() {
        let mapper = object(json!({
            "id": "{{crm.id}}",
            "lead": { "name": "{{crm.name}}", "tags": ["{{crm.tags.0}}", "fixed", 7, null], "none": "{{crm.no.such}}" },
            "raw": "{{crm.tags}}",
        }));
        let values = json!({ "crm": { "id": 15_000, "name": "{{crm.id}}", "tags": ["hot", true] } });
        let expected = json!({
            "id": "15000",
            "lead": { "name": "{{crm.id}}", "tags": ["hot", "fixed", 7, null], "none": "" },
            "raw": "[\"hot\",true]",
        });
        assert_eq!(fill(&mapper, &values).unwrap(), expected);
    }

    #[test]
    fn mappers_and_what_comes_of_them_have_limits() {
        let kind = |mapper: Value| check(&object(mapper)).map_err(|error| error.kind());
        assert_eq!(kind(json!({})), Err(ErrorKind::ConfigInvalid));
        assert_eq!(kind(json!({ "a": [{ "b": "{{oops" }] })), Err(ErrorKind::ConfigInvalid));
        assert_eq!(kind(json!({ "a": vec!["x"; KEYS_MAX - 1] })), Ok(()));
        assert_eq!(kind(json!({ "a": vec!["x"; KEYS_MAX] })), Err(ErrorKind::ConfigInvalid));
        let nested = |depth: usize| (1..depth).fold(json!("x"), |inner, _| json!([inner]));
        assert_eq!(kind(json!({ "a": nested(DEPTH_MAX) })), Ok(()));
        assert_eq!(kind(json!({ "a": nested(DEPTH_MAX + 1) })), Err(ErrorKind::ConfigInvalid));
        let long = json!({ "crm": { "text": "x".repeat(TEXT_BYTES_MAX / 8) } });
        let fills = |count: usize| fill(&object(json!({ "a": vec!["{{crm.text}}"; count] })), &long);
        assert!(fills(8).is_ok());
        assert_eq!(fills(9).unwrap_err().kind(), ErrorKind::Rejected);
    }

    proptest! {
        /// What stands in a value is never filled once more.
        #[test]
        fn values_come_through_as_they_are(text in "\\PC{0,40}|[{}a.]{0,40}") {
            let filled = fill(&object(json!({ "a": { "b": "{{crm.a}}" } })), &json!({ "crm": { "a": text.as_str() } }));
            prop_assert_eq!(filled.unwrap(), json!({ "a": { "b": text } }));
        }
    }
}
