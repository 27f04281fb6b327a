//! The transcript and the model's history hold what the far end really heard, and what the caller really said.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use offhook::audio::FRAME_DURATION;
use offhook::call::{CallRecord, Speaker};
use offhook::time::Instant;

use super::{Findings, Invariant};
use crate::fates::Family;
use crate::sim::world::{History, World};
use crate::sim::{person, voice};

/// What may be heard beyond what is accounted for when speech is cut, beside the way there and back: the frames between
/// two marks, and a tick.
const UNACCOUNTED_MAX: Duration = Duration::from_millis(120);

/// The same when marks are lost: as long as an engine waits for them, and what is sent ahead.
const UNMARKED_MAX: Duration = Duration::from_millis(1_200);

/// The part of an utterance that was heard.
struct Heard {
    /// The moment at which each word had been heard.
    ends: Vec<Instant>,
    utterance: u32,
}

pub(super) fn check(world: &World, call: u32, record: &CallRecord, history: &History, findings: &mut Findings) {
    let heard = match heard(world, history) {
        Ok(heard) => heard,
        Err(problem) => {
            findings.add(Invariant::Heard, call, problem);
            return;
        }
    };
    let unaccounted_max = if history.is_crashed {
        // The journal of a crash is as old as the last entry that was written.
        Duration::MAX
    } else if world.plan.families.contains(&Family::Media) {
        UNMARKED_MAX
    } else {
        UNACCOUNTED_MAX + history.caller.as_ref().map_or(Duration::ZERO, |caller| caller.latency() * 2)
    };
    check_agent(world, call, record, &heard, unaccounted_max, findings);
    if record.functions.is_empty() {
        // Otherwise several answers may be on their way to the caller at once.
        check_history(world, call, history, &heard, findings);
    }
    let is_always_heard = !world.plan.calls.iter().any(|plan| plan.index == call && plan.may_not_listen());
    check_caller(call, record, history, is_always_heard, findings);
}

/// What the recogniser settled stands in the transcript, in order, and nothing else but what it was never sure of.
fn check_caller(call: u32, record: &CallRecord, history: &History, is_always_heard: bool, findings: &mut Findings) {
    // Keys stand between the words.
    let mut said = words_of(record, Speaker::Caller);
    said.retain(|word| person::call_of(word).is_some());
    let mut rest = said.iter().peekable();
    for word in history.recognised.iter().map(|word| bare(word)) {
        while rest.next_if(|said| bare(said) != word && history.guessed.contains(bare(said))).is_some() {}
        // A crash takes the last words with it.
        let may_miss = !is_always_heard || (history.is_crashed && rest.peek().is_none());
        if rest.next_if(|said| bare(said) == word).is_none() && !may_miss {
            findings.add(
                Invariant::Heard,
                call,
                format!("\"{word}\" of {:?} is missing from {said:?}", history.recognised),
            );
            return;
        }
    }
    if let Some(word) = rest.find(|said| !history.guessed.contains(bare(said))) {
        findings.add(
            Invariant::Heard,
            call,
            format!("\"{word}\" of {said:?} was never recognised: {:?}", history.recognised),
        );
    }
}

/// What was heard, by utterance; fails when words came in another order than they were spoken.
fn heard(world: &World, history: &History) -> Result<Vec<Heard>, String> {
    let mut heard: Vec<Heard> = Vec::new();
    let Some(caller) = &history.caller else { return Ok(heard) };
    let frames_per_word = world.plan.frames_per_word;
    let mut frames = 0;
    for sound in caller.sounds() {
        let Some(word) = voice::read(&sound.bytes) else { continue };
        if heard.last().is_none_or(|last| last.utterance != word.utterance) {
            if heard.iter().any(|earlier| earlier.utterance == word.utterance) {
                return Err("an utterance was taken up again".to_owned());
            }
            heard.push(Heard { ends: Vec::new(), utterance: word.utterance });
            frames = 0;
        }
        let Some(last) = heard.last_mut() else { continue };
        if word.index as usize != last.ends.len() {
            return Err(format!("word {} was heard after {} words", word.index, last.ends.len()));
        }
        frames += 1;
        if frames == frames_per_word {
            frames = 0;
            last.ends.push(sound.end);
        }
    }
    Ok(heard)
}

/// The transcript is what was heard of each utterance, in order, and little less where speech was cut.
///
/// What was cut may be said again, so that there is more than one way to divide the transcript among what was heard: one
/// must fit.
fn check_agent(
    world: &World,
    call: u32,
    record: &CallRecord,
    heard: &[Heard],
    unaccounted_max: Duration,
    findings: &mut Findings,
) {
    let transcript = words_of(record, Speaker::Agent);
    let word = FRAME_DURATION * u32::try_from(world.plan.frames_per_word).unwrap_or(1);
    let mut places = BTreeSet::from([0]);
    for utterance in heard {
        let words = world.said.words(utterance.utterance);
        let spoken = &words[..utterance.ends.len().min(words.len())];
        // What is unaccounted for is at the end.
        let ends = &utterance.ends;
        let since = |kept: usize| match (ends.get(kept), ends.last()) {
            (Some(first), Some(last)) => last.saturating_since(*first) + word,
            _ => Duration::ZERO,
        };
        let next: BTreeSet<usize> = places
            .iter()
            .flat_map(|place| {
                let fitting = spoken.iter().zip(&transcript[*place..]).take_while(|(heard, written)| heard == written);
                (0..=fitting.count()).filter(|kept| since(*kept) <= unaccounted_max).map(move |kept| place + kept)
            })
            .collect();
        if next.is_empty() {
            let place = places.last().copied().unwrap_or(0);
            let expected = transcript[place..].first().copied().unwrap_or("its end");
            findings.add(
                Invariant::Heard,
                call,
                format!("heard {spoken:?} where the transcript goes on with \"{expected}\""),
            );
            return;
        }
        places = next;
    }
    if !places.contains(&transcript.len()) {
        let place = places.last().copied().unwrap_or(0);
        findings.add(
            Invariant::Heard,
            call,
            format!("{:?} is in the transcript and was not heard", &transcript[place..]),
        );
    }
}

/// What the model is told that the agent said had been heard by then.
fn check_history(world: &World, call: u32, history: &History, heard: &[Heard], findings: &mut Findings) {
    let mut ends: BTreeMap<String, Instant> = BTreeMap::new();
    for utterance in heard {
        for (word, end) in world.said.words(utterance.utterance).into_iter().zip(&utterance.ends) {
            ends.entry(word).or_insert(*end);
        }
    }
    for asked in &history.asked {
        let unheard = asked.said.iter().find(|word| ends.get(*word).is_none_or(|end| *end > asked.at));
        if let Some(word) = unheard {
            findings.add(Invariant::Heard, call, format!("the model was told that \"{word}\" was heard"));
            return;
        }
    }
}

fn words_of(record: &CallRecord, speaker: Speaker) -> Vec<&str> {
    let entries = record.transcript.iter().filter(|entry| entry.speaker == speaker);
    entries.flat_map(|entry| entry.text.split_whitespace()).collect()
}

/// A word without the mark behind it, which a later transcript may set.
fn bare(word: &str) -> &str {
    word.trim_end_matches(|character: char| character.is_ascii_punctuation())
}
