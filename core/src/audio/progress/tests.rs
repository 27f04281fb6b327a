use std::f64::consts::TAU;

use proptest::prelude::*;

use super::*;

const COUNTRIES: [Country; 11] = [
    Country::Australia,
    Country::Brazil,
    Country::China,
    Country::France,
    Country::Germany,
    Country::India,
    Country::Indonesia,
    Country::Japan,
    Country::NorthAmerica,
    Country::Spain,
    Country::UnitedKingdom,
];

#[test]
fn every_tone_of_every_country_is_heard_for_what_it_is() {
    for country in COUNTRIES {
        for pattern in country.patterns() {
            for (offset, detune, noise) in [(0.0, 1.0, 0.0), (7.0, 1.005, 60.0), (13.0, 0.995, 60.0)] {
                let line = Line { noise, detune, ..Line::new(country) }.play(200.0 + offset, |_| 0.0);
                let events = line.pattern(pattern, 9_000).events();
                let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
                assert_eq!(kinds, [pattern.kind], "{country:?} {pattern:?} {offset}");
                assert!(events[0].confidence > 0.7 && events[0].at < Duration::from_millis(7_000), "{events:?}");
            }
        }
    }
}

#[test]
fn special_information_and_faxes_are_heard_everywhere() {
    let north_america = || Line::new(Country::NorthAmerica);
    let sit = |pitches: [f64; 3], lengths: [f64; 3]| {
        let tones = pitches.into_iter().zip(lengths);
        tones
            .fold(north_america().play(100.0, |_| 0.0), |line, (hz, length)| line.tone(&[hz], length))
            .play(500.0, |_| 0.0)
    };
    for (pitches, lengths) in [
        ([950.0, 1_400.0, 1_800.0], [330.0; 3]),
        ([913.8, 1_370.6, 1_776.7], [274.0, 274.0, 380.0]),
        ([985.2, 1_428.5, 1_776.7], [380.0; 3]),
    ] {
        assert_eq!(sit(pitches, lengths).kinds(), [ToneKind::SpecialInformation]);
    }
    assert_eq!(sit([950.0, 1_800.0, 1_400.0], [330.0; 3]).kinds(), []);
    assert_eq!(sit([950.0, 1_400.0, 1_800.0], [120.0; 3]).kinds(), []);
    let calling = |length| north_america().tone(&[1_100.0], length).play(3_000.0, |_| 0.0);
    assert_eq!(calling(500.0).kinds(), [ToneKind::FaxCalling]);
    assert_eq!(calling(1_000.0).kinds(), []);
    assert_eq!(north_america().tone(&[2_100.0], 2_600.0).kinds(), [ToneKind::FaxAnswer]);
    assert_eq!(north_america().tone(&[2_100.0], 600.0).kinds(), []);
    // As modems do: the phase turns every 450 ms.
    let turning = (0..6).fold(north_america(), |line, turn| {
        line.play(450.0, |at| 6_000.0 * (TAU * 2_100.0 * at + f64::from(turn % 2) * TAU / 2.0).sin())
    });
    assert_eq!(turning.kinds(), [ToneKind::FaxAnswer]);
}

#[test]
fn a_tone_is_told_once_and_again_after_a_pause() {
    let busy = &Country::NorthAmerica.patterns()[2];
    let line = Line::new(Country::NorthAmerica).pattern(busy, 6_000).play(9_000.0, |_| 0.0).pattern(busy, 6_000);
    assert_eq!(line.kinds(), [ToneKind::Busy, ToneKind::Busy]);
}

#[test]
fn what_is_no_tone_of_a_network_is_none() {
    assert_eq!(Line::new(Country::Germany).play(5_000.0, |_| 0.0).kinds(), []);
    assert_eq!(Line { noise: 3_000.0, ..Line::new(Country::Germany) }.play(20_000.0, |_| 0.0).kinds(), []);
    // A beep, keys, and another country's tones.
    assert_eq!(Line::new(Country::NorthAmerica).tone(&[1_000.0], 800.0).play(900.0, |_| 0.0).kinds(), []);
    let keys = (0..20)
        .fold(Line::new(Country::NorthAmerica), |line, _| line.tone(&[697.0, 1_209.0], 80.0).play(80.0, |_| 0.0));
    assert_eq!(keys.kinds(), []);
    let german = &Country::Germany.patterns()[2];
    assert_eq!(Line::new(Country::NorthAmerica).pattern(german, 8_000).kinds(), []);
    let voice = |at: f64| {
        let pitch = 140.0 + 30.0 * (TAU * 0.7 * at).sin();
        (1..20).map(|k| 900.0 / f64::from(k) * (TAU * pitch * f64::from(k) * at).sin()).sum::<f64>()
            * (TAU * 2.3 * at).sin().abs()
    };
    for country in COUNTRIES {
        assert_eq!(Line::new(country).play(20_000.0, voice).kinds(), [], "{country:?}");
    }
}

#[test]
fn countries_have_codes_and_fit_the_bank() {
    let codes = ["AU", "BR", "CN", "FR", "DE", "IN", "ID", "JP", "US", "ES", "GB"];
    assert_eq!(codes.map(|code| Country::from_code(code).unwrap()), COUNTRIES);
    assert_eq!(Country::from_code("XX"), None);
    for country in COUNTRIES {
        let mut pitches: Vec<_> =
            country.patterns().iter().flat_map(|pattern| pitches_of(pattern.sound)).flatten().collect();
        pitches.sort_by(f64::total_cmp);
        pitches.dedup();
        assert!(pitches.len() <= PITCHES);
    }
    assert!(CallProgress::new(0, Country::Japan).is_err());
}

proptest! {
    #[test]
    fn any_sound_is_taken_however_it_is_cut(
        pieces in prop::collection::vec(prop::collection::vec(any::<i16>(), 0..700), 0..20),
        rate_hz in 4_000_u32..50_000,
    ) {
        let mut whole = CallProgress::new(rate_hz, Country::UnitedKingdom).unwrap();
        let mut last = Duration::ZERO;
        for piece in &pieces {
            if let Some(event) = whole.push(piece) {
                prop_assert!(event.at > last && (0.0..=1.0).contains(&event.confidence));
                last = event.at;
            }
        }
    }
}

struct Line {
    country: Country,
    samples: Vec<i16>,
    detune: f64,
    noise: f64,
    random: u64,
}

impl Line {
    fn new(country: Country) -> Self {
        Self { country, samples: Vec::new(), detune: 1.0, noise: 0.0, random: 1 }
    }

    fn pattern(self, pattern: &Pattern, millis: u32) -> Self {
        let (mut line, mut played) = (self, 0);
        while played < millis {
            if pattern.cadence_ms.is_empty() {
                line = line.sound(pattern.sound, f64::from(millis));
                played += millis;
            }
            for pair in pattern.cadence_ms.chunks(2) {
                line = line.sound(pattern.sound, f64::from(pair[0])).play(f64::from(pair[1]), |_| 0.0);
                played += u32::from(pair[0] + pair[1]);
            }
        }
        line
    }

    fn sound(self, sound: Sound, millis: f64) -> Self {
        match sound {
            Sound::One(hz) => self.tone(&[hz], millis),
            Sound::Two(low, high) => self.tone(&[low, high], millis),
            Sound::Modulated(hz, by) => {
                let detune = self.detune;
                self.play(millis, |at| 3_000.0 * (TAU * hz * detune * at).sin() * (1.0 + 0.9 * (TAU * by * at).sin()))
            }
        }
    }

    fn tone(self, pitches: &[f64], millis: f64) -> Self {
        let detune = self.detune;
        self.play(millis, |at| pitches.iter().map(|hz| 3_000.0 * (TAU * hz * detune * at).sin()).sum())
    }

    fn play(mut self, millis: f64, wave: impl Fn(f64) -> f64) -> Self {
        for n in 0..(millis * 8.0) as usize {
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let noise = self.noise * ((self.random >> 33) as f64 / f64::from(1 << 30) - 1.0);
            self.samples.push((wave(n as f64 / 8_000.0) + noise).clamp(-32_768.0, 32_767.0) as i16);
        }
        self
    }

    fn events(&self) -> Vec<ToneEvent> {
        let mut progress = CallProgress::new(8_000, self.country).unwrap();
        self.samples.chunks(160).filter_map(|frame| progress.push(frame)).collect()
    }

    fn kinds(&self) -> Vec<ToneKind> {
        self.events().iter().map(|event| event.kind).collect()
    }
}
