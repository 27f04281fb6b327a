//! A file of weights is read or refused; what is read judges.

#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook::audio::silero::{Silero, SileroWindow};

fuzz_target!(|data: &[u8]| {
    let Ok(silero) = Silero::from_onnx(data) else { return };
    for rate_hz in [8_000, 16_000] {
        let Ok(mut stream) = silero.stream(rate_hz) else { continue };
        let samples = vec![i16::MIN; stream.window()];
        let mut windows = [SileroWindow { stream: &mut stream, samples: &samples, probability: f32::NAN }];
        assert!(silero.judge(&mut silero.workspace(1), &mut windows).is_ok());
        assert!((0.0..=1.0).contains(&windows[0].probability));
    }
});
