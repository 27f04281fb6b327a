//! `Retry-After` headers from strangers: nobody asks for more rest than is given, and seconds are taken as they are.

#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook::service::outbox::{RETRY_AFTER_MAX, retry_after};
use offhook::time::Timestamp;

fuzz_target!(|input: (&str, i64)| {
    let (header, now) = input;
    let now = Timestamp::from_unix_micros(now);
    if let Some(wait) = retry_after(header, now) {
        assert!(wait <= RETRY_AFTER_MAX);
    }
    if let Ok(seconds) = header.parse::<u64>()
        && !header.starts_with('+')
    {
        let wait = retry_after(header, now).expect("it is a number of seconds");
        assert_eq!(wait.as_secs(), seconds.min(RETRY_AFTER_MAX.as_secs()));
    }
});
