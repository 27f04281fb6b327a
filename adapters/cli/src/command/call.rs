//! `offhook call`: the user's own recordings or words as the caller, and what was understood of them.

mod references;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use offhook::call::policy::Endpointing;
use offhook::call::{Speaker, TranscriptEntry};
use offhook::provider::{Llm, TextToSpeech};
use offhook::time::Timestamp;
use offhook_local::wer::WordErrors;

use self::references::References;
use crate::args::CallArgs;
use crate::brain::{self, Listener, Staying};
use crate::caller::Item;
use crate::caller::script::{Cue, Habits};
use crate::failure::{Failure, Outcome};
use crate::report::{Recognition, RecognizedItem};
use crate::scene::{Play, Played, Scene, show};
use crate::sound::{self, RATE_HZ};
use crate::speech::Speech;
use crate::stage::Wires;

/// The voice for words.
const VOICE: &str = "en-GB";

/// Set-up, greeting and farewell.
const FRAME: Duration = Duration::from_secs(60);

/// What an item may take beyond its own length: the answer, and the pauses around it.
const ANSWER: Duration = Duration::from_secs(30);

/// An utterance of the caller may be placed so much before the item that it belongs to: two clocks are compared.
const CLOCKS_APART: Duration = Duration::from_millis(300);

const HABITS: Habits =
    Habits { linger: Duration::from_secs(2), pause: Duration::from_millis(1_000), patience: Duration::from_secs(6) };

/// Recordings pause where people in a conversation would not: the agent waits longer before it answers.
const ENDPOINTING: (Duration, Duration) = (Duration::from_millis(900), Duration::from_millis(1_500));

/// Names that end so are of sound files, also when there is no such file.
const EXTENSIONS: [&str; 12] = ["aac", "aif", "aiff", "caf", "flac", "m4a", "mp3", "mp4", "oga", "ogg", "opus", "wav"];

/// Runs the command.
pub async fn run(args: CallArgs) -> Outcome<()> {
    let sources = sources(&args.items)?;
    let references = References::read(&args, &sources).await?;
    let mut recordings = Vec::new();
    for source in &sources {
        recordings.push(match source {
            Source::File(path) => Some(sound::read(Path::new(path)).await?),
            Source::Words(_) => None,
        });
    }
    let options = &args.options;
    let speech = Speech::load().await?;
    let wires = Wires::new()?;
    let llm: Arc<dyn Llm> =
        if args.brief { Arc::new(Listener) } else { brain::chosen(&options.model, wires.http.clone()).await? };
    let items = items(&sources, recordings, &*speech.tts).await?;
    let limit = limit(&items);
    let begun = Arc::default();
    let llm = Arc::new(Staying::new(llm, Arc::clone(&begun), items.len()));
    let mut scene = Scene::set(options, "call", wires, llm, speech, limit * 2).await?;
    scene.agent.policy.endpointing =
        Endpointing { delay_min: ENDPOINTING.0, delay_max: ENDPOINTING.1, ..Endpointing::default() };
    (scene.agent.policy.duration_max, scene.agent.policy.reserve) = (limit, limit);
    let Played { interrupted, record, mut report, view } =
        scene.play(Play { begun, habits: HABITS, items, limit }).await?;
    let heard = heard_by_item(&view.said_at, record.started_at, &record.transcript);
    report.recognition = Some(recognition(&args.items, &references, heard));
    show(options, &report);
    if interrupted { Err(Failure::Interrupted) } else { Ok(()) }
}

/// What an argument is.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Source {
    /// The name of a file.
    File(String),
    /// Something to say.
    Words(String),
}

fn sources(items: &[String]) -> Outcome<Vec<Source>> {
    let source = |item: &String| {
        let path = Path::new(item);
        if path.is_file() {
            return Ok(Source::File(item.clone()));
        }
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if path.is_dir() || EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension)) {
            return Err(Failure::new(format_args!("cannot play {item}: there is no such file")));
        }
        if !item.chars().any(char::is_alphanumeric) {
            return Err(Failure::usage(format_args!("there is nothing to say in {item:?}")));
        }
        Ok(Source::Words(item.clone()))
    };
    items.iter().map(source).collect()
}

async fn items(sources: &[Source], recordings: Vec<Option<Vec<i16>>>, tts: &dyn TextToSpeech) -> Outcome<Vec<Item>> {
    let mut items = Vec::new();
    for (source, recording) in sources.iter().zip(recordings) {
        let samples = match (source, recording) {
            (_, Some(samples)) => samples,
            (Source::File(text) | Source::Words(text), None) => sound::spoken(tts, VOICE, text).await?,
        };
        items.push(Item { cue: Cue::Answered, samples });
    }
    Ok(items)
}

fn limit(items: &[Item]) -> Duration {
    let samples: usize = items.iter().map(|item| item.samples.len()).sum();
    let length = Duration::from_secs_f64(samples as f64 / f64::from(RATE_HZ));
    FRAME + length + ANSWER * u32::try_from(items.len()).unwrap_or(u32::MAX)
}

/// What was understood of each item; `None` for one that was not played.
fn heard_by_item(
    said_at: &[Option<Timestamp>],
    call_started_at: Timestamp,
    transcript: &[TranscriptEntry],
) -> Vec<Option<String>> {
    let mut heard: Vec<Option<String>> = said_at.iter().map(|said_at| said_at.map(|_| String::new())).collect();
    for entry in transcript.iter().filter(|entry| entry.speaker == Speaker::Caller) {
        let at = call_started_at + Duration::from_millis(entry.at_ms) + CLOCKS_APART;
        let item = said_at.iter().rposition(|said_at| said_at.is_some_and(|said_at| said_at <= at));
        let Some(Some(text)) = item.and_then(|item| heard.get_mut(item)) else { continue };
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&entry.text);
    }
    heard
}

fn recognition(names: &[String], references: &References, heard: Vec<Option<String>>) -> Recognition {
    let mut total = WordErrors::default();
    let mut recognition = Vec::new();
    for (index, (name, heard)) in names.iter().zip(heard).enumerate() {
        let reference = references.of(index).map(str::to_owned);
        let errors = reference.as_deref().zip(heard.as_deref());
        let errors = errors.map(|(reference, heard)| WordErrors::between(reference, heard));
        if let Some(errors) = errors {
            total += errors;
        }
        let wer = errors.map(|errors| errors.rate());
        recognition.push(RecognizedItem { item: name.clone(), reference, heard, wer });
    }
    Recognition { recognition, wer: (total.words > 0).then(|| total.rate()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(speaker: Speaker, at_ms: u64, text: &str) -> TranscriptEntry {
        TranscriptEntry { at_ms, cut: false, speaker, text: text.to_owned() }
    }

    #[test]
    fn utterances_go_to_the_item_that_was_playing() {
        let at = |millis: i64| Some(Timestamp::from_unix_micros(millis * 1_000));
        let transcript = [
            said(Speaker::Agent, 0, "Hello."),
            said(Speaker::Caller, 4_900, "and so my fellow"),
            said(Speaker::Agent, 6_000, "I see."),
            said(Speaker::Caller, 7_000, "Americans"),
            said(Speaker::Caller, 14_990, "Goodbye."),
        ];
        let heard =
            heard_by_item(&[at(105_000), at(115_000), None], Timestamp::from_unix_micros(100_000_000), &transcript);
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(heard, [text("and so my fellow Americans"), text("Goodbye."), None]);
    }

    #[test]
    fn a_missing_file_is_not_spoken() {
        assert!(sources(&["nowhere/x.wav".to_owned()]).unwrap_err().to_string().contains("nowhere/x.wav"));
        assert_eq!(sources(&["...".to_owned()]).unwrap_err().exit_code(), 2);
        let words = "What is 2.5 times two?".to_owned();
        assert_eq!(sources(std::slice::from_ref(&words)).unwrap(), [Source::Words(words)]);
    }

    #[test]
    fn errors_are_summed_over_what_has_a_reference() {
        let references = References::from([Some("one two three four"), None, Some("five")]);
        let names = ["a", "b", "c"].map(str::to_owned);
        let heard = ["one two three", "what", "six"].map(|text| Some(text.to_owned())).to_vec();
        let Recognition { recognition, wer } = recognition(&names, &references, heard);
        assert_eq!(recognition.iter().map(|item| item.wer).collect::<Vec<_>>(), [Some(0.25), None, Some(1.0)]);
        assert_eq!(wer, Some(2.0 / 5.0));
    }
}
