//! Audio, in ns for each frame of 20 ms on one thread, beside the crates that a user would take instead.
//!
//! `cargo bench -p offhook-benches --bench audio`; ratios hold between rows of one run.

#![allow(clippy::expect_used, reason = "a benchmark that cannot be set up has nothing to measure")]

use std::hint::black_box;
use std::io::Cursor;

use criterion::{Criterion, criterion_group, criterion_main};
use offhook::audio::{EnergyVad, EnergyVadSettings, Recorder, Resampler, g711, level, samples_per_frame};
use offhook_benches::{Frames, voice};
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _};

criterion_group!(audio, g711_encode, g711_decode, resample, vad, recorder);
criterion_main!(audio);

const NARROWBAND_HZ: u32 = 8_000;
const RATES_HZ: [(u32, u32); 8] = [
    (8_000, 16_000),
    (8_000, 24_000),
    (8_000, 48_000),
    (16_000, 8_000),
    (24_000, 8_000),
    (24_000, 16_000),
    (44_100, 8_000),
    (48_000, 8_000),
];

fn frames(rate_hz: u32) -> Frames<i16> {
    Frames::new(voice(rate_hz), samples_per_frame(rate_hz))
}

fn g711_encode(criterion: &mut Criterion) {
    encode(criterion, "alaw_encode", g711::encode_alaw, audio_codec_algorithms::encode_alaw);
    encode(criterion, "ulaw_encode", g711::encode_ulaw, audio_codec_algorithms::encode_ulaw);
}

fn g711_decode(criterion: &mut Criterion) {
    decode(criterion, "alaw_decode", g711::decode_alaw, audio_codec_algorithms::decode_alaw);
    decode(criterion, "ulaw_decode", g711::decode_ulaw, audio_codec_algorithms::decode_ulaw);
}

fn encode(criterion: &mut Criterion, name: &str, ours: impl Fn(&[i16], &mut [u8]), peer: impl Fn(i16) -> u8) {
    let mut group = criterion.benchmark_group(name);
    let (mut frames, mut codes) = (frames(NARROWBAND_HZ), [0; 160]);
    group.bench_function("offhook", |bencher| {
        bencher.iter(|| {
            ours(black_box(frames.next_frame()), black_box(&mut codes));
        });
    });
    group.bench_function("audio-codec-algorithms", |bencher| {
        bencher.iter(|| {
            for (code, sample) in black_box(&mut codes).iter_mut().zip(black_box(frames.next_frame())) {
                *code = peer(*sample);
            }
        });
    });
}

fn decode(criterion: &mut Criterion, name: &str, ours: impl Fn(&[u8], &mut [i16]), peer: impl Fn(u8) -> i16) {
    let mut group = criterion.benchmark_group(name);
    let voice = voice(NARROWBAND_HZ);
    let mut codes = vec![0; voice.len()];
    g711::encode_ulaw(&voice, &mut codes);
    let (mut frames, mut samples) = (Frames::new(codes, 160), [0; 160]);
    group.bench_function("offhook", |bencher| {
        bencher.iter(|| {
            ours(black_box(frames.next_frame()), black_box(&mut samples));
        });
    });
    group.bench_function("audio-codec-algorithms", |bencher| {
        bencher.iter(|| {
            for (sample, code) in black_box(&mut samples).iter_mut().zip(black_box(frames.next_frame())) {
                *sample = peer(*code);
            }
        });
    });
}

/// The peer is rubato as its documentation recommends it, on samples that are floats already.
fn resample(criterion: &mut Criterion) {
    for (from_hz, to_hz) in RATES_HZ {
        let mut group = criterion.benchmark_group(format!("resample_{from_hz}_{to_hz}"));
        let (mut voice, mut output) = (frames(from_hz), Vec::with_capacity(2_000));
        let mut ours = Resampler::new(from_hz, to_hz).expect("rates of telephony");
        group.bench_function("offhook", |bencher| {
            bencher.iter(|| {
                output.clear();
                ours.process(black_box(voice.next_frame()), &mut output);
                output.len()
            });
        });

        let frame = samples_per_frame(from_hz);
        let floats = self::voice(from_hz).iter().map(|sample| f32::from(*sample) / 32_768.0).collect();
        let mut peer = Fft::<f32>::new(from_hz as usize, to_hz as usize, frame, 1, FixedSync::Both).expect("rates");
        let (input_frames, output_frames) = (peer.input_frames_next(), peer.output_frames_next());
        let (mut voice, mut output) = (Frames::new(floats, input_frames), vec![0.0; output_frames]);
        group.bench_function("rubato", |bencher| {
            bencher.iter(|| {
                let input = InterleavedSlice::new(black_box(voice.next_frame()), 1, input_frames).expect("one block");
                let mut output = InterleavedSlice::new_mut(&mut output, 1, output_frames).expect("one block");
                peer.process_into_buffer(&input, &mut output, None).expect("one block in, one out")
            });
        });
    }
}

fn vad(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("vad");
    let mut frames = frames(NARROWBAND_HZ);
    let mut vad = EnergyVad::new(NARROWBAND_HZ, EnergyVadSettings::default()).expect("default settings");
    group.bench_function("offhook_energy", |bencher| bencher.iter(|| vad.push(black_box(frames.next_frame()))));
    group.bench_function("offhook_power_alone", |bencher| {
        bencher.iter(|| level::power(black_box(frames.next_frame())));
    });
}

fn recorder(criterion: &mut Criterion) {
    const FRAMES_A_FILE: u32 = 50_000;
    let mut group = criterion.benchmark_group("recorder");
    let (mut left, mut right) = (frames(NARROWBAND_HZ), frames(NARROWBAND_HZ));
    let mut ours = Recorder::new(NARROWBAND_HZ).expect("a rate of telephony");
    let (mut output, mut written) = (Vec::with_capacity(640), 0);
    group.bench_function("offhook", |bencher| {
        bencher.iter(|| {
            output.clear();
            written += 1;
            if written % FRAMES_A_FILE == 0 {
                ours = Recorder::new(NARROWBAND_HZ).expect("a rate of telephony");
            }
            ours.write_frame(black_box(left.next_frame()), black_box(right.next_frame()), &mut output)
        });
    });

    let spec = hound::WavSpec {
        channels: 2,
        sample_rate: 8_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let new_file = || hound::WavWriter::new(Cursor::new(Vec::with_capacity(64 << 20)), spec).expect("in memory");
    let (mut peer, mut written) = (new_file(), 0);
    group.bench_function("hound", |bencher| {
        bencher.iter(|| {
            written += 1;
            if written % FRAMES_A_FILE == 0 {
                peer = new_file();
            }
            let mut block = peer.get_i16_writer(320);
            for (left, right) in black_box(left.next_frame()).iter().zip(black_box(right.next_frame())) {
                block.write_sample(*left);
                block.write_sample(*right);
            }
            block.flush().expect("in memory");
        });
    });
}
