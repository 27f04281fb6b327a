//! What a call used of its providers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::provider::ProviderInfo;
use crate::provider::llm::LlmEvent;

/// Something that a provider counts.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Resource {
    /// Tokens that a model had read before and found again.
    CachedTokens,
    /// Characters that were spoken.
    Characters,
    /// Tokens that a model read for the first time.
    InputTokens,
    /// Of sound, or of a call.
    Milliseconds,
    /// Tokens that a model wrote.
    OutputTokens,
    /// Requests, whatever came of them.
    Requests,
}

/// One thing that was used.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize, Deserialize)]
pub struct Item {
    /// The provider's name.
    pub provider: String,
    /// Its model, or whatever else it runs; empty when there is nothing to say.
    pub model: String,
    /// Of what.
    pub resource: Resource,
}

/// How much of everything was used.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<Line>", into = "Vec<Line>")]
pub struct Usage(BTreeMap<Item, u64>);

impl Usage {
    /// Adds `quantity`.
    pub fn add(&mut self, provider: &ProviderInfo, resource: Resource, quantity: u64) {
        let item = Item { provider: provider.name.to_owned(), model: provider.detail.clone(), resource };
        self.add_item(item, quantity);
    }

    /// Adds what a model reports of an answer.
    pub fn add_generated(&mut self, model: &ProviderInfo, event: &LlmEvent) {
        if let LlmEvent::Usage { cached_tokens, input_tokens, output_tokens } = event {
            self.add(model, Resource::CachedTokens, *cached_tokens);
            self.add(model, Resource::InputTokens, input_tokens.saturating_sub(*cached_tokens));
            self.add(model, Resource::OutputTokens, *output_tokens);
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(item, quantity)| self.add_item(item.clone(), *quantity));
    }

    /// What was used, and how much of it.
    pub fn items(&self) -> impl Iterator<Item = (&Item, u64)> {
        self.0.iter().map(|(item, quantity)| (item, *quantity))
    }

    /// The sum over all providers.
    pub fn total(&self, resource: Resource) -> u64 {
        self.0.iter().filter(|(item, _)| item.resource == resource).fold(0, |sum, (_, more)| sum.saturating_add(*more))
    }

    fn add_item(&mut self, item: Item, quantity: u64) {
        if quantity > 0 {
            let sum = self.0.entry(item).or_default();
            *sum = sum.saturating_add(quantity);
        }
    }
}

#[derive(Clone, Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    item: Item,
    quantity: u64,
}

impl From<Vec<Line>> for Usage {
    fn from(lines: Vec<Line>) -> Self {
        let mut usage = Self::default();
        lines.into_iter().for_each(|line| usage.add_item(line.item, line.quantity));
        usage
    }
}

impl From<Usage> for Vec<Line> {
    fn from(usage: Usage) -> Self {
        usage.0.into_iter().map(|(item, quantity)| Line { item, quantity }).collect()
    }
}
