//! Templates: text with `{{namespace.field}}` or `{{field}}` places.
//!
//! A place names a value by a dotted path. Everything else is literal; `{{{{` is a literal `{{`. There are no loops and
//! no logic, so that a customer's template can neither hang nor leak.
//!
//! What is told to a machine is a [`Template`]: it must parse, and what is not known becomes empty. What is said by an
//! agent is filled by [`fill`]: what is not a place, or not known, stays as it was written (FL-034).

use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};

/// Longest template, in bytes.
pub const TEMPLATE_BYTES_MAX: usize = 256 * 1024;

/// Longest rendered text, in bytes.
pub const OUTPUT_BYTES_MAX: usize = 1024 * 1024;

/// Longest name of a value in a text to [`fill`], in bytes.
pub const PLACE_BYTES_MAX: usize = 256;

const OPEN: &str = "{{";
const CLOSE: &str = "}}";
const ESCAPED_OPEN: &str = "{{{{";

/// A parsed template.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Part {
    Literal(String),
    Place(Vec<String>),
}

impl Template {
    /// Parses `text`; `ConfigInvalid`, with the byte offset, for a place that is not closed or not a path.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(invalid("the template is too long", 0));
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(open) = rest.find(OPEN) {
            literal.push_str(&rest[..open]);
            let offset = text.len() - rest.len() + open;
            let place = &rest[open..];
            if let Some(after) = place.strip_prefix(ESCAPED_OPEN) {
                literal.push_str(OPEN);
                rest = after;
                continue;
            }
            let place = &place[OPEN.len()..];
            let Some(close) = place.find(CLOSE) else {
                return Err(invalid("a place is not closed", offset));
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(Part::Place(parse_path(&place[..close], offset)?));
            rest = &place[close + CLOSE.len()..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self { parts })
    }

    /// Fills the places from `values`, an object of namespaces. A missing value or `null` becomes empty text, an object or
    /// a list its JSON. `Rejected` when the result passes [`OUTPUT_BYTES_MAX`].
    pub fn render(&self, values: &Value) -> Result<String> {
        let mut output = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => output.push_str(text),
                Part::Place(path) => push_value(&mut output, look_up(values, path)),
            }
            if output.len() > OUTPUT_BYTES_MAX {
                return Err(Error::new(ErrorKind::Rejected, "template.render", "the rendered text is too long"));
            }
        }
        Ok(output)
    }

    /// The dotted paths of all places, in their order.
    pub fn places(&self) -> impl Iterator<Item = String> + '_ {
        self.parts.iter().filter_map(|part| match part {
            Part::Literal(_) => None,
            Part::Place(path) => Some(path.join(".")),
        })
    }
}

/// Parses and renders at once.
pub fn render(text: &str, values: &Value) -> Result<String> {
    Template::parse(text)?.render(values)
}

/// Fills the places of `text` whose values are known, and leaves everything else as it is. A `null` becomes empty text.
///
/// A field without a namespace is looked for among `values` themselves, and then in each of `namespaces`, in their order.
/// `Rejected` when text or result is too long.
pub fn fill(text: &str, values: &Value, namespaces: &[&str]) -> Result<String> {
    let too_long = || Error::new(ErrorKind::Rejected, "template.fill", "the text is too long");
    if text.len() > TEMPLATE_BYTES_MAX {
        return Err(too_long());
    }
    let mut output = String::new();
    let mut rest = text;
    while let Some(open) = rest.find(OPEN) {
        output.push_str(&rest[..open]);
        rest = &rest[open..];
        if let Some(after) = rest.strip_prefix(ESCAPED_OPEN) {
            output.push_str(OPEN);
            rest = after;
            continue;
        }
        let place = next_place(&rest[OPEN.len()..]);
        let known = place.and_then(|(path, after)| Some((find_known(values, namespaces, &path)?, after)));
        match known {
            Some((value, after)) => {
                push_value(&mut output, value);
                rest = after;
            }
            None => {
                output.push_str(OPEN);
                rest = &rest[OPEN.len()..];
            }
        }
        if output.len() > OUTPUT_BYTES_MAX {
            return Err(too_long());
        }
    }
    output.push_str(rest);
    if output.len() > OUTPUT_BYTES_MAX { Err(too_long()) } else { Ok(output) }
}

/// What stands up to the next `}}`, if it is a place, and what comes after it.
fn next_place(text: &str) -> Option<(Vec<String>, &str)> {
    // Looking no further keeps a text of nothing but `{{` cheap.
    let near = &text.as_bytes()[..text.len().min(PLACE_BYTES_MAX + CLOSE.len())];
    let end = near.windows(CLOSE.len()).position(|bytes| bytes == CLOSE.as_bytes())?;
    Some((path(&text[..end])?, &text[end + CLOSE.len()..]))
}

fn parse_path(text: &str, offset: usize) -> Result<Vec<String>> {
    path(text).ok_or_else(|| invalid("a place is written {{field}} or {{namespace.field}}", offset))
}

fn path(text: &str) -> Option<Vec<String>> {
    let path: Vec<_> = text.trim().split('.').map(str::to_owned).collect();
    let is_name = |name: &String| {
        !name.is_empty() && name.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '_' | '-'))
    };
    path.iter().all(is_name).then_some(path)
}

fn find_known<'a>(values: &'a Value, namespaces: &[&str], path: &[String]) -> Option<&'a Value> {
    let in_namespaces = || namespaces.iter().find_map(|namespace| find(values.get(namespace)?, path));
    find(values, path).or_else(|| if path.len() == 1 { in_namespaces() } else { None })
}

fn find<'a>(values: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(values, |value, name| match value {
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        other => other.get(name),
    })
}

fn look_up<'a>(values: &'a Value, path: &[String]) -> &'a Value {
    find(values, path).unwrap_or(&Value::Null)
}

fn push_value(output: &mut String, value: &Value) {
    match value {
        Value::Null => {}
        Value::String(text) => output.push_str(text),
        other => output.push_str(&other.to_string()),
    }
}

fn invalid(message: &str, offset: usize) -> Error {
    Error::new(ErrorKind::ConfigInvalid, "template.parse", message).with_context("offset", offset)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn places_are_filled_by_path() {
        let values = json!({ "crm": { "name": "Budi", "age": 41, "tags": ["a", "b"], "none": null }, "call": {} });
        let render = |text| super::render(text, &values).unwrap();
        assert_eq!(render("Hello {{crm.name}}, {{ crm.age }}!"), "Hello Budi, 41!");
        assert_eq!(render("{{crm.tags.1}}{{crm.tags}}"), "b[\"a\",\"b\"]");
        assert_eq!(render("[{{crm.none}}{{crm.nothing}}{{call.from.deep}}]"), "[]");
        assert_eq!(render("{{call}}{{ nothing }}"), "{}");
        assert_eq!(render("literal {{{{crm.name}} and { braces }"), "literal {{crm.name}} and { braces }");
    }

    #[test]
    fn fl_034_what_is_not_known_stays_in_what_is_said() {
        let values =
            json!({ "crm": { "name": "Budi", "due": null }, "call": { "name": "other", "from": "+62" }, "flat": 7 });
        let fill = |text| super::fill(text, &values, &["system", "crm", "call"]).unwrap();
        assert_eq!(fill("{{crm.name}} {{ name }} {{from}} {{flat}} [{{crm.due}}]"), "Budi Budi +62 7 []");
        assert_eq!(fill("{{crm.age}} {{Name}} {{result.remarks}}"), "{{crm.age}} {{Name}} {{result.remarks}}");
        assert_eq!(
            fill(r#"Answer {{"a": 1}} or {{{{ or {{ na me }} or {{"#),
            r#"Answer {{"a": 1}} or {{ or {{ na me }} or {{"#
        );
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (text, offset) in
            [("ab{{crm.name", "2"), ("{{na me}}", "0"), ("{{}}", "0"), ("x{{a b.c}}", "1"), ("{{a..b}}", "0")]
        {
            let error = Template::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
            assert_eq!(error.context(), [("offset", offset.to_owned())], "{text}");
        }
    }

    #[test]
    fn output_is_bounded() {
        let big = json!({ "a": { "b": "x".repeat(OUTPUT_BYTES_MAX / 2 + 1) } });
        assert_eq!(render("{{a.b}}{{a.b}}", &big).unwrap_err().kind(), ErrorKind::Rejected);
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in "\\PC{0,40}|[{}a.]{0,40}") {
            if let Ok(template) = Template::parse(&text) {
                template.render(&json!({ "a": { "a": "value" } })).unwrap();
            }
        }

        #[test]
        fn text_without_known_places_stays(text in "[}a. \"]{0,10}([{]{2}[b}. ]{1,8}){0,3}") {
            prop_assert_eq!(fill(&text, &json!({ "a": 1 }), &["c"]).unwrap(), text);
        }

        #[test]
        fn escaped_text_comes_back(text in "[{}a. ]{0,40}") {
            let escaped = text.replace(OPEN, ESCAPED_OPEN);
            prop_assert_eq!(render(&escaped, &Value::Null).unwrap(), text);
        }
    }
}
