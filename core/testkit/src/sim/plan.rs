//! What is to happen in a world, drawn from its seed: who calls when, what they do, and what kind of agent they get.

use std::collections::BTreeSet;
use std::time::Duration;

use offhook::call::Policy;
use offhook::call::policy::{
    Goodbye, KeyAction, KeyRule, OnMachine, Screening, Transfer, TransferMode, TransferTarget, Voicemail, Warning,
};
use offhook::engine::Settings;
use offhook::provider::telephony::{DtmfDigit, HangupCause};
use offhook::service::capacity::{Limits, WhenFull};

use super::model::FUNCTION;
use crate::carrier::Answering;
use crate::fates::{Family, FaultId};
use crate::random::Dice;

/// Calls of a world, which begin within [`START_MS_MAX`] of each other.
pub const CALLS_PER_WORLD: u32 = 10;

const START_MS_MAX: u64 = 20_000;

/// The number to which calls are handed over blindly.
pub(super) const DESK: &str = "+15559990001";

/// The number of a human who is briefed first.
pub(super) const DOCTOR: &str = "+15559990002";

/// A world.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The calls, in the order of their beginnings.
    pub calls: Vec<CallPlan>,
    /// Talk time of each tenant.
    pub credits: Vec<Duration>,
    /// Whether the recogniser tells speech from silence.
    pub detects_speech: bool,
    /// Where the randomness comes from.
    pub dice: Dice,
    /// What may go wrong.
    pub families: BTreeSet<Family>,
    /// Frames of a word.
    pub frames_per_word: usize,
    /// Nothing takes time.
    pub is_hasty: bool,
    /// What is broken on purpose.
    pub mutation: Option<Mutation>,
    /// Faults that do not happen.
    pub off: BTreeSet<FaultId>,
    /// Calls are recorded.
    pub records: bool,
    /// How many calls may go on at once, and what becomes of the others.
    pub settings: Settings,
}

/// A fault that no world may survive: it shows that the checks are awake.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Mutation {
    /// The store says that a settlement is committed and forgets it.
    DropSettlement,
    /// The voice says that a text is spoken before it is, so that what was never played stays in the transcript.
    KeepUnplayed,
    /// The carrier goes on playing what it was told to clear.
    SwallowCancel,
}

/// A call.
#[derive(Clone, Debug)]
pub struct CallPlan {
    /// What the person at the far end does, in order.
    pub acts: Vec<Act>,
    /// How it comes to be.
    pub direction: Direction,
    /// Says something first.
    pub greets: bool,
    /// Its number in the world.
    pub index: u32,
    /// What whoever holds the call does, and when after its beginning.
    pub operator: Option<(Duration, Operator)>,
    /// How the agent behaves.
    pub policy: Policy,
    /// When it begins.
    pub starts: Duration,
    /// Whose it is.
    pub tenant: usize,
}

/// Who rings whom.
#[derive(Clone, Copy, Debug)]
pub enum Direction {
    /// They ring.
    Inbound,
    /// We ring.
    Outbound(Answering),
}

/// What the holder of a call does.
#[derive(Clone, Copy, Debug)]
pub enum Operator {
    /// Ends it.
    HangUp,
    /// Puts it on hold for so long.
    Hold(Duration),
    /// Ends the hold.
    Resume,
    /// Has something said.
    Say,
    /// Hands it over to a target of that name.
    Transfer(&'static str),
}

/// What a person does.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// Makes a sound that is no word.
    Cough,
    /// Ends the call.
    HangUp(HangupCause),
    /// Waits until the agent has spoken and been silent for `pause`, but no longer than `patience`.
    Listen {
        /// Silence that counts as the end.
        pause: Duration,
        /// Longest wait.
        patience: Duration,
    },
    /// Waits until the agent speaks, and for a while longer, but no longer than `patience`.
    Overhear {
        /// How long to let the agent speak.
        after: Duration,
        /// Longest wait.
        patience: Duration,
    },
    /// Presses a key.
    Press(char),
    /// Says so many words.
    Say {
        /// How many.
        words: u32,
        /// Silence between two.
        gap: Duration,
        /// Punctuation after the last.
        mark: &'static str,
    },
    /// Is gone without a word.
    Vanish,
    /// Is silent.
    Wait(Duration),
}

impl Plan {
    /// The world of that seed.
    pub fn draw(dice: Dice, calls: u32, families: BTreeSet<Family>, mutation: Option<Mutation>) -> Self {
        let nature = dice.at(0);
        let detects_speech = !nature.chance(0, 120);
        let credits: Vec<Duration> = (0..1 + nature.below(1, 2))
            .map(|tenant| {
                let scarce = nature.at(2).chance(tenant, 150);
                if scarce { nature.at(3).millis(tenant, 500, 60_000) } else { Duration::from_secs(7_200) }
            })
            .collect();
        let mut plan = Self {
            calls: Vec::new(),
            credits,
            detects_speech,
            dice,
            families,
            // The detector of the engine needs a few frames to believe a sound.
            frames_per_word: if detects_speech { 1 + nature.below(4, 2) as usize } else { 4 },
            is_hasty: nature.chance(5, 50),
            mutation,
            off: BTreeSet::new(),
            records: nature.chance(6, 60),
            settings: settings(nature.at(8)),
        };
        let mut starts: Vec<_> = (0..calls).map(|call| nature.at(7).millis(u64::from(call), 0, START_MS_MAX)).collect();
        starts.sort_unstable();
        for (index, starts) in (0..calls).zip(starts) {
            plan.calls.push(CallPlan::draw(
                dice.at(1).at(u64::from(index)),
                index,
                starts,
                plan.credits.len(),
                plan.records,
            ));
        }
        plan
    }
}

impl CallPlan {
    fn draw(dice: Dice, index: u32, starts: Duration, tenants: usize, records: bool) -> Self {
        let operator = match dice.below(0, 100) {
            0..3 => Some((dice.millis(1, 0, 20_000), Operator::HangUp)),
            3..6 => Some((dice.millis(1, 0, 20_000), Operator::Say)),
            6..9 => Some((dice.millis(1, 0, 20_000), Operator::Hold(dice.millis(8, 0, 40_000)))),
            9..13 => Some((dice.millis(1, 0, 20_000), Operator::Transfer(dice.pick(8, &["desk", "doctor", "nobody"])))),
            _ => None,
        };
        let direction =
            if dice.chance(2, 600) { Direction::Inbound } else { Direction::Outbound(answering(dice.at(3))) };
        Self {
            acts: acts(dice.at(4), direction),
            direction,
            greets: dice.chance(5, 850),
            index,
            operator,
            policy: policy(dice.at(6), records),
            starts,
            tenant: dice.below(7, tenants as u64) as usize,
        }
    }
}

impl CallPlan {
    /// Whether there may be times at which nobody listens to the far end.
    pub fn may_not_listen(&self) -> bool {
        let leaves_message = self
            .policy
            .screening
            .as_ref()
            .is_some_and(|screening| matches!(screening.on_machine, OnMachine::LeaveMessage(_)));
        leaves_message
            || !self.policy.transfer.targets.is_empty()
            || matches!(self.operator, Some((_, Operator::Hold(_))))
    }
}

fn settings(dice: Dice) -> Settings {
    let mut settings = crate::settings();
    if dice.chance(0, 120) {
        let calls_max = Some(1 + dice.below(1, 6) as u32);
        let wait = Duration::from_secs(1 + dice.below(2, 20));
        let when_full = if dice.chance(3, 500) { WhenFull::Queue { depth: 3, wait } } else { WhenFull::Reject };
        settings.limits = Limits { calls_max, when_full };
        settings.calls_max = dice.chance(4, 500).then(|| 1 + dice.below(5, 8) as u32);
    }
    settings
}

fn answering(dice: Dice) -> Answering {
    let after = dice.millis(0, 200, 12_000);
    match dice.below(1, 100) {
        0..65 => Answering::After(after),
        65..75 => Answering::AfterEarlyMedia(after),
        75..80 => Answering::Rings,
        _ => {
            let causes = [
                HangupCause::USER_BUSY,
                HangupCause::NO_ANSWER,
                HangupCause::CALL_REJECTED,
                HangupCause::NETWORK_OUT_OF_ORDER,
                HangupCause::NO_USER_RESPONDING,
            ];
            Answering::Refuses(after, dice.pick(2, &causes))
        }
    }
}

fn policy(dice: Dice, records: bool) -> Policy {
    // No utterance begins with a word that another one goes on with, so that what was heard can be told apart.
    let apology = "Sorry, that went wrong. Say it again, will you?".to_owned();
    let mut policy = Policy { apology, record: records, ..Policy::default() };
    policy.barge_in.enabled = dice.chance(0, 880);
    if dice.chance(1, 60) {
        policy.duration_max = dice.millis(2, 5_000, 40_000);
    }
    policy.silence.timeout = dice.millis(3, 3_000, 8_000);
    policy.silence.prompts_max = dice.below(4, 3) as u32;
    policy.ring_timeout = dice.millis(5, 5_000, 30_000);
    if dice.chance(6, 400) {
        let on_machine = match dice.below(7, 100) {
            0..40 => OnMachine::Converse,
            40..70 => OnMachine::HangUp,
            _ => OnMachine::LeaveMessage(Voicemail::new("Message for you, from the clinic.")),
        };
        policy.screening = Some(Screening { on_machine, ..Screening::default() });
    }
    if dice.chance(8, 200) {
        policy.keypad.rules = key_rules();
    }
    if dice.chance(9, 200) {
        transfers(dice.at(10), &mut policy.transfer);
    }
    if dice.chance(11, 200) {
        let text = "Nearly no time is left.".to_owned();
        policy.warning = Some(Warning { before: dice.millis(12, 1_000, 20_000), text });
    }
    policy.goodbye = dice
        .chance(14, 700)
        .then(|| Goodbye { before: dice.millis(15, 500, 8_000), text: "Time is up, and so goodbye.".to_owned() });
    if dice.chance(16, 300) {
        policy.reserve = dice.millis(17, 800, 15_000);
    }
    policy.hold.thanks = Some("Back again and listening.".to_owned());
    policy.send_digits = dice.chance(13, 100);
    policy
}

/// What the keys do that people press: one of each kind.
fn key_rules() -> Vec<KeyRule> {
    let actions = [
        ("0", KeyAction::Transfer { target: "doctor".to_owned() }),
        ("1", KeyAction::Say { text: "Key one was pressed.".to_owned() }),
        ("11", KeyAction::SetVariable { name: "row".to_owned() }),
        ("5", KeyAction::CallFunction { name: FUNCTION.to_owned() }),
        ("9", KeyAction::End { text: Some("Farewell then, caller.".to_owned()) }),
    ];
    let rule = |(keys, action): (&str, KeyAction)| keys.parse().map(|keys| KeyRule { keys, action }).ok();
    actions.into_iter().filter_map(rule).collect()
}

fn transfers(dice: Dice, policy: &mut Transfer) {
    let target = |name: &str, number: &str, mode| {
        let number = number.parse().ok()?;
        Some(TransferTarget { description: String::new(), mode, name: name.to_owned(), number })
    };
    let accept = if dice.chance(0, 700) { DtmfDigit::try_from('1').ok() } else { None };
    let warm = TransferMode::Warm { accept };
    policy.targets =
        [target("desk", DESK, TransferMode::Blind), target("doctor", DOCTOR, warm)].into_iter().flatten().collect();
    policy.escalation = dice.chance(1, 500).then(|| "desk".to_owned());
    policy.please_hold = dice.chance(2, 800).then(|| "Putting you through now.".to_owned());
    policy.failed = "Nobody takes your call.".to_owned();
    policy.ring_timeout = dice.millis(3, 2_000, 20_000);
}

fn acts(dice: Dice, direction: Direction) -> Vec<Act> {
    let mut acts = Vec::new();
    if matches!(direction, Direction::Outbound(_)) {
        acts.extend(greeting(dice.at(5)));
    }
    for turn in 0..dice.below(0, 5) {
        acts.extend(turn_of(dice.at(100 + turn)));
    }
    let listen = Act::Listen { pause: dice.millis(1, 300, 900), patience: dice.millis(2, 2_000, 9_000) };
    acts.push(listen);
    let causes = [
        HangupCause::NORMAL_CLEARING,
        HangupCause::NORMAL_CLEARING,
        HangupCause::NORMAL_CLEARING,
        HangupCause::NORMAL_UNSPECIFIED,
        HangupCause::NETWORK_OUT_OF_ORDER,
    ];
    match dice.below(3, 100) {
        0..70 => acts.push(Act::HangUp(dice.pick(4, &causes))),
        70..80 => acts.push(Act::Vanish),
        // Stays on the line until the agent ends the call.
        _ => {}
    }
    acts
}

/// What whoever is called says first: a word or two, or as much as an answering machine.
fn greeting(dice: Dice) -> Option<Act> {
    let (words, gap) = match dice.below(0, 100) {
        0..30 => (1 + dice.below(1, 2), Duration::ZERO),
        30..50 => (30 + dice.below(1, 20), Duration::from_millis(100)),
        _ => return None,
    };
    Some(Act::Say { words: words as u32, gap, mark: "." })
}

fn turn_of(dice: Dice) -> Vec<Act> {
    let mut acts = Vec::new();
    let patience = dice.millis(0, 2_000, 8_000);
    if dice.chance(1, 250) {
        acts.push(Act::Overhear { after: dice.millis(2, 20, 1_200), patience });
    } else {
        acts.push(Act::Listen { pause: dice.millis(2, 150, 900), patience });
    }
    match dice.below(3, 100) {
        0..6 => acts.push(Act::Cough),
        6..12 => acts.push(Act::Press(dice.pick(4, &['0', '1', '5', '9', '*', '#']))),
        12..18 => acts.push(Act::Wait(dice.millis(4, 100, 9_000))),
        _ => {}
    }
    let gap = if dice.chance(5, 150) { dice.millis(6, 150, 400) } else { dice.millis(6, 0, 80) };
    let say = |branch, mark| Act::Say { words: 1 + dice.below(branch, 5) as u32, gap, mark };
    if dice.chance(7, 200) {
        // Draws breath in the middle of a sentence.
        acts.extend([say(8, ""), Act::Wait(dice.millis(9, 250, 1_500))]);
    }
    acts.push(say(10, dice.pick(11, &[".", ".", "?", "!", ""])));
    acts
}
