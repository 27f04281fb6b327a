//! Which intent the caller's words are closest to.

use std::collections::BTreeMap;

use super::rules::Intent;
use super::words::{all_stems, is_alike, stems};

/// Below this nothing matches: about half of an example's meaning must have been said.
const SCORE_MIN: f64 = 0.5;
/// A keyword said in a row; each of its words adds a little, so that the longer one wins.
const KEYWORD_SCORE: f64 = 0.8;
const KEYWORD_WORD_SCORE: f64 = 0.04;
/// How much of the score the example's words weigh against the caller's, who says more than needed.
const EXAMPLE_SHARE: f64 = 0.7;
/// Weight of a word that no example holds.
const UNKNOWN_WEIGHT: f64 = 0.3;

/// The examples and keywords of all intents.
#[derive(Debug)]
pub(super) struct Matcher {
    intents: Vec<Patterns>,
    /// What a stem weighs: the fewer intents hold it, the more it says.
    weights: BTreeMap<String, f64>,
}

#[derive(Debug)]
struct Patterns {
    examples: Vec<Vec<String>>,
    keywords: Vec<Vec<String>>,
}

/// The caller's words: those that carry meaning, and all of them.
struct Said {
    meaning: Vec<String>,
    words: Vec<String>,
}

impl Matcher {
    pub(super) fn new(intents: &[Intent]) -> Self {
        let all = |texts: &[String], stems: fn(&str) -> Vec<String>| {
            texts.iter().map(|text| stems(text)).filter(|stems| !stems.is_empty()).collect()
        };
        let patterns = |intent: &Intent| Patterns {
            examples: all(&intent.examples, stems),
            keywords: all(&intent.keywords, all_stems),
        };
        let intents: Vec<Patterns> = intents.iter().map(patterns).collect();
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for intent in &intents {
            let mut own: Vec<&String> = intent.examples.iter().flatten().collect();
            own.sort();
            own.dedup();
            for stem in own {
                *counts.entry(stem.clone()).or_default() += 1;
            }
        }
        let total = intents.len() as f64;
        let weights = counts.into_iter().map(|(stem, count)| (stem, (1.0 + total / count as f64).ln())).collect();
        Self { intents, weights }
    }

    /// The index of the closest intent, the first of equals; `None` if none is close.
    pub(super) fn closest(&self, text: &str) -> Option<usize> {
        let said = Said { meaning: stems(text), words: all_stems(text) };
        let mut best = None;
        let mut best_score = SCORE_MIN;
        for (index, patterns) in self.intents.iter().enumerate() {
            let score = self.score(patterns, &said);
            if score > best_score {
                (best, best_score) = (Some(index), score);
            }
        }
        best
    }

    fn score(&self, patterns: &Patterns, said: &Said) -> f64 {
        let keywords = patterns.keywords.iter().filter(|keyword| holds(&said.words, keyword));
        let keyword = keywords.map(|keyword| KEYWORD_SCORE + KEYWORD_WORD_SCORE * keyword.len() as f64);
        let example = patterns.examples.iter().map(|example| self.closeness(example, &said.meaning));
        keyword.chain(example).fold(0.0, f64::max)
    }

    /// From 0 to 1: the weight of the words in common to that of all words.
    fn closeness(&self, example: &[String], said: &[String]) -> f64 {
        let weight = |stem: &String| self.weights.get(stem).copied().unwrap_or(UNKNOWN_WEIGHT);
        let shared = example.iter().filter(|word| said.iter().any(|other| is_alike(word, other)));
        let known = said.iter().map(|word| match example.iter().find(|other| is_alike(word, other)) {
            Some(other) => weight(other),
            None => weight(word),
        });
        let shared: f64 = shared.map(weight).sum();
        let (example, said): (f64, f64) = (example.iter().map(weight).sum(), known.sum());
        shared / (EXAMPLE_SHARE * example + (1.0 - EXAMPLE_SHARE) * said).max(f64::MIN_POSITIVE)
    }
}

fn holds(said: &[String], keyword: &[String]) -> bool {
    said.windows(keyword.len()).any(|window| window.iter().zip(keyword).all(|(a, b)| is_alike(a, b)))
}
