//! Pico speaks, Silero and Moonshine hear: the whole way, on the telephone's band.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail tests")]

use std::sync::LazyLock;
use std::time::Duration;

use futures_lite::future::block_on;
use futures_util::stream::{self, StreamExt as _};
use offhook::audio::{Resampler, g711};
use offhook::error::ErrorKind;
use offhook::provider::stt::{SpeechToText as _, SttEvent, SttInput, SttOptions};
use offhook_local::pico::{self, Pico};
use offhook_local::stt::{LocalSpeechToText, SttConfig};
use offhook_local::voice::Voice;
use offhook_local::weights::Models;
use offhook_local::wer::WordErrors;

const RATE_HZ: u32 = 8_000;
const FRAME: usize = 160;

#[test]
fn what_is_said_is_understood() {
    let said = "Hello, what are your opening hours on Saturday?";
    let line = Line::new().silence(500).say(said).silence(1_000);
    let events = line.run();
    let [start, end, text] = &events[..] else { panic!("{events:?}") };
    let SttEvent::StartOfSpeech { at: started } = start else { panic!("{start:?}") };
    let SttEvent::EndOfSpeech { at: ended } = end else { panic!("{end:?}") };
    let SttEvent::Final { text, start, end, .. } = text else { panic!("{text:?}") };
    assert!((450..700).contains(&started.as_millis()), "{started:?}");
    assert!(*ended > *started + Duration::from_millis(1_500), "{ended:?}");
    assert_eq!((start, end), (started, ended));
    assert!(WordErrors::between(said, text).rate() < 0.2, "{text}");
}

#[test]
fn both_rates_are_understood() {
    let models = Models::locate().unwrap();
    let said = "I would like to book an appointment.";
    let mut samples = Vec::new();
    let mut voice = Pico::load(&models, Voice::EnGb).unwrap();
    voice.speak(said, &mut |piece| push(&mut samples, piece)).unwrap();
    samples.extend([0; 8_000]);
    // As one piece, longer than anything that a carrier sends.
    let input = stream::iter([SttInput::Audio(samples)]).boxed();
    let events = collect(SttOptions::new("en-GB", pico::RATE_HZ), input);
    assert!(WordErrors::between(said, &transcript(&events)).rate() < 0.2, "{events:?}");
}

#[test]
fn pauses_make_pieces_in_order() {
    let events = Line::new().say("One moment please.").silence(900).say("My name is Peter.").silence(900).run();
    let kinds: Vec<_> = events.iter().map(kind).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "start").count(), 2, "{events:?}");
    assert_eq!(kinds.iter().filter(|kind| **kind == "final").count(), 2, "{events:?}");
    let said = "one moment please my name is peter";
    assert!(WordErrors::between(said, &transcript(&events)).rate() < 0.2, "{events:?}");
}

#[test]
fn finalize_settles_what_was_said_before_it() {
    let line = Line::new().say("The appointment is tomorrow.").finalize().silence(1_000);
    let events = line.run();
    assert_eq!(events.iter().map(kind).collect::<Vec<_>>(), ["start", "end", "final"], "{events:?}");
    assert!(transcript(&events).to_lowercase().contains("tomorrow"), "{events:?}");
}

#[test]
fn finalize_in_silence_is_answered_by_an_empty_text() {
    let events = Line::new().silence(500).finalize().silence(100).run();
    let at = Duration::from_millis(500);
    assert_eq!(events, [SttEvent::Final { language: None, text: String::new(), start: at, end: at }]);
}

#[test]
fn finalize_answers_once_for_all_pieces() {
    let line = Line::new().say("One moment please.").silence(400).say("My name is Peter.").finalize();
    let events = line.run();
    let finals: Vec<_> = events.iter().filter(|event| kind(event) == "final").collect();
    assert!(finals.len() <= 2, "{events:?}");
    assert_eq!(kind(&events[events.len() - 1]), "final");
    assert!(transcript(&events).to_lowercase().contains("peter"), "{events:?}");
}

#[test]
fn silence_and_noise_of_the_line_say_nothing() {
    let mut noise = 12_345_u32;
    let hiss = (0..RATE_HZ).map(|_| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (noise >> 26) as i16 - 32
    });
    let mut line = Line::new().silence(2_000);
    line.samples.extend(hiss);
    assert_eq!(line.run(), []);
}

#[test]
fn what_the_end_cuts_off_is_still_transcribed() {
    let events = Line::new().say("Please call me back.").run();
    assert_eq!(kind(&events[events.len() - 1]), "final");
    assert!(transcript(&events).to_lowercase().contains("call me back"), "{events:?}");
}

#[test]
fn calls_are_heard_side_by_side() {
    let said = ["What are your prices?", "Where is the clinic?", "Thank you very much.", "I have a question."];
    let heard: Vec<String> = std::thread::scope(|scope| {
        let calls: Vec<_> = said
            .iter()
            .map(|said| {
                let input = Line::new().silence(300).say(said).silence(600).input();
                scope.spawn(move || transcript(&collect(options(), stream::iter(input).boxed())))
            })
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    });
    for (said, heard) in said.iter().zip(heard) {
        assert!(WordErrors::between(said, &heard).rate() <= 0.34, "{said} / {heard}");
    }
}

#[test]
fn a_dropped_call_does_not_disturb_the_next() {
    block_on(async {
        let input = stream::iter(Line::new().say("This is never heard to its end.").input());
        let mut events = STT.transcribe(options(), input.chain(stream::pending()).boxed()).await.unwrap();
        assert!(matches!(events.next().await, Some(Ok(SttEvent::StartOfSpeech { .. }))));
    });
    let input = stream::iter(Line::new().say("Where is the clinic?").silence(500).input()).boxed();
    assert!(transcript(&collect(options(), input)).to_lowercase().contains("clinic"));
}

#[test]
fn what_it_cannot_do_is_refused() {
    for options in [SttOptions::new("de-DE", RATE_HZ), SttOptions::new("en", 44_100)] {
        let result = block_on(STT.transcribe(options, stream::empty().boxed()));
        assert_eq!(result.err().map(|error| error.kind()), Some(ErrorKind::Unsupported));
    }
    let mut config = SttConfig::default();
    config.threads = 0;
    let error = LocalSpeechToText::new(&Models::locate().unwrap(), config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
}

/// One for all tests, as one serves all calls.
static STT: LazyLock<LocalSpeechToText> =
    LazyLock::new(|| LocalSpeechToText::new(&Models::locate().unwrap(), SttConfig::default()).unwrap());

/// A caller's line, through mu-law as on a telephone.
struct Line {
    samples: Vec<i16>,
    /// Where finalizes stand.
    finalize_at: Vec<usize>,
}

impl Line {
    fn new() -> Self {
        Self { samples: Vec::new(), finalize_at: Vec::new() }
    }

    fn say(mut self, text: &str) -> Self {
        let mut voice = Pico::load(&Models::locate().unwrap(), Voice::EnGb).unwrap();
        let mut wide = Vec::new();
        voice.speak(text, &mut |piece| push(&mut wide, piece)).unwrap();
        let mut resampler = Resampler::new(pico::RATE_HZ, RATE_HZ).unwrap().aligned();
        let mut narrow = Vec::new();
        resampler.process(&wide, &mut narrow);
        resampler.flush(&mut narrow);
        self.samples.extend(narrow.into_iter().map(|sample| g711::linear_from_ulaw(g711::ulaw_from_linear(sample))));
        self
    }

    fn silence(mut self, millis: usize) -> Self {
        self.samples.resize(self.samples.len() + millis * RATE_HZ as usize / 1_000, 0);
        self
    }

    fn finalize(mut self) -> Self {
        self.finalize_at.push(self.samples.len());
        self
    }

    fn input(self) -> Vec<SttInput> {
        let mut input = Vec::new();
        let mut at = 0;
        for stop in self.finalize_at.iter().copied().chain([self.samples.len()]) {
            input.extend(self.samples[at..stop].chunks(FRAME).map(|frame| SttInput::Audio(frame.to_vec())));
            if self.finalize_at.contains(&stop) {
                input.push(SttInput::Finalize);
            }
            at = stop;
        }
        input
    }

    fn run(self) -> Vec<SttEvent> {
        collect(options(), stream::iter(self.input()).boxed())
    }
}

fn options() -> SttOptions {
    SttOptions::new("en-US", RATE_HZ)
}

fn push(samples: &mut Vec<i16>, piece: &[i16]) -> bool {
    samples.extend_from_slice(piece);
    true
}

/// All events but usage, whose sum must be what was sent.
fn collect(options: SttOptions, input: stream::BoxStream<'static, SttInput>) -> Vec<SttEvent> {
    let events: Vec<_> = block_on(async { STT.transcribe(options, input).await.unwrap().collect().await });
    let events = events.into_iter().map(Result::unwrap);
    events.filter(|event| !matches!(event, SttEvent::Usage { .. })).collect()
}

fn transcript(events: &[SttEvent]) -> String {
    let texts = events.iter().filter_map(|event| match event {
        SttEvent::Final { text, .. } => Some(text.as_str()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join(" ")
}

fn kind(event: &SttEvent) -> &'static str {
    match event {
        SttEvent::EndOfSpeech { .. } => "end",
        SttEvent::Final { .. } => "final",
        SttEvent::StartOfSpeech { .. } => "start",
        _ => "other",
    }
}
