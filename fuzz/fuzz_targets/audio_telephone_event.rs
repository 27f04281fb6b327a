//! Telephone events and redundant payloads are read or refused; what was read is written as it was.

#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook::audio::telephone_event::{TelephoneEvent, TelephoneEvents, encode_redundant, redundant_blocks};

fuzz_target!(|data: &[u8]| {
    let mut events = TelephoneEvents::default();
    for packet in data.chunks(8) {
        let Some((timestamp, payload)) = packet.split_first_chunk::<4>() else { continue };
        let Ok(event) = TelephoneEvent::decode(payload) else { continue };
        assert!(TelephoneEvent::decode(&event.encode()).is_ok_and(|again| again == event));
        events.push(u32::from_be_bytes(*timestamp), event);
    }
    if let Ok(blocks) = redundant_blocks(data) {
        let blocks: Vec<_> = blocks.collect();
        let mut payload = Vec::new();
        assert!(encode_redundant(&blocks, &mut payload).is_ok());
        assert_eq!(payload, data);
    }
});
