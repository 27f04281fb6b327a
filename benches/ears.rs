//! What listens to a call, on one thread, beside the crates that a user would take instead: for each frame of 20 ms, but
//! for Silero each window of 32 ms of one call.
//!
//! `cargo bench -p offhook-benches --bench ears`; ratios hold between rows of one run. Silero's weights are those of
//! `cargo xtask setup`.

#![allow(clippy::expect_used, reason = "a benchmark that cannot be set up has nothing to measure")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use offhook::audio::progress::{CallProgress, Country};
use offhook::audio::silero::{Silero, SileroStream, SileroWindow};
use offhook::audio::{BeepDetector, DtmfDetector, EnergyVad, EnergyVadSettings, level, samples_per_frame};
use offhook_audio_benches::{Frames, voice};

criterion_group!(ears, vad, silero, cascade, dtmf, tones);
criterion_main!(ears);

const RATE_HZ: u32 = 8_000;

fn frames() -> Frames<i16> {
    Frames::new(voice(RATE_HZ), samples_per_frame(RATE_HZ))
}

fn vad(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("vad_frame");
    let mut frames = frames();
    group.bench_function("offhook level", |bencher| bencher.iter(|| level::power(black_box(frames.next_frame()))));
    let mut vad = EnergyVad::new(RATE_HZ, EnergyVadSettings::default()).expect("settings");
    group.bench_function("offhook EnergyVad", |bencher| bencher.iter(|| vad.push(black_box(frames.next_frame()))));
    let mut peer =
        webrtc_vad::Vad::new_with_rate_and_mode(webrtc_vad::SampleRate::Rate8kHz, webrtc_vad::VadMode::Aggressive);
    group.bench_function("webrtc-vad", |bencher| {
        bencher.iter(|| peer.is_voice_segment(black_box(frames.next_frame())));
    });
    let (mut peer, mut frames) = (earshot::Detector::default(), Frames::new(voice(16_000), 256));
    group.bench_function("earshot, of 16 ms", |bencher| {
        bencher.iter(|| peer.predict_i16(black_box(frames.next_frame())));
    });
}

fn silero(criterion: &mut Criterion) {
    let silero = weights();
    for rate_hz in [8_000, 16_000] {
        let mut group = criterion.benchmark_group(format!("silero_window_{}k", rate_hz / 1_000));
        for calls in [1, 4, 16] {
            let streams = vec![silero.stream(rate_hz).expect("the rate is the model's"); calls];
            group.throughput(Throughput::Elements(calls as u64));
            let name = if calls == 1 { "offhook alone".to_owned() } else { format!("offhook, {calls} calls together") };
            judge(&mut group, &name, &silero, streams, voice(rate_hz));
        }
    }
}

/// A line that is silent half of the time.
fn cascade(criterion: &mut Criterion) {
    let silero = weights();
    let mut sound = voice(RATE_HZ);
    sound.resize(2 * sound.len(), 0);
    let stream = silero.stream(RATE_HZ).expect("the rate is the model's");
    let mut group = criterion.benchmark_group("silero_half_silent_8k");
    group.throughput(Throughput::Elements(1));
    judge(&mut group, "offhook", &silero, vec![stream.clone()], sound.clone());
    judge(&mut group, "offhook gated", &silero, vec![stream.gated()], sound);
}

fn judge(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    name: &str,
    silero: &Silero,
    mut streams: Vec<SileroStream>,
    sound: Vec<i16>,
) {
    let mut workspace = silero.workspace(streams.len());
    let mut windows = Frames::new(sound, streams[0].window());
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            let samples = windows.next_frame();
            let mut windows: Vec<_> =
                streams.iter_mut().map(|stream| SileroWindow { stream, samples, probability: 0.0 }).collect();
            silero.judge(&mut workspace, &mut windows).expect("windows have their length");
            black_box(windows.last().map(|window| window.probability))
        });
    });
}

fn dtmf(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("dtmf_frame");
    let (mut frames, mut detector) = (frames(), DtmfDetector::new(RATE_HZ));
    group.bench_function("offhook", |bencher| bencher.iter(|| detector.push(black_box(frames.next_frame()))));
    let floats = voice(RATE_HZ).into_iter().map(|sample| f32::from(sample) / 32_768.0).collect();
    let (mut frames, mut peer) = (Frames::new(floats, 160), ::dtmf::decoder::Decoder::new(RATE_HZ, |_, _| {}));
    group.bench_function("dtmf", |bencher| bencher.iter(|| peer.process(black_box(frames.next_frame()))));
}

fn tones(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tones_frame");
    let mut frames = frames();
    let mut progress = CallProgress::new(RATE_HZ, Country::NorthAmerica).expect("the rate is one");
    group.bench_function("offhook CallProgress", |bencher| {
        bencher.iter(|| progress.push(black_box(frames.next_frame())))
    });
    let mut beeps = BeepDetector::new(RATE_HZ);
    group.bench_function("offhook BeepDetector", |bencher| bencher.iter(|| beeps.push(black_box(frames.next_frame()))));
}

fn weights() -> Silero {
    let models = offhook_local::Models::locate().expect("`cargo xtask setup` was run");
    offhook_local::silero::load(&models).expect("the weights are whole")
}
