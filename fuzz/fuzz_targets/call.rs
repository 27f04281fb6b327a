//! The call machine under any inputs at any time: it never panics, always ends, and holds its invariants.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(problem) = offhook_testkit::chaos::run(bytes) {
        panic!("{problem}");
    }
});
