//! Any sound at any rate, cut anywhere: keys, beeps and tones of networks are found or not, and nothing else happens.

#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook::audio::progress::{CallProgress, Country};
use offhook::audio::{BeepDetector, DtmfDetector};

fuzz_target!(|data: &[u8]| {
    let [high, low, step, bytes @ ..] = data else { return };
    let rate_hz = u32::from(u16::from_be_bytes([*high, *low]));
    let samples: Vec<i16> = bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
    let (mut keys, mut beeps) = (DtmfDetector::new(rate_hz), BeepDetector::new(rate_hz));
    let mut progress = CallProgress::new(rate_hz, Country::UnitedKingdom).ok();
    for piece in samples.chunks(usize::from(*step) * 8 + 1) {
        keys.push(piece);
        beeps.push(piece);
        if let Some(event) = progress.as_mut().and_then(|progress| progress.push(piece)) {
            assert!((0.0..=1.0).contains(&event.confidence));
        }
    }
});
