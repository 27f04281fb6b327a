//! What a call would have been under another policy.
//!
//! Up to the first output that is another one, the call is given its real inputs. What comes then is a model, and honest
//! about it: the caller and whoever else acted from outside do what they did when they did it; a command is answered as
//! the next one of its kind was, after the same delay; speech that was cut off in the real call is played on at the call's
//! own pace. What cannot be answered from the journal is left to the call's timers, and counted.

mod script;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use self::script::{Script, Scripts};
use super::{Entry, Runner, rejected};
use crate::call::{CallRecord, Command, CommandId, Input, Output, Policy};
use crate::error::Result;
use crate::time::Instant;

/// Inputs and timeouts after the divergence, at most.
const STEPS_MAX: usize = 1_000_000;

const FINISH_LISTENING: &str = "finish_listening";
const HANG_UP: &str = "hang_up";
const LISTEN: &str = "listen";

/// A call under another policy.
#[derive(Clone, Debug)]
pub struct Rerun {
    /// The first entry of the journal that was answered otherwise; `None` when nothing would have changed.
    pub diverged: Option<usize>,
    /// What the call was given.
    pub entries: Vec<Entry>,
    /// Pieces of speech that were made up or played on.
    pub imagined: usize,
    /// Inputs of the journal that were for commands that never came to be.
    pub left_over: usize,
    /// The call's record at its end.
    pub record: CallRecord,
    /// Commands that the journal has no answer to.
    pub unanswered: BTreeSet<&'static str>,
}

/// Runs `entries` under `policy`.
///
/// `Rejected` for entries without a start, or with a second one.
pub fn rerun(entries: &[Entry], policy: Policy) -> Result<Rerun> {
    let mut path = Path::new(entries, policy)?;
    let Some(outputs) = path.follow(entries)? else {
        let record = path.now.call.record();
        let (imagined, left_over, unanswered) = Default::default();
        return Ok(Rerun { diverged: None, entries: path.given, imagined, left_over, record, unanswered });
    };
    let mut call = path.now;
    let mut world = World::new(entries, path.index, path.common, &path.cancelled, path.given)?;
    world.watch(&outputs);
    world.run(&mut call)?;
    let left_over = world.missed + world.scripts.left_over(path.common);
    let World { given: entries, imagined, unanswered, .. } = world;
    Ok(Rerun { diverged: Some(path.index), entries, imagined, left_over, record: call.call.record(), unanswered })
}

/// The stretch in which the call under both policies puts out the same.
struct Path {
    cancelled: BTreeSet<CommandId>,
    /// The entries whose outputs are the same.
    common: usize,
    given: Vec<Entry>,
    /// The last entry that was given.
    index: usize,
    now: Runner,
    was: Runner,
}

impl Path {
    fn new(entries: &[Entry], policy: Policy) -> Result<Self> {
        let Some(Entry::Start { at, mut config, offer }) = entries.first().cloned() else {
            return Err(rejected("the journal does not begin with a start"));
        };
        let was = Runner::start(entries.first().cloned())?;
        config.policy = policy;
        let first = Entry::Start { at, config, offer };
        let now = Runner::start(Some(first.clone()))?;
        Ok(Self { cancelled: BTreeSet::new(), common: 0, given: vec![first], index: 0, now, was })
    }

    /// Goes on to the first outputs that are other ones, and returns those; `None` when there are none.
    fn follow(&mut self, entries: &[Entry]) -> Result<Option<Vec<Output>>> {
        loop {
            let (was, now) = (self.was.outputs(), self.now.outputs());
            if was != now {
                return Ok(Some(now));
            }
            self.cancelled.extend(now.iter().filter_map(cancelled));
            self.common = self.index + 1;
            let Some(entry) = entries.get(self.common) else { return Ok(None) };
            // A timer that the other policy has set earlier does not wait for what woke the real call.
            if let Some(at) = self.earlier(entry.at()) {
                self.given.push(Entry::Timeout { at });
                self.now.step(Entry::Timeout { at })?;
                continue;
            }
            self.index = self.common;
            if !matches!(entry, Entry::End { .. }) {
                self.given.push(entry.clone());
            }
            self.was.step(entry.clone())?;
            self.now.step(entry.clone())?;
        }
    }

    /// When a timer of the changed call runs out before `until` that the real call does not have.
    fn earlier(&self, until: Instant) -> Option<Instant> {
        let (deadline, timer) = self.now.call.poll_timeout()?;
        (deadline < until && self.was.call.poll_timeout() != Some((deadline, timer))).then_some(deadline)
    }
}

fn cancelled(output: &Output) -> Option<CommandId> {
    match output {
        Output::Cancel(id) => Some(*id),
        _ => None,
    }
}

/// The world around a call that has left the path of its journal.
struct World {
    given: Vec<Entry>,
    /// What comes of a command of that name although it is told of another, or of none: so long after it.
    held: BTreeMap<&'static str, Vec<(Duration, Input)>>,
    imagined: usize,
    /// What was told to nobody, because nobody listened yet.
    missed: usize,
    now: Instant,
    /// By time, and then in the order in which they were planned.
    planned: BTreeMap<(Instant, usize), Input>,
    plans: usize,
    scripts: Scripts,
    speaking: BTreeSet<CommandId>,
    /// When the speech that was started so far will have been heard.
    speech_until: Instant,
    unanswered: BTreeSet<&'static str>,
}

impl World {
    /// After entry `index`. Commands of the first `common` entries are answered as they were, if nobody has cancelled them.
    fn new(
        entries: &[Entry],
        index: usize,
        common: usize,
        cancelled: &BTreeSet<CommandId>,
        given: Vec<Entry>,
    ) -> Result<Self> {
        let now = given.last().map_or(Instant::default(), Entry::at);
        let mut world = Self {
            given,
            held: BTreeMap::new(),
            imagined: 0,
            missed: 0,
            now,
            planned: BTreeMap::new(),
            plans: 0,
            scripts: Scripts::of(entries)?,
            speaking: BTreeSet::new(),
            speech_until: Instant::default(),
            unanswered: BTreeSet::new(),
        };
        let begun = world.scripts.take_begun(common);
        for (index, entry) in entries.iter().enumerate().skip(index + 1) {
            if let Entry::Input { at, input } = entry
                && command_of(input).is_none()
            {
                world.plan_unless_caused(HANG_UP, index, *at, input.clone());
            }
        }
        for (id, script) in begun {
            if !cancelled.contains(&id) {
                world.go_on(id, script, index);
            }
        }
        Ok(world)
    }

    fn plan(&mut self, at: Instant, input: Input) {
        self.plans += 1;
        self.planned.insert((at.max(self.now), self.plans), input);
    }

    /// Plans what happened at `at`, or holds it back until the command that brought it about is there.
    fn plan_unless_caused(&mut self, cause: &'static str, entry: usize, at: Instant, input: Input) {
        match self.scripts.next_of(cause) {
            Some((started, since)) if since < entry => {
                self.held.entry(cause).or_default().push((at.saturating_since(started), input));
            }
            _ => self.plan(at, input),
        }
    }

    /// A command that was begun before goes on as it did.
    fn go_on(&mut self, id: CommandId, script: Script, index: usize) {
        let (answers, is_imagined) = if script.name == "speak" {
            let free = script.started.max(self.speech_until);
            let begin = script.playing().unwrap_or_else(|| self.scripts.first_sound(&script, free));
            self.scripts.speech(&script, &script.text, begin)
        } else {
            (script.answers, false)
        };
        if script.name == "speak" {
            self.speaking.insert(id);
            self.speech_until = answers.last().map_or(self.speech_until, |answer| answer.at);
            self.imagined += usize::from(is_imagined);
        }
        let cause = if script.name == LISTEN { FINISH_LISTENING } else { "" };
        for answer in answers.into_iter().filter(|answer| answer.entry > index) {
            self.plan_unless_caused(cause, answer.entry, answer.at, addressed(answer.input, id));
        }
    }

    /// Takes up what the call wants now.
    fn watch(&mut self, outputs: &[Output]) {
        for output in outputs {
            match output {
                Output::Cancel(id) => {
                    self.planned.retain(|_, input| command_of(input) != Some(*id));
                    if self.speaking.remove(id) {
                        self.speech_until = self.now;
                    }
                }
                Output::Event(_) => {}
                Output::Start(id, Command::Speak { text, .. }) => self.speak(*id, text),
                Output::Start(id, command) => self.answer(*id, command.name()),
            }
        }
    }

    fn answer(&mut self, id: CommandId, name: &'static str) {
        for (after, input) in self.held.remove(name).unwrap_or_default() {
            self.plan(self.now + after, input);
        }
        let script = self.scripts.take(name, "").unwrap_or_default();
        if script.answers.is_empty() {
            self.unanswered.insert(name);
        }
        for answer in script.answers {
            let input = addressed(answer.input, id);
            if name != LISTEN {
                self.plan(self.now + answer.at.saturating_since(script.started), input);
            } else if answer.at < self.now {
                self.missed += 1;
            } else {
                // What a recogniser tells is the caller's doing, at the caller's time.
                self.plan_unless_caused(FINISH_LISTENING, answer.entry, answer.at, input);
            }
        }
    }

    fn speak(&mut self, id: CommandId, text: &str) {
        let script = self.scripts.take("speak", text).unwrap_or_default();
        let begin = self.scripts.first_sound(&script, self.now.max(self.speech_until));
        let (answers, is_imagined) = self.scripts.speech(&script, text, begin);
        self.imagined += usize::from(is_imagined);
        self.speaking.insert(id);
        for answer in answers {
            self.speech_until = answer.at;
            self.plan(answer.at, addressed(answer.input, id));
        }
    }

    fn run(&mut self, runner: &mut Runner) -> Result<()> {
        for _ in 0..STEPS_MAX {
            let timeout = runner.call.poll_timeout().map(|(deadline, _)| deadline);
            let next = self.planned.first_key_value().map(|((at, _), _)| *at);
            let entry = match (timeout, next) {
                (Some(deadline), next) if next.is_none_or(|next| deadline <= next) => {
                    Entry::Timeout { at: deadline.max(self.now) }
                }
                (_, Some(_)) => match self.planned.pop_first() {
                    Some(((at, _), input)) => Entry::Input { at, input },
                    None => return Ok(()),
                },
                _ => return Ok(()),
            };
            if runner.call.is_ended() {
                return Ok(());
            }
            self.now = entry.at();
            self.given.push(entry.clone());
            runner.step(entry)?;
            self.watch(&runner.outputs());
        }
        Ok(())
    }
}

fn command_of(input: &Input) -> Option<CommandId> {
    match input {
        Input::Completed(id, _) | Input::Failed(id, _) | Input::Progress(id, _) => Some(*id),
        _ => None,
    }
}

/// The same answer, to another command.
fn addressed(input: Input, id: CommandId) -> Input {
    match input {
        Input::Completed(_, outcome) => Input::Completed(id, outcome),
        Input::Failed(_, failure) => Input::Failed(id, failure),
        Input::Progress(_, progress) => Input::Progress(id, progress),
        other => other,
    }
}
