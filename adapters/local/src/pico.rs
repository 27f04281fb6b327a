//! Speech synthesis by SVOX Pico, one engine for one thread.

mod engine;

use offhook::error::{Error, ErrorKind, Result};

use self::engine::{Engine, Reset, Step};
use crate::voice::Voice;
use crate::weights::Models;

/// The rate that Pico speaks at.
pub const RATE_HZ: u32 = 16_000;

/// Samples asked of Pico at once: 16 ms.
const STEP_SAMPLES: usize = 256;
/// Steps without a sample before the engine counts as stuck. A long sentence is analysed in some hundreds.
const IDLE_STEPS_MAX: usize = 100_000;
/// Longest audio of one text: a text that gives more has driven Pico into a loop.
const AUDIO_SECS_MAX: usize = 600;
const OPERATION: &str = "local.synthesize";

/// A loaded voice. It stays on the thread that made it.
#[derive(Debug)]
pub struct Pico {
    engine: Engine,
    buffer: [i16; STEP_SAMPLES],
}

impl Pico {
    /// Loads `voice` from `models`, in about a millisecond.
    pub fn load(models: &Models, voice: Voice) -> Result<Self> {
        let [analysis, generation] = voice.files().map(|file| models.pico(file));
        Ok(Self { engine: Engine::load([&analysis, &generation])?, buffer: [0; STEP_SAMPLES] })
    }

    /// Speaks `text` into `sink` piece by piece, mono at [`RATE_HZ`], until the end or until `sink` answers `false`.
    pub fn speak(&mut self, text: &str, sink: &mut dyn FnMut(&[i16]) -> bool) -> Result<()> {
        let spoken = self.run(&plain(text), sink);
        let mode = match spoken {
            Ok(Ended::Whole) => return Ok(()),
            Ok(Ended::Unwanted) => Reset::Soft,
            Err(_) => Reset::Full,
        };
        self.engine.reset(mode)?;
        spoken.map(|_| ())
    }

    fn run(&mut self, text: &str, sink: &mut dyn FnMut(&[i16]) -> bool) -> Result<Ended> {
        // The final zero byte asks for what is still held back.
        let bytes = [text.as_bytes(), b"\0"].concat();
        let mut rest = &bytes[..];
        let mut samples = 0;
        let mut idle_steps = 0;
        loop {
            if !rest.is_empty() {
                let taken = self.engine.put(rest)?;
                rest = rest.get(taken..).unwrap_or_default();
            }
            let (count, status) = self.engine.step(&mut self.buffer)?;
            if count > 0 && !sink(&self.buffer[..count]) {
                return Ok(Ended::Unwanted);
            }
            if status == Step::Idle && rest.is_empty() {
                return Ok(Ended::Whole);
            }
            samples += count;
            idle_steps = if count > 0 { 0 } else { idle_steps + 1 };
            if samples > AUDIO_SECS_MAX * RATE_HZ as usize || idle_steps > IDLE_STEPS_MAX {
                return Err(Error::new(ErrorKind::Unexpected, OPERATION, "Pico does not come to an end"));
            }
        }
    }
}

enum Ended {
    Unwanted,
    Whole,
}

/// Text without what Pico takes for its own markup or for the end, and with long numbers spread to be read by digits.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits > NUMBER_DIGITS_MAX {
            for digit in rest[..digits].chars() {
                plain.push(digit);
                plain.push(' ');
            }
        } else {
            let is_odd = c.is_control() || matches!(c, '<' | '>' | '\\');
            plain.push_str(if is_odd || digits > 0 { &rest[..digits] } else { &rest[..c.len_utf8()] });
            if is_odd {
                plain.push(' ');
            }
        }
        rest = &rest[digits.max(c.len_utf8())..];
    }
    plain
}

/// Longer runs of digits are telephone numbers and codes, not amounts.
const NUMBER_DIGITS_MAX: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_made_plain() {
        assert_eq!(plain("a <b> \u{7}c"), "a  b   c");
        assert_eq!(plain("in 2026, call 0812345 now"), "in 2026, call 0 8 1 2 3 4 5  now");
        assert_eq!(plain("caf\u{e9} 12\0"), "caf\u{e9} 12 ");
    }

    #[test]
    fn every_voice_speaks() {
        let models = Models::locate().unwrap();
        for voice in Voice::ALL {
            let mut pico = Pico::load(&models, voice).unwrap();
            let samples = speak(&mut pico, "1 2 3.");
            let seconds = samples.len() as f64 / f64::from(RATE_HZ);
            assert!((0.8..4.0).contains(&seconds), "{}: {seconds} s", voice.as_str());
            assert!(samples.iter().any(|sample| sample.unsigned_abs() > 3_000), "{} is silent", voice.as_str());
        }
    }

    #[test]
    fn an_engine_speaks_again_after_a_break() {
        let models = Models::locate().unwrap();
        let mut pico = Pico::load(&models, Voice::EnUs).unwrap();
        let whole = speak(&mut pico, "We are open from nine to five.");
        let mut pieces = 0;
        pico.speak("A long sentence that nobody hears to its very end.", &mut |_| {
            pieces += 1;
            pieces < 3
        })
        .unwrap();
        assert_eq!(pieces, 3);
        assert_eq!(speak(&mut pico, "We are open from nine to five.").len(), whole.len());
    }

    #[test]
    fn what_lay_in_memory_before_is_not_heard() {
        let models = Models::locate().unwrap();
        let mut lengths = std::collections::BTreeSet::new();
        for _ in 0..8 {
            // Freed memory full of other things is what the next engine is likely to be given.
            let litter: Vec<Vec<u64>> = (1..16).map(|i| vec![u64::MAX / i; 300_000]).collect();
            drop(std::hint::black_box(litter));
            let mut pico = Pico::load(&models, Voice::EnUs).unwrap();
            lengths.insert(speak(&mut pico, "We are open from nine to five.").len());
        }
        assert_eq!(lengths.len(), 1, "{lengths:?}");
    }

    #[test]
    fn a_missing_file_is_named_as_such() {
        let folder = std::path::Path::new("nowhere");
        let error = Engine::load([&folder.join("a.bin"), &folder.join("b.bin")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn nothing_to_say_is_silence() {
        let models = Models::locate().unwrap();
        let mut pico = Pico::load(&models, Voice::EnGb).unwrap();
        for text in ["", " ", "\0", "<>"] {
            assert!(speak(&mut pico, text).iter().all(|sample| sample.unsigned_abs() < 500), "{text:?}");
        }
        assert!(!speak(&mut pico, "Yes.").is_empty());
    }

    fn speak(pico: &mut Pico, text: &str) -> Vec<i16> {
        let mut samples = Vec::new();
        pico.speak(text, &mut |piece| {
            samples.extend_from_slice(piece);
            true
        })
        .unwrap();
        samples
    }
}
