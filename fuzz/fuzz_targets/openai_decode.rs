//! A model's streamed answer, in pieces of any size: exactly one finish or one error, and it is the last.

#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook::provider::llm::LlmEvent;

fuzz_target!(|input: (u8, &[u8])| {
    let (size, bytes) = input;
    let events = offhook_openai::decode(bytes.chunks(usize::from(size) + 1));
    let is_end = |event: &_| matches!(event, Err(_) | Ok(LlmEvent::Finished { .. }));
    assert_eq!(events.iter().filter(|event| is_end(event)).count(), 1);
    assert!(events.last().is_some_and(is_end));
});
