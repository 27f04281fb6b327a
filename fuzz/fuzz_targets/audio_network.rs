//! Packets of anything, in any order and at any time, give turns in order, and each turn's sound has its length.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use offhook::audio::codec::Decode;
use offhook::audio::jitter::{JitterSettings, Next};
use offhook::audio::rtp::RtpPacket;
use offhook::audio::{ComfortNoise, ConcealingDecoder, JitterBuffer};
use offhook::provider::telephony::{Codec, MediaFormat};

const CODECS: [Codec; 5] = [Codec::Alaw, Codec::G722, Codec::Pcm16Be, Codec::Pcm16Le, Codec::Ulaw];

fuzz_target!(|data: &[u8]| {
    let [choice, data @ ..] = data else { return };
    let codec = CODECS[usize::from(*choice) % CODECS.len()];
    let mut buffer = JitterBuffer::new(JitterSettings::default()).expect("default settings");
    let mut decoder = ConcealingDecoder::new(MediaFormat { codec, rate_hz: 8_000 }).expect("a rate of telephony");
    let (mut noise, mut at, mut rest) = (ComfortNoise::new(1), Duration::ZERO, data);
    while let [length, wait, after @ ..] = rest {
        let (packet, after) = after.split_at(usize::from(*length).min(after.len()));
        rest = after;
        at += Duration::from_millis(u64::from(*wait));
        if let Ok(packet) = RtpPacket::parse(packet) {
            buffer.push(at, packet.sequence, packet.timestamp, packet.payload);
        }
        for _ in 0..wait / 20 {
            let mut samples = Vec::new();
            match buffer.pop() {
                Next::Lost => {
                    decoder.conceal(160, &mut samples).expect("concealed");
                    assert_eq!(samples.len(), 160);
                }
                Next::Nothing => {
                    samples.resize(160, 0);
                    noise.fill(&mut samples);
                }
                Next::Packet(payload) => {
                    decoder.decode(payload, &mut samples).expect("built-in codecs take anything");
                    let _ = noise.update(payload);
                }
            }
        }
    }
});
