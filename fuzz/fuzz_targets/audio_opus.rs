//! Packets of Opus that are none are refused, and nothing else happens.

#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook::audio::codec::Decode;
use offhook_opus::{OpusDecoder, RATES_HZ};

fuzz_target!(|data: &[u8]| {
    let [choice, data @ ..] = data else { return };
    let rate_hz = RATES_HZ[usize::from(*choice) % RATES_HZ.len()];
    let mut decoder = OpusDecoder::new(rate_hz).expect("a rate of Opus");
    let mut rest = data;
    while let [length, after @ ..] = rest {
        let (packet, after) = after.split_at(usize::from(*length).min(after.len()));
        rest = after;
        let mut samples = Vec::new();
        if decoder.decode(packet, &mut samples).is_err() {
            assert!(samples.is_empty());
            decoder.conceal(usize::from(*length), &mut samples).expect("concealed");
            assert_eq!(samples.len(), usize::from(*length));
        }
    }
});
