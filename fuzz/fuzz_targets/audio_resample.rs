//! Sound of any rate, cut at any place, is heard as in one piece.

#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook::audio::Resampler;
use offhook::audio::codec;
use offhook::provider::telephony::Codec;

fuzz_target!(|data: &[u8]| {
    let [from_low, from_high, to_low, to_high, step, bytes @ ..] = data else { return };
    let rate_hz = |low: &u8, high: &u8| u32::from(u16::from_le_bytes([*low, *high]));
    let make = || Resampler::new(rate_hz(from_low, from_high), rate_hz(to_low, to_high));
    let Ok(mut whole) = make() else { return };
    let Ok(mut pieces) = make() else { return };
    let (mut samples, mut expected, mut got) = (Vec::new(), Vec::new(), Vec::new());
    codec::decode(Codec::Pcm16Le, bytes, &mut samples);
    whole.process(&samples, &mut expected);
    whole.flush(&mut expected);
    samples.chunks(usize::from(*step).max(1)).for_each(|piece| pieces.process(piece, &mut got));
    pieces.flush(&mut got);
    assert_eq!(got, expected);
});
