//! Active hours from customers: read or refused, and what is read opens at a moment that is open.

#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook::service::hours::Hours;
use offhook::time::Timestamp;

fuzz_target!(|input: (i64, &str)| {
    let (micros, text) = input;
    let Ok(hours) = serde_json::from_str::<Hours>(text) else { return };
    let at = Timestamp::from_unix_micros(micros);
    if let Some(opening) = hours.next_open(at) {
        assert!(opening >= at && hours.is_open(opening));
    }
});
