//! Audio, in ns for each frame of 20 ms on one thread, beside the crates that a user would take instead.
//!
//! `cargo bench -p offhook-audio-benches`; ratios hold between rows of one run.

#![allow(clippy::expect_used, reason = "a benchmark that cannot be set up has nothing to measure")]

use std::hint::black_box;
use std::io::Cursor;

use criterion::{Criterion, criterion_group, criterion_main};
use ezk_g722::libg722;
use offhook::audio::codec::{Decode, Encode};
use offhook::audio::{
    AutoGain, AutoGainSettings, ComfortNoise, Concealer, DcBlocker, EnergyVad, EnergyVadSettings, JitterBuffer,
    Recorder, Resampler, g711, g722, jitter, level, mix, samples_per_frame,
};
use offhook_audio_benches::{Frames, voice};
use offhook_opus::{OpusDecoder, OpusEncoder, OpusSettings};
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _};

criterion_group!(audio, g711_encode, g711_decode, g722_both, opus, resample, vad, recorder, the_rest);
criterion_main!(audio);

const NARROWBAND_HZ: u32 = 8_000;
const WIDEBAND_HZ: u32 = 16_000;
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

fn g722_both(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("g722_encode");
    let (mut frames, mut bytes) = (frames(WIDEBAND_HZ), Vec::with_capacity(160));
    let mut ours = g722::Encoder::new();
    group.bench_function("offhook", |bencher| {
        bencher.iter(|| {
            bytes.clear();
            ours.encode(black_box(frames.next_frame()), &mut bytes);
            bytes.len()
        });
    });
    let mut peer = libg722::encoder::Encoder::new(libg722::Bitrate::Mode1_64000, false, false);
    group.bench_function("ezk-g722", |bencher| bencher.iter(|| peer.encode(black_box(frames.next_frame()))));
    group.finish();

    let mut group = criterion.benchmark_group("g722_decode");
    let mut coded = Vec::new();
    g722::Encoder::new().encode(&voice(WIDEBAND_HZ), &mut coded);
    let (mut frames, mut samples) = (Frames::new(coded, 160), Vec::with_capacity(320));
    let mut ours = g722::Decoder::new();
    group.bench_function("offhook", |bencher| {
        bencher.iter(|| {
            samples.clear();
            ours.decode(black_box(frames.next_frame()), &mut samples);
            samples.len()
        });
    });
    let mut peer = libg722::decoder::Decoder::new(libg722::Bitrate::Mode1_64000, false, false);
    group.bench_function("ezk-g722", |bencher| bencher.iter(|| peer.decode(black_box(frames.next_frame()))));
}

/// The peer is the same library as Debian builds it, so that the row shows what the binding costs.
fn opus(criterion: &mut Criterion) {
    let mut encoder = OpusEncoder::new(OpusSettings::default()).expect("default settings");
    let mut decoder = OpusDecoder::new(WIDEBAND_HZ).expect("a rate of Opus");
    let (mut frames, mut packet, mut samples) =
        (frames(WIDEBAND_HZ), Vec::with_capacity(4_000), Vec::with_capacity(2_000));
    let packets: Vec<Vec<u8>> = (0..64)
        .map(|_| {
            let mut packet = Vec::new();
            encoder.encode(frames.next_frame(), &mut packet).expect("a frame");
            packet
        })
        .collect();
    criterion.benchmark_group("opus_encode").bench_function("offhook", |bencher| {
        bencher.iter(|| {
            packet.clear();
            encoder.encode(black_box(frames.next_frame()), &mut packet)
        });
    });
    let mut packets = packets.iter().cycle();
    criterion.benchmark_group("opus_decode").bench_function("offhook", |bencher| {
        bencher.iter(|| {
            samples.clear();
            decoder.decode(black_box(packets.next().expect("for ever")), &mut samples)
        });
    });
}

/// Rows without a peer in Rust.
fn the_rest(criterion: &mut Criterion) {
    let (mut one, mut other, mut frame) = (frames(NARROWBAND_HZ), frames(NARROWBAND_HZ), [0; 160]);
    let mut row = |name: &str, step: &mut dyn FnMut(&mut [i16], &[i16])| {
        criterion.benchmark_group(name).bench_function("offhook", |bencher| {
            bencher.iter(|| {
                frame.copy_from_slice(one.next_frame());
                step(black_box(&mut frame), black_box(other.next_frame()));
            });
        });
    };
    row("mixer", &mut mix::add);
    let mut gain = AutoGain::new(NARROWBAND_HZ, AutoGainSettings::default()).expect("a rate of telephony");
    row("auto_gain", &mut |frame, _| gain.process(frame));
    let mut blocker = DcBlocker::new(NARROWBAND_HZ).expect("a rate of telephony");
    row("dc_blocker", &mut |frame, _| blocker.process(frame));
    let mut noise = ComfortNoise::new(1);
    noise.update(&[50, 120, 140]).expect("a level and a spectrum");
    row("comfort_noise", &mut |frame, _| noise.fill(frame));
    let mut concealer = Concealer::new(NARROWBAND_HZ).expect("a rate of telephony");
    row("conceal_none_lost", &mut |frame, _| concealer.hear(frame));
    let mut turn = 0;
    row("conceal_tenth_lost", &mut |frame, _| {
        turn += 1;
        if turn % 10 == 0 { concealer.conceal(frame) } else { concealer.hear(frame) }
    });
    let mut buffer = JitterBuffer::new(jitter::JitterSettings::default()).expect("default settings");
    let (mut at, mut sequence) = (std::time::Duration::ZERO, 0_u16);
    row("jitter_buffer", &mut |_, _| {
        at += std::time::Duration::from_millis(20);
        sequence = sequence.wrapping_add(1);
        buffer.push(at, sequence, u32::from(sequence) * 160, &[0; 160]);
        black_box(buffer.pop());
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
