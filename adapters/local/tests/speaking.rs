//! Pico behind `TextToSpeech`.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail tests")]

use futures_lite::future::block_on;
use futures_util::stream::{self, StreamExt as _};
use offhook::error::ErrorKind;
use offhook::provider::tts::{TextToSpeech as _, TtsEvent, TtsInput, TtsOptions};
use offhook_local::tts::LocalTextToSpeech;
use offhook_local::weights::Models;

#[test]
fn text_in_pieces_sounds_like_text_in_one() {
    let whole = speak(&["We are open from nine to five. See you soon."], options());
    let pieces = speak(&["We are op", "en from nine to", " five. See ", "you soon."], options());
    assert!(whole.samples.len() > 2 * 16_000);
    // Pico's breath is random, its timing hardly.
    assert!(
        whole.samples.len().abs_diff(pieces.samples.len()) < 1_600,
        "{} {}",
        whole.samples.len(),
        pieces.samples.len()
    );
    assert_eq!((whole.characters, pieces.characters), (44, 44));
}

#[test]
fn half_the_rate_has_half_the_samples() {
    let wide = speak(&["Good morning."], options());
    let narrow = speak(&["Good morning."], TtsOptions::new("en-US", 8_000));
    assert!(wide.samples.len().abs_diff(narrow.samples.len() * 2) < 1_600);
    assert!(narrow.samples.iter().any(|sample| sample.unsigned_abs() > 3_000));
}

#[test]
fn a_flush_speaks_without_an_end() {
    block_on(async {
        let tts = LocalTextToSpeech::new(&Models::locate().unwrap()).unwrap();
        let input = stream::iter([TtsInput::Text("Just a moment".into()), TtsInput::Flush]).chain(stream::pending());
        let mut events = tts.synthesize(options(), input.boxed()).await.unwrap();
        loop {
            if let TtsEvent::Characters(count) = events.next().await.unwrap().unwrap() {
                assert_eq!(count, 13);
                return;
            }
        }
    });
}

#[test]
fn the_first_sentence_does_not_wait_for_the_second() {
    block_on(async {
        let tts = LocalTextToSpeech::new(&Models::locate().unwrap()).unwrap();
        let input = stream::iter([TtsInput::Text("Good morning. How".into())]).chain(stream::pending());
        let mut events = tts.synthesize(options(), input.boxed()).await.unwrap();
        assert!(matches!(events.next().await, Some(Ok(TtsEvent::Audio(_)))));
    });
}

#[test]
fn a_dropped_call_frees_its_thread() {
    block_on(async {
        let tts = LocalTextToSpeech::new(&Models::locate().unwrap()).unwrap();
        for _ in 0..8 {
            let long = TtsInput::Text("This sentence goes on and on and on. ".repeat(40));
            let mut events = tts.synthesize(options(), stream::iter([long]).boxed()).await.unwrap();
            assert!(matches!(events.next().await, Some(Ok(TtsEvent::Audio(_)))));
        }
        let last = tts.synthesize(options(), stream::iter([TtsInput::Text("Done.".into())]).boxed()).await.unwrap();
        assert!(last.all(|event| async move { event.is_ok() }).await);
    });
}

#[test]
fn nothing_to_say_is_no_error() {
    assert_eq!(speak(&[], options()).samples.len(), 0);
    assert_eq!(speak(&["", " "], options()).characters, 1);
}

#[test]
fn languages_and_voices_differ() {
    let mut named = options();
    named.voice = Some("en-GB".into());
    let british = speak(&["Good morning."], named);
    assert!(british.samples != speak(&["Good morning."], options()).samples);
    assert!(!speak(&["Guten Morgen."], TtsOptions::new("de", 16_000)).samples.is_empty());
}

#[test]
fn what_it_cannot_do_is_refused() {
    let tts = LocalTextToSpeech::new(&Models::locate().unwrap()).unwrap();
    let mut unknown = options();
    unknown.voice = Some("nobody".into());
    let cases = [
        (TtsOptions::new("id-ID", 16_000), ErrorKind::Unsupported),
        (TtsOptions::new("en", 44_100), ErrorKind::Unsupported),
        (unknown, ErrorKind::NotFound),
    ];
    for (options, kind) in cases {
        let result = block_on(tts.synthesize(options, stream::empty().boxed()));
        assert_eq!(result.err().map(|error| error.kind()), Some(kind));
    }
}

struct Spoken {
    samples: Vec<i16>,
    characters: u64,
}

fn speak(texts: &[&str], options: TtsOptions) -> Spoken {
    let tts = LocalTextToSpeech::new(&Models::locate().unwrap()).unwrap();
    let input: Vec<_> = texts.iter().map(|text| TtsInput::Text((*text).to_owned())).collect();
    let mut spoken = Spoken { samples: Vec::new(), characters: 0 };
    let events: Vec<_> =
        block_on(async { tts.synthesize(options, stream::iter(input).boxed()).await.unwrap().collect().await });
    for event in events {
        match event.unwrap() {
            TtsEvent::Audio(samples) => spoken.samples.extend(samples),
            TtsEvent::Characters(count) => spoken.characters += count,
            other => panic!("{other:?}"),
        }
    }
    spoken
}

fn options() -> TtsOptions {
    TtsOptions::new("en-US", 16_000)
}
