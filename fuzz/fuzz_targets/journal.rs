//! Journals from anywhere: replayed or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook::journal::{Entry, replay};

fuzz_target!(|bytes: &[u8]| {
    let entries: Result<Vec<_>, _> = bytes.split(|byte| *byte == b'\n').map(Entry::decode).collect();
    if let Ok(entries) = entries {
        let _ = replay(entries);
    }
});
