//! The sound of one leg: what is played to its far end, when, and what is acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use offhook::audio::codec;
use offhook::provider::telephony::{MediaCommand, MediaEvent};
use offhook::runtime::Runtime;
use offhook::time::Instant;

use super::{FORMAT, lock};
use crate::fates::{Fates, Fault};

/// Latest that a late mark comes: within the grace that an engine gives to acknowledgements.
const MARK_LATE_MS_MAX: u64 = 400;

/// What both ends of a leg share.
pub(super) struct Line {
    pub(super) call: u32,
    /// From when on nothing arrives.
    pub(super) dead_from: Option<Instant>,
    pub(super) ear: Mutex<Ear>,
    pub(super) events: async_channel::Sender<MediaEvent>,
    pub(super) fates: Fates,
    /// Of sound and orders, in each direction.
    pub(super) latency: Duration,
    pub(super) runtime: Arc<dyn Runtime>,
    /// Closed when the leg is over.
    pub(super) up: async_channel::Receiver<Infallible>,
}

/// A piece of sound that was sent to the far end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sound {
    /// When it began to play.
    pub start: Instant,
    /// When it had been played.
    pub end: Instant,
    /// Whether it got lost on its way, which nobody but the network knows.
    pub is_lost: bool,
    /// Encoded.
    pub bytes: Bytes,
}

/// What the far end hears.
#[derive(Default)]
pub(super) struct Ear {
    /// In the order of their times; those behind the present can still be cleared.
    sounds: VecDeque<Sound>,
    /// When everything that was sent has been played.
    clock: Instant,
}

impl Line {
    /// Sends an event to the engine, unless the line is dead. One that does not read loses it.
    pub(super) fn send(&self, event: MediaEvent) {
        if !self.is_dead(self.runtime.now()) {
            let _ = self.events.try_send(event);
        }
    }

    pub(super) fn ear(&self) -> MutexGuard<'_, Ear> {
        lock(&self.ear)
    }

    fn is_dead(&self, at: Instant) -> bool {
        self.dead_from.is_some_and(|from| from <= at)
    }
}

impl Ear {
    /// What had been played by `now`.
    pub(super) fn heard_until(&mut self, now: Instant) -> &[Sound] {
        let length = self.sounds.partition_point(|sound| sound.end <= now);
        &self.sounds.make_contiguous()[..length]
    }

    pub(super) fn played(&self) -> (usize, Instant) {
        (self.sounds.len(), self.clock)
    }

    fn push(&mut self, at: Instant, duration: Duration, bytes: Bytes, is_lost: bool) {
        let start = self.clock.max(at);
        self.clock = start + duration;
        self.sounds.push_back(Sound { start, end: self.clock, is_lost, bytes });
    }

    /// Forgets what has not begun to play by `at`.
    fn clear(&mut self, at: Instant) {
        while self.sounds.back().is_some_and(|sound| sound.start >= at) {
            self.sounds.pop_back();
        }
        self.clock = self.sounds.back().map_or(at, |sound| sound.end);
    }
}

type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Plays what a leg is sent, in real time, as a carrier does.
pub(super) struct Player {
    /// When the socket breaks.
    breaks_at: Option<Instant>,
    commands: async_channel::Receiver<MediaCommand>,
    line: Arc<Line>,
    /// By the moment of their acknowledgement, then in order.
    marks: BTreeMap<(Instant, u64), u64>,
    marks_made: u64,
    /// The leg is over when it is dropped.
    _over: async_channel::Sender<Infallible>,
}

impl Player {
    pub(super) fn new(
        line: Arc<Line>,
        commands: async_channel::Receiver<MediaCommand>,
        over: async_channel::Sender<Infallible>,
        breaks_at: Option<Instant>,
    ) -> Self {
        Self { breaks_at, commands, line, marks: BTreeMap::new(), marks_made: 0, _over: over }
    }

    pub(super) async fn run(mut self) {
        let mut alarm: Option<(Instant, Sleep)> = None;
        loop {
            let now = self.line.runtime.now();
            if self.breaks_at.is_some_and(|at| at <= now) {
                self.line.events.close();
                return;
            }
            self.acknowledge(now);
            let due = self.marks.keys().next().map(|(due, _)| *due).into_iter().chain(self.breaks_at).min();
            if alarm.as_ref().map(|(at, _)| *at) != due {
                let runtime = self.line.runtime.clone();
                alarm = due.map(|at| {
                    let sleep: Sleep = Box::pin(async move { runtime.sleep_until(at).await });
                    (at, sleep)
                });
            }
            let ring = async {
                match &mut alarm {
                    Some((_, sleep)) => sleep.as_mut().await,
                    None => std::future::pending().await,
                }
                None
            };
            let command = async { Some(self.commands.recv().await) };
            match futures_lite::future::or(command, ring).await {
                Some(Ok(command)) => self.take(command),
                Some(Err(_)) => return,
                None => alarm = None,
            }
        }
    }

    fn take(&mut self, command: MediaCommand) {
        let now = self.line.runtime.now();
        let arrival = now + self.line.latency;
        let (line, fates) = (self.line.clone(), &self.line.fates);
        match command {
            MediaCommand::Audio(bytes) => {
                let is_lost = fates.strikes(Fault::AudioLost, line.call) || line.is_dead(now);
                line.ear().push(arrival, codec::duration_of(FORMAT, bytes.len()), bytes, is_lost);
            }
            MediaCommand::Clear if line.is_dead(now) => {}
            MediaCommand::Clear => {
                line.ear().clear(arrival);
                // What is forgotten is acknowledged as if it had been played.
                for mark in std::mem::take(&mut self.marks).into_values() {
                    self.mark_at(arrival + self.line.latency, mark);
                }
            }
            MediaCommand::Mark(mark) => {
                let played = line.ear().played().1.max(arrival);
                self.promise(played + self.line.latency, mark);
            }
            _ => {}
        }
    }

    fn promise(&mut self, due: Instant, mark: u64) {
        let (fates, call) = (self.line.fates.clone(), self.line.call);
        if fates.strikes(Fault::MarkLost, call) {
            return;
        }
        if fates.strikes(Fault::MarkRepeated, call) {
            self.mark_at(due, mark);
        }
        let mut due = due;
        if fates.strikes(Fault::MarkLate, call) {
            due = due + fates.dice(call, mark).millis(0, 20, MARK_LATE_MS_MAX);
        }
        self.mark_at(due, mark);
    }

    fn mark_at(&mut self, due: Instant, mark: u64) {
        self.marks_made += 1;
        self.marks.insert((due, self.marks_made), mark);
    }

    fn acknowledge(&mut self, now: Instant) {
        while let Some(entry) = self.marks.first_entry()
            && entry.key().0 <= now
        {
            let mark = entry.remove();
            self.line.send(MediaEvent::Marked(mark));
        }
    }
}
