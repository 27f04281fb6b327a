//! What every engine is driven with: a caller who speaks for two seconds in each eight, and an agent who answers with two
//! sentences of a second and a half each.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use offhook::Result;
use offhook::audio::{Resampler, codec, samples_per_frame};
use offhook::provider::telephony::Codec;
use offhook_audio_benches::voice;
use offhook_local::{
    Models, Voice,
    pico::{self, Pico},
};

/// The carrier's rate.
pub(crate) const RATE_HZ: u32 = 8_000;

/// The synthesiser's rate.
pub(crate) const TTS_RATE_HZ: u32 = 24_000;

/// The first sample that is louder begins the speech.
const LOUD: u16 = 300;

/// A frame and the time between two of them.
pub(crate) const FRAME: Duration = Duration::from_millis(20);

/// Frames until the caller says the same again.
pub(crate) const CYCLE_FRAMES: usize = 400;

/// Frames of a cycle in which the caller speaks, from its first on.
pub(crate) const SPEECH_FRAMES: usize = 100;

/// A sentence of the agent.
pub(crate) const SENTENCE: Duration = Duration::from_millis(1_500);

/// The answer, as the model streams it.
pub(crate) const TOKENS: [&str; 12] =
    ["Sure, ", "I ", "can ", "look ", "that ", "up. ", "Please ", "hold ", "for ", "one ", "short ", "moment."];

/// What the recogniser makes of the caller.
pub(crate) const HEARD: &str = "Could you tell me when my next appointment is, please?";

/// A carrier's media messages of a cycle, by Twilio's protocol, from behind the stream's name on.
pub(crate) fn messages() -> Result<Vec<String>> {
    let frame = samples_per_frame(RATE_HZ);
    let samples = cycle()?;
    let mut random = 7_u64;
    let messages = samples.chunks(frame).map(|frame| {
        let noisy: Vec<i16> = frame.iter().map(|sample| sample.saturating_add(noise(&mut random))).collect();
        let mut bytes = Vec::new();
        codec::encode(Codec::Ulaw, &noisy, &mut bytes);
        let payload = STANDARD.encode(bytes);
        let media = format!(r#"{{"track":"inbound","chunk":"1","timestamp":"0","payload":"{payload}"}}"#);
        format!(r#"","sequenceNumber":"2","media":{media}}}"#)
    });
    Ok(messages.collect())
}

/// A sentence of the agent as the synthesiser yields it, in pieces of 100 ms; a `long` one goes on until the caller speaks
/// again.
pub(crate) fn sentence(long: bool) -> Vec<Vec<i16>> {
    let times = if long { 3 } else { 1 };
    let samples = usize::try_from(SENTENCE.as_millis()).unwrap_or(0) * TTS_RATE_HZ as usize / 1_000;
    let voice = voice(TTS_RATE_HZ);
    let once = voice[..samples].chunks(TTS_RATE_HZ as usize / 10).map(<[i16]>::to_vec);
    std::iter::repeat_n(once, times).flatten().collect()
}

/// The caller's question from its first sound on, cut off when its time is up, and then nothing.
fn cycle() -> Result<Vec<i16>> {
    let (mut spoken, mut samples) = (Vec::new(), Vec::new());
    Pico::load(&Models::locate()?, Voice::EnUs)?.speak(HEARD, &mut |piece| {
        spoken.extend_from_slice(piece);
        true
    })?;
    let mut resampler = Resampler::new(pico::RATE_HZ, RATE_HZ)?;
    resampler.process(&spoken, &mut samples);
    resampler.flush(&mut samples);
    let first = samples.iter().position(|sample| sample.unsigned_abs() > LOUD).unwrap_or(0);
    samples.drain(..first);
    let frame = samples_per_frame(RATE_HZ);
    samples.resize(SPEECH_FRAMES * frame, 0);
    samples.resize(CYCLE_FRAMES * frame, 0);
    Ok(samples)
}

/// Comfort noise at about -66 dBFS.
fn noise(random: &mut u64) -> i16 {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*random >> 59) as i16 - 16
}
