//! When somebody speaks: probabilities in, starts, ends and cuts out, with hysteresis against flicker.

/// At or above this probability a silent line becomes speech.
const ONSET: f32 = 0.5;
/// Below this probability speech becomes silence; between the two, things stay as they are.
const RELEASE: f32 = 0.35;
/// Speech in this many windows in a row makes a start; one alone is a click.
const ONSET_WINDOWS: u64 = 2;
/// Silence in this many windows (256 ms) makes an end. Turn-taking is decided elsewhere and later.
const RELEASE_WINDOWS: u64 = 8;
/// From this length on (8.0 s) a pause of [`BREATH_WINDOWS`] cuts the speech for transcription.
const LONG_WINDOWS: u64 = 250;
const BREATH_WINDOWS: u64 = 3;
/// At this length (15.0 s) speech is cut even within a word.
const CUT_WINDOWS: u64 = 468;

/// What a window brought. Numbers are of windows since the beginning; an end is exclusive.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Edge {
    /// Speech goes on, but `start..end` is long enough to be transcribed.
    Cut {
        /// Where the piece began.
        start: u64,
        /// Where it ends and the next begins.
        end: u64,
    },
    /// Speech that began at `start` (or at the last cut) stopped at `end`.
    End {
        /// Where the piece began.
        start: u64,
        /// The first silent window.
        end: u64,
    },
    /// Speech began at `start`.
    Start {
        /// The first window of it.
        start: u64,
    },
}

/// Turns the probabilities of one stream into [`Edge`]s.
#[derive(Debug, Default)]
pub(crate) struct Segmenter {
    windows: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Silent,
    /// Speech in `run` windows in a row, not yet enough.
    Rising { run: u64 },
    /// `quiet` windows of silence in a row, not yet enough.
    Speaking { start: u64, quiet: u64 },
}

impl Segmenter {
    /// Takes the next window's probability.
    pub(crate) fn push(&mut self, probability: f32) -> Option<Edge> {
        self.windows += 1;
        match self.state {
            State::Silent if probability >= ONSET => self.rise(1),
            State::Silent => None,
            State::Rising { run } if probability >= ONSET => self.rise(run + 1),
            State::Rising { .. } => {
                self.state = State::Silent;
                None
            }
            State::Speaking { start, quiet } => {
                let quiet = if probability < RELEASE || (quiet > 0 && probability < ONSET) { quiet + 1 } else { 0 };
                self.speak(start, quiet)
            }
        }
    }

    /// Ends speech that is going on, now.
    pub(crate) fn close(&mut self) -> Option<Edge> {
        let State::Speaking { start, quiet } = std::mem::take(&mut self.state) else { return None };
        Some(Edge::End { start, end: self.windows - quiet })
    }

    /// Where the present speech began or was cut last.
    pub(crate) fn start(&self) -> Option<u64> {
        match self.state {
            State::Silent => None,
            State::Rising { run } => Some(self.windows - run),
            State::Speaking { start, .. } => Some(start),
        }
    }

    fn rise(&mut self, run: u64) -> Option<Edge> {
        if run < ONSET_WINDOWS {
            self.state = State::Rising { run };
            return None;
        }
        let start = self.windows - run;
        self.state = State::Speaking { start, quiet: 0 };
        Some(Edge::Start { start })
    }

    fn speak(&mut self, start: u64, quiet: u64) -> Option<Edge> {
        self.state = State::Speaking { start, quiet };
        if quiet >= RELEASE_WINDOWS {
            return self.close();
        }
        let length = self.windows - start;
        if length >= CUT_WINDOWS || (length >= LONG_WINDOWS && quiet >= BREATH_WINDOWS) {
            let end = self.windows;
            self.state = State::Speaking { start: end, quiet };
            return Some(Edge::Cut { start, end });
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speech_starts_where_it_began_and_ends_where_it_stopped() {
        let edges = run(&[(10, 0.0), (20, 0.9), (20, 0.1)]);
        assert_eq!(edges, [(11, Edge::Start { start: 10 }), (37, Edge::End { start: 10, end: 30 })]);
    }

    #[test]
    fn a_click_is_not_speech() {
        assert_eq!(run(&[(5, 0.0), (1, 0.99), (20, 0.0)]), []);
    }

    #[test]
    fn a_short_pause_does_not_end_speech() {
        let edges = run(&[(10, 0.9), (7, 0.0), (10, 0.9), (8, 0.0)]);
        assert_eq!(edges, [(1, Edge::Start { start: 0 }), (34, Edge::End { start: 0, end: 27 })]);
    }

    #[test]
    fn between_the_thresholds_nothing_changes() {
        assert_eq!(run(&[(50, 0.4)]), []);
        assert_eq!(run(&[(5, 0.9), (100, 0.4)]), [(1, Edge::Start { start: 0 })]);
    }

    #[test]
    fn long_speech_is_cut_at_a_breath() {
        let edges = run(&[(300, 0.9), (3, 0.1), (10, 0.9)]);
        assert_eq!(edges, [(1, Edge::Start { start: 0 }), (302, Edge::Cut { start: 0, end: 303 })]);
    }

    #[test]
    fn endless_speech_is_cut_without_one() {
        let edges = run(&[(1000, 0.9)]);
        let cuts: Vec<_> = edges.iter().skip(1).map(|(_, edge)| *edge).collect();
        assert_eq!(cuts, [Edge::Cut { start: 0, end: 468 }, Edge::Cut { start: 468, end: 936 }]);
    }

    #[test]
    fn closing_ends_speech_at_its_last_sound() {
        let mut segmenter = Segmenter::default();
        for probability in [0.9, 0.9, 0.9, 0.0, 0.0] {
            segmenter.push(probability);
        }
        assert_eq!(segmenter.close(), Some(Edge::End { start: 0, end: 3 }));
        assert_eq!(segmenter.close(), None);
    }

    /// The edges of runs of equal probabilities, each with the number of the window that brought it.
    fn run(runs: &[(usize, f32)]) -> Vec<(usize, Edge)> {
        let mut segmenter = Segmenter::default();
        let windows = runs.iter().flat_map(|&(count, probability)| std::iter::repeat_n(probability, count));
        windows.enumerate().filter_map(|(at, probability)| segmenter.push(probability).map(|edge| (at, edge))).collect()
    }
}
