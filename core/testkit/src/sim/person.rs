//! The person at the far end of a leg.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use offhook::audio::FRAME_DURATION;
use offhook::provider::telephony::{DtmfDigit, HangupCause};
use offhook::runtime::Runtime;

use super::plan::{Act, CallPlan};
use super::voice::{self, Word};
use super::world::World;
use crate::carrier::Caller;
use crate::random::Dice;

/// How often a silent line sends a frame, so that it does not pass for dead. An engine fills what is between.
const KEEP_ALIVE: Duration = Duration::from_secs(4);

/// Digits of a word's number; those of its call stand before them.
const WORD_DIGITS: usize = 3;

/// How often a listener looks whether the agent speaks.
const ATTENTION: Duration = Duration::from_millis(200);

/// Silent frames after the last word, for a detector that must hear that nothing is said.
const AFTERGLOW: [Duration; 4] = [Duration::from_millis(120); 4];

/// Does what the plan says until the leg is over.
pub(super) async fn live(world: Arc<World>, runtime: Arc<dyn Runtime>, plan: CallPlan, caller: Arc<Caller>) {
    let mut person = Person { caller, heard: 0, index: plan.index, runtime, said: 0, world };
    for act in plan.acts {
        if !person.act(act).await {
            return;
        }
    }
    // Stays on the line.
    while person.pass(KEEP_ALIVE).await {}
}

/// Takes a call over: listens to the brief, accepts it with a key or does not, and talks for a while.
pub(super) async fn take_over(human: Caller, dice: Dice) {
    human.send_audio(Bytes::from_static(&voice::SILENCE));
    if !human.wait(dice.millis(10, 500, 6_000)).await {
        return;
    }
    if dice.chance(11, 800) {
        if let Ok(key) = DtmfDigit::try_from('1') {
            human.press(key);
        }
        human.send_audio(Bytes::from_static(&voice::SILENCE));
        if !human.wait(dice.millis(12, 0, 8_000)).await {
            return;
        }
    }
    human.hang_up(HangupCause::NORMAL_CLEARING);
}

/// The number of the call in which a person said that word.
pub(super) fn call_of(word: &str) -> Option<u32> {
    let digits = word.strip_prefix('c')?.trim_end_matches(|mark: char| !mark.is_ascii_digit());
    digits.get(..digits.len().checked_sub(WORD_DIGITS)?)?.parse().ok()
}

struct Person {
    caller: Arc<Caller>,
    /// Frames of the agent that were heard when the last act was over.
    heard: usize,
    /// Of the call.
    index: u32,
    runtime: Arc<dyn Runtime>,
    /// Words so far.
    said: u32,
    world: Arc<World>,
}

impl Person {
    /// False when the leg is over.
    async fn act(&mut self, act: Act) -> bool {
        match act {
            Act::Cough => self.cough().await,
            Act::HangUp(cause) => {
                self.caller.hang_up(cause);
                false
            }
            Act::Listen { pause, patience } => self.listen(pause, patience).await,
            Act::Overhear { after, patience } => self.overhear(after, patience).await,
            Act::Press(key) => {
                if let Ok(digit) = DtmfDigit::try_from(key) {
                    self.caller.press(digit);
                }
                true
            }
            Act::Say { words, gap, mark } => self.say(words, gap, mark).await,
            Act::Vanish => {
                self.caller.vanish();
                false
            }
            Act::Wait(duration) => self.pass(duration).await,
        }
    }

    async fn listen(&mut self, pause: Duration, patience: Duration) -> bool {
        let deadline = self.runtime.now() + patience;
        loop {
            let now = self.runtime.now();
            let (heard, until) = self.caller.played();
            let next = if heard > self.heard { until + pause } else { now + ATTENTION };
            if now >= deadline || (heard > self.heard && next <= now) {
                self.heard = heard;
                return true;
            }
            if !self.pass(next.min(deadline).saturating_since(now)).await {
                return false;
            }
        }
    }

    async fn overhear(&mut self, after: Duration, patience: Duration) -> bool {
        let deadline = self.runtime.now() + patience;
        while self.caller.played().0 <= self.heard && self.runtime.now() < deadline {
            if !self.pass(ATTENTION / 2).await {
                return false;
            }
        }
        self.pass(after).await
    }

    async fn say(&mut self, words: u32, gap: Duration, mark: &str) -> bool {
        let texts: Vec<String> = (0..words)
            .map(|word| {
                let mark = if word + 1 == words { mark } else { "" };
                format!("c{}{:03}{mark}", self.index, self.said + word)
            })
            .collect();
        self.said += words;
        let utterance = self.world.said.add(texts);
        let gap = if self.world.plan.detects_speech { gap } else { Duration::ZERO };
        for index in 0..words {
            let frame = Bytes::copy_from_slice(&voice::frame(Word { utterance, index }));
            if !self.sound(frame).await || (!gap.is_zero() && !self.caller.wait(gap).await) {
                return false;
            }
        }
        self.fall_silent().await
    }

    async fn cough(&mut self) -> bool {
        self.sound(Bytes::copy_from_slice(&voice::noise())).await && self.fall_silent().await
    }

    /// One word, as long as words are here.
    async fn sound(&mut self, frame: Bytes) -> bool {
        for _ in 0..self.world.plan.frames_per_word {
            self.caller.send_audio(frame.clone());
            if !self.caller.wait(FRAME_DURATION).await {
                return false;
            }
        }
        true
    }

    async fn fall_silent(&mut self) -> bool {
        self.heard = self.caller.played().0;
        self.silence();
        if self.world.plan.detects_speech {
            return true;
        }
        for pause in AFTERGLOW {
            if !self.pass(pause).await {
                return false;
            }
            self.silence();
        }
        true
    }

    /// Is silent for a while.
    async fn pass(&mut self, duration: Duration) -> bool {
        let mut left = duration;
        while left >= KEEP_ALIVE {
            if !self.caller.wait(KEEP_ALIVE).await {
                return false;
            }
            self.silence();
            left -= KEEP_ALIVE;
        }
        left.is_zero() || self.caller.wait(left).await
    }

    fn silence(&self) {
        self.caller.send_audio(Bytes::from_static(&voice::SILENCE));
    }
}
