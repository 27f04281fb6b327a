//! One caller's line as the recogniser hears it: samples in, starts, ends and pieces of speech out.

use std::collections::VecDeque;
use std::time::Duration;

use offhook::audio::Resampler;
use offhook::audio::silero::{Silero, SileroStream, SileroWindow, SileroWorkspace, WINDOW_MS};
use offhook::error::Result;

use crate::moonshine;
use crate::segment::{Edge, Segmenter};

/// Sound kept from before the detector noticed speech: without it first consonants are lost, and Moonshine likes a lead.
const LEAD_MS: u64 = 320;
/// Sound kept after the last speech, as far as it was heard.
const TAIL_MS: u64 = 160;

/// What was heard. Times count from the first sample.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// Speech stopped at `at`.
    End {
        /// The end of the last speech.
        at: Duration,
    },
    /// A piece of speech to transcribe. It comes after the `End` that closed it.
    Speech(Speech),
    /// Speech began at `at`.
    Start {
        /// The beginning of it.
        at: Duration,
    },
}

/// A piece of speech.
#[derive(Clone, Debug, PartialEq)]
pub struct Speech {
    /// Mono samples at [`moonshine::RATE_HZ`], -1 to 1, with some sound before and after the speech.
    pub samples: Vec<f32>,
    /// Where the speech begins.
    pub start: Duration,
    /// Where it ends.
    pub end: Duration,
}

/// Hears one line at 8 or 16 kHz. Holds at most the longest piece of speech and its lead.
#[derive(Debug)]
pub struct Ear {
    silero: Silero,
    stream: SileroStream,
    workspace: SileroWorkspace,
    segmenter: Segmenter,
    rate_hz: u32,
    /// Samples not yet forgotten; the first one's position is `forgotten`.
    sound: VecDeque<i16>,
    forgotten: u64,
    /// Position of the first sample not yet given to the detector.
    detected: u64,
    /// Position of the last cut: what lies before it was transcribed and may not lead the next piece.
    cut: u64,
    window: Vec<i16>,
}

impl Ear {
    /// An ear for audio at `rate_hz`: 8000 or 16000, else `Unsupported`.
    pub fn new(silero: &Silero, rate_hz: u32) -> Result<Self> {
        let stream = silero.stream(rate_hz)?;
        Ok(Self {
            window: vec![0; stream.window()],
            silero: silero.clone(),
            stream,
            workspace: silero.workspace(1),
            segmenter: Segmenter::default(),
            rate_hz,
            sound: VecDeque::new(),
            forgotten: 0,
            detected: 0,
            cut: 0,
        })
    }

    /// Takes the next samples and appends to `heard` what they brought.
    pub fn listen(&mut self, samples: &[i16], heard: &mut Vec<Heard>) -> Result<()> {
        let window = self.window.len();
        // By pieces, so that a huge input is not held at once.
        for piece in samples.chunks(window) {
            self.sound.extend(piece);
            while self.heard_samples() - self.detected >= window as u64 {
                self.detect(heard)?;
            }
        }
        Ok(())
    }

    /// Ends what is being said now, if anything is.
    pub fn close(&mut self, heard: &mut Vec<Heard>) -> Result<()> {
        match self.segmenter.close() {
            Some(edge) => self.report(edge, heard),
            None => Ok(()),
        }
    }

    /// How much was heard so far.
    pub fn time(&self) -> Duration {
        Duration::from_micros(self.heard_samples() * 1_000_000 / u64::from(self.rate_hz))
    }

    /// How long so many samples last.
    pub fn duration(&self, samples: usize) -> Duration {
        Duration::from_micros(samples as u64 * 1_000_000 / u64::from(self.rate_hz))
    }

    fn detect(&mut self, heard: &mut Vec<Heard>) -> Result<()> {
        let from = (self.detected - self.forgotten) as usize;
        for (slot, &sample) in self.window.iter_mut().zip(self.sound.range(from..)) {
            *slot = sample;
        }
        let mut windows = [SileroWindow { stream: &mut self.stream, samples: &self.window, probability: 0.0 }];
        self.silero.judge(&mut self.workspace, &mut windows)?;
        let [SileroWindow { probability, .. }] = windows;
        self.detected += self.window.len() as u64;
        if let Some(edge) = self.segmenter.push(probability) {
            self.report(edge, heard)?;
        }
        self.forget();
        Ok(())
    }

    fn report(&mut self, edge: Edge, heard: &mut Vec<Heard>) -> Result<()> {
        match edge {
            Edge::Cut { start, end } => {
                heard.push(Heard::Speech(self.speech(start, end, 0)?));
                self.cut = end * self.window.len() as u64;
            }
            Edge::End { start, end } => {
                heard.push(Heard::End { at: self.start_of(end) });
                // Nothing but silence may follow a cut.
                if end > start {
                    heard.push(Heard::Speech(self.speech(start, end, self.samples(TAIL_MS))?));
                }
            }
            Edge::Start { start } => heard.push(Heard::Start { at: self.start_of(start) }),
        }
        Ok(())
    }

    fn speech(&self, start: u64, end: u64, tail: u64) -> Result<Speech> {
        let window = self.window.len() as u64;
        let lead = self.samples(LEAD_MS);
        let from = (start * window).saturating_sub(lead).max(self.cut).max(self.forgotten);
        let to = (end * window + tail).min(self.heard_samples());
        let range = (from - self.forgotten) as usize..(to - self.forgotten) as usize;
        let sound: Vec<i16> = self.sound.range(range).copied().collect();
        Ok(Speech {
            samples: to_moonshine(&sound, self.rate_hz)?,
            start: self.start_of(start),
            end: self.start_of(end),
        })
    }

    /// Drops the sound that no later piece can need.
    fn forget(&mut self) {
        let needed = self.segmenter.start().map_or(self.detected, |start| start * self.window.len() as u64);
        let keep_from = needed.saturating_sub(self.samples(LEAD_MS));
        if keep_from > self.forgotten {
            self.sound.drain(..(keep_from - self.forgotten) as usize);
            self.forgotten = keep_from;
        }
    }

    fn heard_samples(&self) -> u64 {
        self.forgotten + self.sound.len() as u64
    }

    fn samples(&self, millis: u64) -> u64 {
        millis * u64::from(self.rate_hz) / 1_000
    }

    fn start_of(&self, window: u64) -> Duration {
        Duration::from_millis(window * u64::from(WINDOW_MS))
    }
}

/// Brings a whole piece to Moonshine's rate and scale.
fn to_moonshine(sound: &[i16], rate_hz: u32) -> Result<Vec<f32>> {
    let mut resampler = Resampler::new(rate_hz, moonshine::RATE_HZ)?.aligned();
    let mut samples = Vec::with_capacity(sound.len() * moonshine::RATE_HZ as usize / rate_hz as usize);
    resampler.process(sound, &mut samples);
    resampler.flush(&mut samples);
    Ok(samples.into_iter().map(unit).collect())
}

fn unit(sample: i16) -> f32 {
    f32::from(sample) / 32_768.0
}
