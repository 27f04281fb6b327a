//! Sound takes no memory: once made and warm, nothing in `audio` allocates for a frame.

use std::time::Duration;

use allocation_counter::measure;
use offhook::audio::codec::{Decode, Decoder, Encoder};
use offhook::audio::jitter::JitterSettings;
use offhook::audio::{
    AutoGain, AutoGainSettings, BeepDetector, ComfortNoise, Concealer, ConcealingDecoder, DcBlocker, DtmfDetector,
    EnergyVad, EnergyVadSettings, Framer, JitterBuffer, Mixer, Playout, Recorder, Resampler, gain, level, mix, noise,
    rtp,
};
use offhook::provider::telephony::{Codec, MediaFormat};

const FRAMES: usize = 200;
const FRAMES_TO_WARM: usize = 20;

#[test]
fn codecs() {
    for (codec, rate_hz) in [
        (Codec::Alaw, 8_000),
        (Codec::G722, 16_000),
        (Codec::Pcm16Be, 16_000),
        (Codec::Pcm16Le, 48_000),
        (Codec::Ulaw, 8_000),
    ] {
        let format = MediaFormat { codec, rate_hz };
        let (mut encoder, mut decoder) = (Encoder::new(codec), Decoder::new(codec));
        let mut concealing = ConcealingDecoder::new(format).unwrap();
        let (mut bytes, mut samples) = (Vec::with_capacity(4_000), Vec::with_capacity(4_000));
        takes_no_memory(&format!("{codec:?}"), rate_hz, |turn, frame| {
            bytes.clear();
            samples.clear();
            encoder.encode(frame, &mut bytes);
            decoder.decode(&bytes, &mut samples);
            if turn % 7 == 0 {
                concealing.conceal(frame.len(), &mut samples).unwrap();
            } else {
                concealing.decode(&bytes, &mut samples).unwrap();
            }
        });
    }
}

#[test]
fn resamplers() {
    let rates_hz = [8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000];
    for (from_hz, to_hz) in rates_hz.into_iter().flat_map(|from_hz| rates_hz.map(|to_hz| (from_hz, to_hz))) {
        let mut resampler = Resampler::new(from_hz, to_hz).unwrap();
        let mut output = Vec::with_capacity(8_000);
        takes_no_memory(&format!("{from_hz} -> {to_hz}"), from_hz, |_, frame| {
            output.clear();
            resampler.process(frame, &mut output);
        });
    }
}

#[test]
fn what_comes_from_the_network() {
    let mut buffer = JitterBuffer::new(JitterSettings::default()).unwrap();
    takes_no_memory("jitter buffer", 8_000, |turn, _| {
        let sequence = (turn ^ 3) as u16;
        if turn % 11 > 0 {
            let packet = [0x80, 0, (sequence >> 8) as u8, sequence as u8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3];
            let packet = rtp::RtpPacket::parse(&packet).unwrap();
            buffer.push(Duration::from_millis(20) * turn as u32, packet.sequence, packet.timestamp, packet.payload);
        }
        buffer.pop();
    });
    let mut concealer = Concealer::new(8_000).unwrap();
    takes_no_memory(
        "concealer",
        8_000,
        |turn, frame| {
            if turn % 10 < 3 { concealer.conceal(frame) } else { concealer.hear(frame) }
        },
    );
    let mut comfort = ComfortNoise::new(1);
    takes_no_memory("comfort noise", 8_000, |_, frame| {
        let mut description = [0; noise::DESCRIPTION_BYTES_MAX];
        let used = noise::describe(frame, 8, &mut description);
        comfort.update(&description[..used]).unwrap();
        comfort.fill(frame);
    });
}

#[test]
fn levels_and_mixes() {
    let mut mixer = Mixer::new(160);
    let mut auto_gain = AutoGain::new(8_000, AutoGainSettings::default()).unwrap();
    let mut blocker = DcBlocker::new(8_000).unwrap();
    takes_no_memory("mixer", 8_000, |_, frame| {
        mixer.clear();
        mixer.add(frame);
        mixer.add(&[5; 160]);
        mixer.all_but(&[5; 160], frame);
        mix::add(frame, &[7; 160]);
        gain::ramp(frame, 1.0, 0.5);
        auto_gain.process(frame);
        blocker.process(frame);
        level::rms_dbfs(frame);
        level::peak_dbfs(frame);
    });
}

#[test]
fn detectors() {
    let mut vad = EnergyVad::new(8_000, EnergyVadSettings::default()).unwrap();
    let (mut dtmf, mut beep) = (DtmfDetector::new(8_000), BeepDetector::new(8_000));
    takes_no_memory("detectors", 8_000, |_, frame| {
        vad.push(frame);
        dtmf.push(frame);
        beep.push(frame);
    });
}

#[test]
fn recording_and_playout() {
    let mut recorder = Recorder::new(8_000).unwrap();
    let mut framer = Framer::new(8_000).unwrap();
    let mut playout = Playout::new(8_000, false);
    playout.begin(1, "a few words");
    playout.push(1, &[1_000; 160 * 400]);
    let mut bytes = Vec::with_capacity(1_000);
    takes_no_memory("recorder and playout", 8_000, |_, frame| {
        bytes.clear();
        recorder.write_frame(frame, frame, &mut bytes).unwrap();
        let mut rest = &frame[..150];
        while framer.next_frame(&mut rest).is_some() {}
        playout.tick(frame);
        while playout.next_frame(frame).is_some() {}
        playout.poll_event();
    });
}

fn takes_no_memory(name: &str, rate_hz: u32, mut step: impl FnMut(usize, &mut [i16])) {
    let sound: Vec<i16> = (0..rate_hz / 50).map(|n| ((n * 977) % 9_000) as i16 - 4_500).collect();
    let mut frame = sound.clone();
    let mut run = |turns: std::ops::Range<usize>| {
        for turn in turns {
            frame.copy_from_slice(&sound);
            step(turn, &mut frame);
        }
    };
    run(0..FRAMES_TO_WARM);
    let allocated = measure(|| run(FRAMES_TO_WARM..FRAMES_TO_WARM + FRAMES));
    assert_eq!(allocated.count_total, 0, "{name}");
}
