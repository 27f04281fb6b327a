use std::f64::consts::TAU;

use proptest::prelude::*;

use super::*;

const TELEPHONY_HZ: [u32; 4] = [8_000, 16_000, 24_000, 48_000];
const FILES_HZ: [u32; 3] = [11_025, 22_050, 44_100];

#[test]
fn a_frame_in_is_a_frame_out() {
    for (from_hz, to_hz) in pairs(&TELEPHONY_HZ) {
        let mut resampler = Resampler::new(from_hz, to_hz).unwrap();
        for _ in 0..3 {
            let mut output = Vec::new();
            resampler.process(&vec![0; from_hz as usize / 50], &mut output);
            assert_eq!(output.len(), to_hz as usize / 50, "{resampler:?}");
        }
    }
}

#[test]
fn the_delay_between_the_rates_of_telephony_is_4_ms_or_less() {
    let cases = [
        (8_000, 8_000, 0),
        (8_000, 16_000, 48),
        (8_000, 24_000, 72),
        (8_000, 48_000, 174),
        (16_000, 8_000, 24),
        (16_000, 24_000, 36),
        (16_000, 48_000, 72),
        (24_000, 8_000, 24),
        (24_000, 16_000, 24),
        (24_000, 48_000, 48),
        (48_000, 8_000, 29),
        (48_000, 16_000, 24),
        (48_000, 24_000, 24),
    ];
    for (from_hz, to_hz, samples) in cases {
        let resampler = Resampler::new(from_hz, to_hz).unwrap();
        assert_eq!(resampler.delay(), samples, "{resampler:?}");
    }
}

#[test]
fn an_impulse_comes_out_where_the_delay_says() {
    for (from_hz, to_hz) in pairs(&TELEPHONY_HZ) {
        let mut input = vec![0; from_hz as usize / 10];
        input[from_hz as usize / 40] = 30_000;
        let mut resampler = Resampler::new(from_hz, to_hz).unwrap();
        let delayed = convert(&mut resampler, &input);
        let aligned = convert(&mut resampler.aligned(), &input);
        assert_eq!(peak_at(&delayed), to_hz as usize / 40 + Resampler::new(from_hz, to_hz).unwrap().delay());
        assert_eq!(peak_at(&aligned), to_hz as usize / 40);
    }
}

#[test]
fn tones_keep_their_level_and_stay_clean() {
    for (from_hz, to_hz) in pairs(&[&TELEPHONY_HZ[..], &FILES_HZ[..]].concat()) {
        for (tone_hz, snr_db_min) in [(1_000.0, 90.0), (3_400.0, 85.0)] {
            let mut resampler = Resampler::new(from_hz, to_hz).unwrap().aligned();
            let output = convert(&mut resampler, &tone(from_hz, tone_hz));
            let (amplitude, snr_db) = fit(steady(&output), to_hz, tone_hz);
            let gain_db = 20.0 * (amplitude / AMPLITUDE).log10();
            assert!(gain_db.abs() < 0.1, "{from_hz} -> {to_hz}: {gain_db:.3} dB at {tone_hz} Hz");
            assert!(snr_db > snr_db_min, "{from_hz} -> {to_hz}: SNR {snr_db:.1} dB at {tone_hz} Hz");
        }
    }
}

#[test]
fn what_a_lower_rate_cannot_carry_is_removed() {
    for (from_hz, to_hz) in pairs(&TELEPHONY_HZ).filter(|(from_hz, to_hz)| from_hz > to_hz) {
        for part in [1.15, 1.25, 1.5, 1.9, 2.3, 3.5, 5.9] {
            let tone_hz = f64::from(to_hz) / 2.0 * part;
            if tone_hz >= f64::from(from_hz) / 2.0 {
                continue;
            }
            let output = convert(&mut Resampler::new(from_hz, to_hz).unwrap(), &tone(from_hz, tone_hz));
            let rejection_db = 20.0 * (AMPLITUDE / std::f64::consts::SQRT_2 / rms(steady(&output)).max(0.1)).log10();
            assert!(rejection_db > 96.0, "{from_hz} -> {to_hz}: {tone_hz} Hz only {rejection_db:.1} dB down");
        }
    }
}

/// No worse than soxr at high quality (91.8 dB, 90.9 dB, -96 dB) and speexdsp at quality 5 (93.5 dB, 95.7 dB) are where
/// 16 bits of their output allow it; `benches/README.md` has all of them from one run.
#[test]
fn the_telephone_band_is_flat_and_clean() {
    for (from_hz, to_hz) in pairs(&TELEPHONY_HZ).filter(|(from_hz, to_hz)| from_hz != to_hz) {
        let heard = |tone_hz| {
            let output = convert(&mut Resampler::new(from_hz, to_hz).unwrap(), &tone(from_hz, tone_hz));
            fit(steady(&output), to_hz, tone_hz)
        };
        for (tone_hz, snr_db_min) in [(1_000.0, 93.5), (3_300.0, 93.5)] {
            let (_, snr_db) = heard(tone_hz);
            assert!(snr_db > snr_db_min, "{from_hz} -> {to_hz}: SNR {snr_db:.2} dB at {tone_hz} Hz");
        }
        let gains_db: Vec<_> =
            (0..32).map(|n| 20.0 * (heard(300.0 + 100.0 * f64::from(n)).0 / AMPLITUDE).log10()).collect();
        let (least, most) = gains_db.iter().fold((0.0_f64, 0.0_f64), |(a, b), gain| (a.min(*gain), b.max(*gain)));
        assert!(most - least < 0.001, "{from_hz} -> {to_hz}: ripple {:.5} dB", most - least);
    }
}

#[test]
fn equal_rates_pass_everything_at_once() {
    let mut resampler = Resampler::new(8_000, 8_000).unwrap();
    let mut output = Vec::new();
    resampler.process(&[1, -2, i16::MIN], &mut output);
    assert_eq!(output, [1, -2, i16::MIN]);
    resampler.flush(&mut output);
    assert_eq!(output.len(), 3);
}

#[test]
fn full_scale_clips_and_does_not_wrap() {
    let square: Vec<i16> = (0..8_000).map(|n| if n / 20 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
    let output = convert(&mut Resampler::new(8_000, 16_000).unwrap().aligned(), &square);
    for (n, sample) in output.iter().enumerate().skip(2).step_by(2) {
        let input = square[n / 2];
        assert!(*sample == 0 || (*sample > 0) == (input > 0), "sample {n}: {sample} of {input}");
    }
    assert!(output.contains(&i16::MAX) && output.contains(&i16::MIN));
}

#[test]
fn rates_beyond_reason_are_refused() {
    for (from_hz, to_hz) in [(0, 8_000), (8_000, 0), (3_999, 8_000), (8_000, 192_001), (u32::MAX, u32::MAX)] {
        assert_eq!(Resampler::new(from_hz, to_hz).unwrap_err().kind(), ErrorKind::ConfigInvalid);
    }
}

#[test]
fn rates_without_a_common_divisor_work() {
    for (from_hz, to_hz) in [(4_000, 4_001), (11_127, 8_000), (22_254, 16_000), (44_101, 8_000), (192_000, 4_001)] {
        let mut resampler = Resampler::new(from_hz, to_hz).unwrap().aligned();
        let output = convert(&mut resampler, &tone(from_hz, 440.0));
        let (amplitude, snr_db) = fit(steady(&output), to_hz, 440.0);
        assert!((amplitude / AMPLITUDE - 1.0).abs() < 0.01 && snr_db > 60.0, "{resampler:?} {amplitude} {snr_db}");
        assert!(resampler.delay() <= to_hz as usize / 2 + 1);
    }
}

#[test]
fn a_flushed_or_reset_resampler_is_as_new() {
    let input = tone(24_000, 440.0);
    let expected = convert(&mut Resampler::new(24_000, 8_000).unwrap(), &input);
    let mut resampler = Resampler::new(24_000, 8_000).unwrap();
    for _ in 0..2 {
        assert_eq!(convert(&mut resampler, &input), expected);
        resampler.process(&input[..1_234], &mut Vec::new());
        resampler.reset();
    }
}

#[test]
fn rounding_is_to_the_nearest_sample() {
    let cases = [(0.4, 0), (0.6, 1), (-0.6, -1), (1.5, 2), (2.5, 2), (40_000.0, i16::MAX), (-40_000.0, i16::MIN)];
    for (value, sample) in cases {
        assert_eq!(sample_from(value), sample);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pieces_of_any_length_give_the_same_stream(
        from_hz in prop::sample::select([&TELEPHONY_HZ[..], &FILES_HZ[..]].concat()),
        to_hz in prop::sample::select([&TELEPHONY_HZ[..], &FILES_HZ[..]].concat()),
        aligned in any::<bool>(),
        samples in prop::collection::vec(any::<i16>(), 0..3_000),
        pieces in prop::collection::vec(0_usize..900, 0..12),
    ) {
        let make = || {
            let resampler = Resampler::new(from_hz, to_hz).unwrap();
            if aligned { resampler.aligned() } else { resampler }
        };
        let whole = convert(&mut make(), &samples);
        let (mut resampler, mut rest, mut output) = (make(), &samples[..], Vec::new());
        for piece in pieces {
            let (head, tail) = rest.split_at(piece.min(rest.len()));
            resampler.process(head, &mut output);
            rest = tail;
        }
        resampler.process(rest, &mut output);
        resampler.flush(&mut output);
        prop_assert_eq!(&output, &whole);

        let ratio = f64::from(to_hz) / f64::from(from_hz);
        let delay = if aligned { 0 } else { resampler.delay() };
        prop_assert_eq!(output.len(), (samples.len() as f64 * ratio).round() as usize + delay);
    }
}

const AMPLITUDE: f64 = 29_204.0;

fn pairs(rates_hz: &[u32]) -> impl Iterator<Item = (u32, u32)> {
    rates_hz.iter().flat_map(move |from_hz| rates_hz.iter().map(move |to_hz| (*from_hz, *to_hz)))
}

fn convert(resampler: &mut Resampler, input: &[i16]) -> Vec<i16> {
    let mut output = Vec::new();
    resampler.process(input, &mut output);
    resampler.flush(&mut output);
    output
}

/// Half a second at -1 dBFS.
fn tone(rate_hz: u32, tone_hz: f64) -> Vec<i16> {
    let step = TAU * tone_hz / f64::from(rate_hz);
    (0..rate_hz / 2).map(|n| (AMPLITUDE * (f64::from(n) * step).sin()).round() as i16).collect()
}

/// The middle, where neither end is heard.
fn steady(samples: &[i16]) -> &[i16] {
    &samples[samples.len() / 4..samples.len() * 3 / 4]
}

fn rms(samples: &[i16]) -> f64 {
    (samples.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / samples.len() as f64).sqrt()
}

fn peak_at(samples: &[i16]) -> usize {
    (0..samples.len()).max_by_key(|n| samples[*n].unsigned_abs()).unwrap()
}

/// The amplitude of the sine that fits best, and its power over everything else.
fn fit(samples: &[i16], rate_hz: u32, tone_hz: f64) -> (f64, f64) {
    let step = TAU * tone_hz / f64::from(rate_hz);
    let (mut ss, mut cc, mut sc, mut sy, mut cy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (n, sample) in samples.iter().enumerate() {
        let (sin, cos) = (n as f64 * step).sin_cos();
        let y = f64::from(*sample);
        (ss, cc, sc) = (ss + sin * sin, cc + cos * cos, sc + sin * cos);
        (sy, cy) = (sy + sin * y, cy + cos * y);
    }
    let determinant = ss * cc - sc * sc;
    let (a, b) = ((sy * cc - cy * sc) / determinant, (cy * ss - sy * sc) / determinant);
    let noise: f64 = samples
        .iter()
        .enumerate()
        .map(|(n, sample)| {
            let (sin, cos) = (n as f64 * step).sin_cos();
            (f64::from(*sample) - a * sin - b * cos).powi(2)
        })
        .sum();
    let amplitude = a.hypot(b);
    (amplitude, 10.0 * (amplitude * amplitude / 2.0 * samples.len() as f64 / noise).log10())
}
