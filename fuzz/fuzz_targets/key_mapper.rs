//! Key mappers from customers and values from anybody: what was accepted is filled in its own shape, the texts of values come
//! through as they are, and no value moves a URL to another host.

#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook::service::after_call::{mapper, url_telling};
use serde_json::{Map, Value, json};

fuzz_target!(|input: (String, String, String)| {
    let (mapper_text, values_text, text) = input;
    let Ok(Value::Object(keys)) = serde_json::from_str(&mapper_text) else { return };
    let values: Value = serde_json::from_str(&values_text).unwrap_or_default();
    let filled = mapper::fill(&keys, &values);
    assert_eq!(filled.as_ref().is_err_and(|error| error.kind() == offhook::ErrorKind::ConfigInvalid), mapper::check(&keys).is_err());
    if let Ok(filled) = &filled {
        assert!(alike(&Value::Object(keys), filled), "{filled}");
        tell(filled);
    }
    let hostile = Map::from_iter([("told".to_owned(), json!("{{a.text}}"))]);
    let told = mapper::fill(&hostile, &json!({ "a": { "text": text } })).expect("it is short");
    assert_eq!(told["told"], text.as_str());
    tell(&told);
});

/// Whether both are the same but for the texts in them.
fn alike(mapper: &Value, filled: &Value) -> bool {
    match (mapper, filled) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.0 == other.0 && alike(one.1, other.1))
        }
        (Value::String(_), Value::String(_)) => true,
        (one, other) => one == other,
    }
}

/// What a GET tells stands behind the query that was there, and nowhere else.
fn tell(told: &Value) {
    let url = url_telling("https://crm.example:8443/push?key=1", told).expect("it is a URL");
    let url = url::Url::parse(&url).expect("and still is one");
    assert_eq!((url.scheme(), url.host_str(), url.port()), ("https", Some("crm.example"), Some(8443)));
    assert_eq!((url.path(), url.username(), url.password(), url.fragment()), ("/push", "", None, None));
    let mut pairs = url.query_pairs();
    assert_eq!(pairs.next(), Some(("key".into(), "1".into())));
    for (name, value) in told.as_object().expect("an object") {
        let (told_name, told_value) = pairs.next().expect("each field is told");
        assert_eq!(told_name, name.as_str());
        if let Value::String(text) = value {
            assert_eq!(told_value, text.as_str());
        }
    }
    assert_eq!(pairs.next(), None);
}
