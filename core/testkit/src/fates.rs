//! What goes wrong, and how long things take: every simulated provider asks here, at every place where either may be.
//!
//! An answer depends on the seed, the place, whose call it is and how often that was asked, and on nothing else. So a
//! fault has a name that survives when other faults are switched off, and a failing world can be made smaller.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::random::Dice;

macro_rules! places {
    ($(#[$doc:meta])* $name:ident, $value_of:ident -> $type:ty { $($(#[$variant_doc:meta])* $variant:ident => $value:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All of them, in alphabetical order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            fn $value_of(self) -> $type {
                match self {
                    $(Self::$variant => $value,)*
                }
            }
        }
    };
}

/// What a fault befalls.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Family {
    /// The carrier's orders: dial, answer, hang up, open the media.
    Carrier,
    /// The wall clock.
    Clock,
    /// The whole process.
    Crash,
    /// The customer's functions and webhook receivers.
    Http,
    /// The sound between carrier and engine.
    Media,
    /// The language model.
    Model,
    /// The recogniser.
    Recogniser,
    /// The store.
    Store,
    /// The synthesiser.
    Synthesiser,
}

impl Family {
    /// All families.
    pub const ALL: [Self; 9] = [
        Self::Carrier,
        Self::Clock,
        Self::Crash,
        Self::Http,
        Self::Media,
        Self::Model,
        Self::Recogniser,
        Self::Store,
        Self::Synthesiser,
    ];

    /// The lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Carrier => "carrier",
            Self::Clock => "clock",
            Self::Crash => "crash",
            Self::Http => "http",
            Self::Media => "media",
            Self::Model => "model",
            Self::Recogniser => "recogniser",
            Self::Store => "store",
            Self::Synthesiser => "synthesiser",
        }
    }
}

places! {
/// One way to go wrong, with its family and its chance in a thousand.
Fault, odds -> (Family, u64) {
    /// Picking up is refused.
    AnswerRefused => (Family::Carrier, 10),
    /// Picking up takes too long.
    AnswerStalls => (Family::Carrier, 5),
    /// A frame is lost on its way, in either direction.
    AudioLost => (Family::Media, 5),
    /// The wall clock is set.
    ClockSet => (Family::Clock, 500),
    /// The process dies.
    Crash => (Family::Crash, 500),
    /// A progress of dialling ends without a word.
    DialBreaksOff => (Family::Carrier, 10),
    /// Dialling is refused.
    DialRefused => (Family::Carrier, 10),
    /// A dialled call is reported as answered twice.
    DialRepeats => (Family::Carrier, 20),
    /// Dialling takes too long.
    DialStalls => (Family::Carrier, 5),
    /// The end of a leg is told twice.
    EndRepeated => (Family::Media, 50),
    /// Sending digits is refused.
    DigitsRefused => (Family::Carrier, 100),
    /// Sending digits takes too long.
    DigitsStall => (Family::Carrier, 50),
    /// Hanging up is refused.
    HangUpRefused => (Family::Carrier, 10),
    /// Hanging up takes too long.
    HangUpStalls => (Family::Carrier, 5),
    /// A request arrives and its answer is lost.
    HttpAnswerLost => (Family::Http, 30),
    /// The peer cannot be reached.
    HttpBroken => (Family::Http, 30),
    /// The peer fails.
    HttpFails => (Family::Http, 60),
    /// The peer does not answer.
    HttpStalls => (Family::Http, 15),
    /// Neither side's media arrive any more, and nobody says so.
    LineDead => (Family::Media, 15),
    /// The media's socket breaks.
    LineBreaks => (Family::Media, 15),
    /// A mark comes late, perhaps after the next.
    MarkLate => (Family::Media, 40),
    /// A mark never comes.
    MarkLost => (Family::Media, 40),
    /// A mark comes twice.
    MarkRepeated => (Family::Media, 40),
    /// The media are refused.
    MediaRefused => (Family::Carrier, 10),
    /// Opening the media takes too long.
    MediaStalls => (Family::Carrier, 5),
    /// The model breaks off with an error.
    ModelBreaksOff => (Family::Model, 20),
    /// The model calls what is not there, with what is not JSON.
    ModelRaves => (Family::Model, 30),
    /// The model refuses.
    ModelRefuses => (Family::Model, 20),
    /// The model does not go on.
    ModelStalls => (Family::Model, 10),
    /// The model's answer ends without its end.
    ModelUnfinished => (Family::Model, 10),
    /// The recogniser breaks off with an error.
    RecogniserBreaksOff => (Family::Recogniser, 10),
    /// The recogniser ends on its own.
    RecogniserEnds => (Family::Recogniser, 10),
    /// A final transcript comes seconds late.
    RecogniserLate => (Family::Recogniser, 30),
    /// A final transcript never comes.
    RecogniserLoses => (Family::Recogniser, 10),
    /// The recogniser refuses.
    RecogniserRefuses => (Family::Recogniser, 20),
    /// A final transcript comes twice.
    RecogniserRepeats => (Family::Recogniser, 20),
    /// The store does what it was told and its answer is lost.
    StoreAnswerLost => (Family::Store, 20),
    /// The store refuses for now.
    StoreRefuses => (Family::Store, 20),
    /// The store takes a while.
    StoreSlow => (Family::Store, 60),
    /// The store takes seconds.
    StoreStalls => (Family::Store, 3),
    /// A transfer is refused.
    TransferRefused => (Family::Carrier, 100),
    /// A transfer takes too long.
    TransferStalls => (Family::Carrier, 50),
    /// The voice breaks off with an error.
    VoiceBreaksOff => (Family::Synthesiser, 15),
    /// The voice says nothing.
    VoiceMute => (Family::Synthesiser, 10),
    /// The voice refuses.
    VoiceRefuses => (Family::Synthesiser, 15),
    /// The voice does not go on.
    VoiceStalls => (Family::Synthesiser, 10),
}
}

places! {
/// One thing that takes time, with its least and its greatest milliseconds.
Wait, millis -> (u64, u64) {
    /// Picking up.
    Answer => (0, 120),
    /// Taking an order to dial.
    Dial => (20, 300),
    /// Sending digits.
    Digits => (100, 600),
    /// Hanging up.
    HangUp => (0, 120),
    /// A request to the customer.
    Http => (1, 250),
    /// Sound on its way from the engine to the far end.
    Line => (0, 120),
    /// Opening the media.
    Media => (0, 150),
    /// A model's first piece.
    ModelFirst => (50, 900),
    /// A model's next piece.
    ModelNext => (0, 120),
    /// A transcript after the end of speech.
    Recogniser => (20, 700),
    /// A store.
    Store => (0, 0),
    /// Handing a leg over.
    Transfer => (100, 3_000),
    /// A voice's first sound.
    VoiceFirst => (20, 400),
    /// A voice's next sound.
    VoiceNext => (0, 30),
}
}

/// The fault of that place, of that call, by its count.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct FaultId {
    /// Whose.
    pub call: u32,
    /// Which.
    pub fault: Fault,
    /// Counted from zero.
    pub count: u32,
}

impl fmt::Display for FaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.call {
            Fates::NOBODY => write!(f, "{:?} #{}", self.fault, self.count),
            call => write!(f, "{:?} #{} of call {call}", self.fault, self.count),
        }
    }
}

/// Decides what goes wrong. Clones share their counts.
#[derive(Clone, Debug)]
pub struct Fates {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dice: Dice,
    families: BTreeSet<Family>,
    is_hasty: bool,
    off: BTreeSet<FaultId>,
    drawn: Mutex<Drawn>,
}

#[derive(Debug, Default)]
struct Drawn {
    /// By call, then by place: faults first.
    counts: Vec<Vec<u32>>,
    struck: Vec<FaultId>,
}

impl Fates {
    /// For what belongs to no call.
    pub const NOBODY: u32 = u32::MAX;

    /// Nothing goes wrong and nothing takes time.
    pub fn fair() -> Self {
        Self::build(Dice::new(0), BTreeSet::new(), BTreeSet::new(), true)
    }

    /// Faults of `families`, but not those that are `off`; `is_hasty` when nothing takes time.
    pub fn new(dice: Dice, families: BTreeSet<Family>, off: BTreeSet<FaultId>, is_hasty: bool) -> Self {
        Self::build(dice, families, off, is_hasty)
    }

    /// Whether `fault` befalls `call` this time.
    pub fn strikes(&self, fault: Fault, call: u32) -> bool {
        let (family, per_mille) = fault.odds();
        if !self.inner.families.contains(&family) {
            return false;
        }
        let mut drawn = self.drawn();
        let count = drawn.count(call, fault as usize);
        let id = FaultId { call, fault, count };
        let strikes =
            self.place(call, fault as usize).chance(u64::from(count), per_mille) && !self.inner.off.contains(&id);
        if strikes {
            drawn.struck.push(id);
        }
        strikes
    }

    /// How long it takes `call` this time.
    pub fn takes(&self, wait: Wait, call: u32) -> Duration {
        let (least, most) = wait.millis();
        if self.inner.is_hasty || most == 0 {
            return Duration::ZERO;
        }
        let place = Fault::ALL.len() + wait as usize;
        let count = self.drawn().count(call, place);
        self.place(call, place).millis(u64::from(count), least, most)
    }

    /// Randomness for the details of a fault or for whatever a provider makes up; the same for the same `call` and `topic`.
    pub fn dice(&self, call: u32, topic: u64) -> Dice {
        self.inner.dice.at(u64::from(call)).at(topic.wrapping_add(1_000))
    }

    /// All faults so far, in the order in which they struck.
    pub fn struck(&self) -> Vec<FaultId> {
        self.drawn().struck.clone()
    }

    fn build(dice: Dice, families: BTreeSet<Family>, off: BTreeSet<FaultId>, is_hasty: bool) -> Self {
        Self { inner: Arc::new(Inner { dice, families, is_hasty, off, drawn: Mutex::default() }) }
    }

    fn place(&self, call: u32, place: usize) -> Dice {
        self.inner.dice.at(u64::from(call)).at(place as u64)
    }

    fn drawn(&self) -> MutexGuard<'_, Drawn> {
        self.inner.drawn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drawn {
    fn count(&mut self, call: u32, place: usize) -> u32 {
        let row = if call == Fates::NOBODY { 0 } else { call as usize + 1 };
        if self.counts.len() <= row {
            self.counts.resize_with(row + 1, Vec::new);
        }
        let counts = &mut self.counts[row];
        if counts.is_empty() {
            counts.resize(Fault::ALL.len() + Wait::ALL.len(), 0);
        }
        let count = counts[place];
        counts[place] += 1;
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(off: BTreeSet<FaultId>) -> Vec<FaultId> {
        let fates = Fates::new(Dice::new(3), BTreeSet::from(Family::ALL), off, false);
        for call in 0..200 {
            fates.strikes(Fault::HttpFails, call);
            fates.strikes(Fault::HttpFails, call);
        }
        fates.struck()
    }

    #[test]
    fn a_fault_keeps_its_name_when_another_is_switched_off() {
        let all = drawn(BTreeSet::new());
        assert!(all.len() > 5, "{all:?}");
        let off = BTreeSet::from([all[2]]);
        let rest: Vec<_> = all.iter().filter(|id| **id != all[2]).copied().collect();
        assert_eq!(drawn(off), rest);
    }

    #[test]
    fn fair_weather_is_fair() {
        let fates = Fates::fair();
        assert!(Fault::ALL.iter().all(|fault| !fates.strikes(*fault, 0)));
        assert!(Wait::ALL.iter().all(|wait| fates.takes(*wait, 0).is_zero()));
    }
}
