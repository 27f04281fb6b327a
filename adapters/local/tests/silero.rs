//! Speech is detected as ONNX Runtime detects it with the same weights.

use offhook::audio::silero::{Silero, SileroWindow};
use offhook_local::weights::Models;

/// Made by `silero/reference.py` with ONNX Runtime 1.31.1 and the weights of `silero-vad` 6.2.3.
const PROBABILITIES: &str = include_str!("silero/probabilities.txt");

/// How far a probability may be off.
const TOLERANCE: f32 = 1e-3;

#[test]
fn every_window_has_the_reference_s_probability() {
    let silero = silero();
    let mut expected = PROBABILITIES.lines().map(|line| line.parse::<f32>().unwrap());
    let mut workspace = silero.workspace(1);
    for rate_hz in [8_000_u32, 16_000] {
        let mut stream = silero.stream(rate_hz).unwrap();
        for samples in voice(i64::from(rate_hz)).chunks_exact(stream.window()) {
            let mut windows = [SileroWindow { stream: &mut stream, samples, probability: 0.0 }];
            silero.judge(&mut workspace, &mut windows).unwrap();
            let expected = expected.next().unwrap();
            assert!((windows[0].probability - expected).abs() < TOLERANCE, "{} {expected}", windows[0].probability);
        }
    }
    assert_eq!(expected.next(), None);
}

fn silero() -> Silero {
    offhook_local::silero::load(&Models::locate().unwrap()).unwrap()
}

/// A voice in whole numbers, so that the reference hears the very same: noise, then words of vowels with pauses.
fn voice(rate_hz: i64) -> Vec<i16> {
    let vowels = if rate_hz == 8_000 { &VOWELS_8K } else { &VOWELS_16K };
    let (mut seed, mut phase, mut states) = (1_i64, 0, [[0_i64; 2]; 3]);
    let sample = |n: i64| {
        seed = (seed * 1_103_515_245 + 12_345) % (1 << 31);
        let noise = (seed >> 16) % 64 - 32;
        let millis = n * 1_000 / rate_hz;
        let (word, within) = ((millis - 800).div_euclid(1_200), (millis - 800).rem_euclid(1_200));
        let sounds = millis >= 800 && within < 800;
        phase += if sounds { 190 - within / 16 - 12 * word } else { 100 };
        let mut pulse = 0;
        if phase >= rate_hz {
            phase -= rate_hz;
            pulse = if sounds { within.min(800 - within).min(100) * 40 } else { 0 };
        }
        let mut sum = pulse + noise;
        for (state, formant) in states.iter_mut().zip(vowels[(within / 200 + word).rem_euclid(4) as usize]) {
            sum = (sum + ((formant[0] * state[0] + formant[1] * state[1]) >> 14)).clamp(-200_000, 200_000);
            *state = [sum, state[0]];
            sum >>= 2;
        }
        sum.clamp(-32_768, 32_767) as i16
    };
    (0..6 * rate_hz).map(sample).collect()
}

/// Resonators of a, i, u and o: twice the cosine of the pitch and the square of the radius, in Q14.
type Vowels = [[[i64; 2]; 3]; 4];

const VOWELS_8K: Vowels = [
    [[25_978, -15_580], [18_725, -15_390], [-12_052, -14_830]],
    [[30_480, -15_580], [-4_938, -14_830], [-19_702, -14_830]],
    [[30_000, -15_580], [21_958, -15_390], [-8_012, -14_830]],
    [[28_460, -15_580], [23_526, -15_390], [-9_060, -14_830]],
];

const VOWELS_16K: Vowels = [
    [[30_320, -15_970], [28_116, -15_880], [15_022, -15_590]],
    [[31_540, -15_970], [19_522, -15_590], [11_246, -15_590]],
    [[31_410, -15_970], [28_990, -15_880], [16_540, -15_590]],
    [[31_000, -15_970], [29_400, -15_880], [16_130, -15_590]],
];
