//! How well speech is told from noise, frame by frame of 20 ms: precision, recall and F1 in percent, and how long after
//! the end of speech it is still taken for speech.
//!
//! `cargo bench -p offhook-benches --bench vad_quality -- FOLDER`, where FOLDER holds WAV files of clean speech at 8 or
//! 16 kHz, 16 bits, one channel. What is speech is told from the clean recording: frames within 35 dB of its loud ones
//! (the 95th percentile), and pauses up to 120 ms between them. Each recording comes after a pause of 3 s; then noise is
//! added (white, pink, or eight of the recordings at once) at a ratio to the level of speech, and all is coded in mu-law.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a measurement that is printed")]

use offhook::audio::silero::{Silero, SileroStream, SileroWindow};
use offhook::audio::{EnergyVad, EnergyVadSettings, Resampler, g711, level};

const RATE_HZ: u32 = 8_000;
const FRAME: usize = 160;
const SPEECH_DB: f32 = -35.0;
const PAUSE_FRAMES: usize = 6;
/// The level of speech in the end.
const LEVEL_DBFS: f32 = -26.0;
const GAP_FRAMES: usize = 150;

fn main() {
    let folder = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    // Without recordings, as in `cargo bench` of everything, there is nothing to measure.
    let Some(folder) = folder else { return };
    let corpus = Corpus::read(&folder);
    let models = offhook_local::Models::locate().expect("`cargo xtask setup` was run");
    let silero = offhook_local::silero::load(&models).expect("the weights are whole");
    println!("{} s, {:.0} % speech", corpus.clean.len() / 8_000, 100.0 * share(&corpus.speech));
    for noise in [Noise::None, Noise::White, Noise::Pink, Noise::Babble] {
        for ratio_db in if noise == Noise::None { &[99.0][..] } else { &[20.0, 10.0, 5.0] } {
            let line = corpus.line(noise, *ratio_db);
            let stream = || silero.stream(RATE_HZ).expect("the rate is the model's");
            println!("{noise:?} {ratio_db} dB");
            report("  EnergyVad", &corpus.speech, &energy(&line));
            report("  webrtc-vad, mode 3", &corpus.speech, &webrtc(&line));
            report("  Silero", &corpus.speech, &neural(&silero, stream(), &line));
            report("  Silero, gated", &corpus.speech, &neural(&silero, stream().gated(), &line));
        }
    }
}

fn energy(line: &[i16]) -> Vec<bool> {
    let settings = EnergyVadSettings { hangover: std::time::Duration::from_millis(60), ..EnergyVadSettings::default() };
    let mut vad = EnergyVad::new(RATE_HZ, settings).expect("settings");
    let decide = |frame: &[i16]| {
        vad.push(frame);
        vad.is_speech()
    };
    line.chunks_exact(FRAME).map(decide).collect()
}

fn webrtc(line: &[i16]) -> Vec<bool> {
    let mut vad =
        webrtc_vad::Vad::new_with_rate_and_mode(webrtc_vad::SampleRate::Rate8kHz, webrtc_vad::VadMode::VeryAggressive);
    line.chunks_exact(FRAME).map(|frame| vad.is_voice_segment(frame).expect("the frame has 20 ms")).collect()
}

fn neural(silero: &Silero, mut stream: SileroStream, line: &[i16]) -> Vec<bool> {
    let mut workspace = silero.workspace(1);
    let window = stream.window();
    let mut samples = Vec::new();
    for piece in line.chunks_exact(window) {
        let mut windows = [SileroWindow { stream: &mut stream, samples: piece, probability: 0.0 }];
        silero.judge(&mut workspace, &mut windows).expect("the window has its length");
        samples.extend(std::iter::repeat_n(windows[0].probability >= 0.5, window));
    }
    if stream.windows_spared() > 0 {
        println!(
            "  (spared {:.0} % of the windows)",
            100.0 * stream.windows_spared() as f64 / (line.len() / window) as f64
        );
    }
    samples.chunks_exact(FRAME).map(|frame| share(frame) >= 0.5).collect()
}

fn report(name: &str, speech: &[bool], found: &[bool]) {
    let count =
        |truth: bool, said: bool| speech.iter().zip(found).filter(|pair| *pair == (&truth, &said)).count() as f64;
    let (right, wrong, missed) = (count(true, true), count(false, true), count(true, false));
    let (precision, recall) = (right / (right + wrong).max(1.0), right / (right + missed).max(1.0));
    let f1 = 2.0 * precision * recall / (precision + recall).max(f64::MIN_POSITIVE);
    let ends = (1..found.len()).filter(|&at| speech[at - 1] && !speech[at..speech.len().min(at + 20)].contains(&true));
    let mut late: Vec<_> = ends.map(|at| found[at..].iter().take(50).take_while(|said| **said).count() * 20).collect();
    late.sort_unstable();
    let late = late.get(late.len() / 2).copied().unwrap_or(0);
    println!("{name:22} F1 {:5.1} ({:5.1} / {:5.1}), {late} ms late", 100.0 * f1, 100.0 * precision, 100.0 * recall);
}

fn share(frames: &[bool]) -> f32 {
    frames.iter().filter(|is| **is).count() as f32 / frames.len().max(1) as f32
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Noise {
    Babble,
    None,
    Pink,
    White,
}

struct Corpus {
    clean: Vec<f32>,
    speech: Vec<bool>,
}

impl Corpus {
    fn read(folder: &str) -> Self {
        let mut files: Vec<_> =
            std::fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").path()).collect();
        files.sort();
        let mut corpus = Self { clean: Vec::new(), speech: Vec::new() };
        for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "wav")) {
            let mut reader = hound::WavReader::open(file).expect("a WAV file");
            let rate_hz = reader.spec().sample_rate;
            let samples: Vec<i16> = reader.samples().map(|sample| sample.expect("16 bits")).collect();
            let mut resampler = Resampler::new(rate_hz, RATE_HZ).expect("a rate").aligned();
            let mut narrow = Vec::new();
            resampler.process(&samples, &mut narrow);
            resampler.flush(&mut narrow);
            corpus.add(&narrow);
        }
        corpus
    }

    fn add(&mut self, samples: &[i16]) {
        let powers: Vec<f32> = samples.chunks_exact(FRAME).map(level::power).collect();
        let mut sorted = powers.clone();
        sorted.sort_by(f32::total_cmp);
        let Some(loud) = sorted.get(sorted.len() * 95 / 100) else { return };
        let mut speech: Vec<bool> =
            powers.iter().map(|power| *power > loud * level::power_from_db(SPEECH_DB)).collect();
        let spoken: Vec<usize> = (0..speech.len()).filter(|at| speech[*at]).collect();
        for pair in spoken.windows(2) {
            if pair[1] - pair[0] <= PAUSE_FRAMES + 1 {
                speech[pair[0]..pair[1]].fill(true);
            }
        }
        let active: f32 = powers.iter().zip(&speech).filter(|(_, is)| **is).map(|(power, _)| power).sum();
        let gain = (level::power_from_db(LEVEL_DBFS) * spoken.len() as f32 / active).sqrt();
        self.clean.resize(self.clean.len() + GAP_FRAMES * FRAME, 0.0);
        self.speech.resize(self.speech.len() + GAP_FRAMES, false);
        self.clean.extend(samples[..speech.len() * FRAME].iter().map(|sample| f32::from(*sample) * gain));
        self.speech.extend(speech);
    }

    fn line(&self, noise: Noise, ratio_db: f32) -> Vec<i16> {
        let mut random = 11_u64;
        let mut normal = || {
            let sum: f64 = (0..12)
                .map(|_| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (random >> 11) as f64 / (1_u64 << 53) as f64
                })
                .sum();
            (sum - 6.0) as f32
        };
        let length = self.clean.len();
        let mut pink = [0.0_f32; 3];
        let added: Vec<f32> = (0..length)
            .map(|at| match noise {
                Noise::Babble => (1..9).map(|voice| self.clean[(at + voice * length / 9) % length]).sum(),
                Noise::None | Noise::White => normal(),
                Noise::Pink => {
                    // Three poles a decade or so apart fall by 3 dB an octave between them.
                    let white = normal();
                    for (state, (pole, gain)) in pink.iter_mut().zip([(0.997, 0.03), (0.963, 0.1), (0.57, 0.35)]) {
                        *state = *state * pole + white * gain;
                    }
                    pink.iter().sum::<f32>() + white * 0.1
                }
            })
            .collect();
        let power: f32 = added.iter().map(|sample| sample * sample).sum::<f32>() / length as f32;
        let wanted = if noise == Noise::None { -78.0 } else { LEVEL_DBFS - ratio_db };
        let gain = (level::power_from_db(wanted) * 32_768.0 * 32_768.0 / power).sqrt();
        let sum = self.clean.iter().zip(added).map(|(clean, added)| (clean + added * gain).round() as i16);
        sum.map(|sample| g711::linear_from_ulaw(g711::ulaw_from_linear(sample))).collect()
    }
}
