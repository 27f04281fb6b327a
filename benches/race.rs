//! What the race against other programs needs of ours.
//!
//! `race voice RATE` writes four seconds of voice to standard output, `race resample FROM TO` changes the rate of what
//! comes from standard input as a call would, frame by frame: 16-bit samples, little-endian.

#![allow(clippy::expect_used, clippy::print_stderr, reason = "a program for developers")]

use std::io::{Read, Write};
use std::process::ExitCode;

use offhook::audio::codec::{self, Decoder};
use offhook::audio::{Resampler, samples_per_frame};
use offhook::provider::telephony::Codec;
use offhook_audio_benches::voice;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let rate = |text: &str| text.parse::<u32>().expect("a rate in Hz");
    let samples = match arguments.as_slice() {
        ["resample", from, to] => resampled(rate(from), rate(to)),
        ["voice", rate_hz] => voice(rate(rate_hz)),
        _ => {
            eprintln!("usage: race voice RATE | race resample FROM TO");
            return ExitCode::FAILURE;
        }
    };
    let mut bytes = Vec::new();
    codec::encode(Codec::Pcm16Le, &samples, &mut bytes);
    std::io::stdout().write_all(&bytes).expect("standard output");
    ExitCode::SUCCESS
}

fn resampled(from_hz: u32, to_hz: u32) -> Vec<i16> {
    let (mut bytes, mut input, mut output) = (Vec::new(), Vec::new(), Vec::new());
    std::io::stdin().read_to_end(&mut bytes).expect("standard input");
    Decoder::new(Codec::Pcm16Le).decode(&bytes, &mut input);
    let mut resampler = Resampler::new(from_hz, to_hz).expect("rates of audio");
    for frame in input.chunks(samples_per_frame(from_hz)) {
        resampler.process(frame, &mut output);
    }
    output
}
