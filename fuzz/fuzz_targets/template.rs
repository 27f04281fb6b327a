//! Templates from customers: parsed or refused, and what is parsed renders.

#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook::template::Template;

fuzz_target!(|text: &str| {
    if let Ok(template) = Template::parse(text) {
        let values = serde_json::json!({ "crm": { "name": "Budi", "tags": [1, 2], "a": { "b": null } } });
        let _ = template.render(&values);
    }
});
