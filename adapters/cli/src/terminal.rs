//! The two streams of the terminal, and whether they take colour.

use std::env;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Effects, Style};

use crate::failure::Failure;

/// Prints to stdout. A reader who has gone is no failure.
pub fn print(text: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// Prints a failure to stderr, in one line.
pub fn complain(failure: &Failure) {
    let _ = writeln!(io::stderr().lock(), "offhook: {failure}");
}

/// Where a view goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Output {
    /// Nowhere.
    Nowhere,
    /// To stderr.
    Stderr,
    /// To stdout.
    Stdout,
}

impl Output {
    /// Prints one line.
    pub fn line(self, text: impl Display) {
        match self {
            Self::Nowhere => {}
            Self::Stderr => {
                let _ = writeln!(io::stderr().lock(), "{text}");
            }
            Self::Stdout => print(text),
        }
    }

    /// The colours that it takes: none where nobody sees them, and none where `NO_COLOR` is set (<https://no-color.org>).
    pub fn palette(self) -> Palette {
        let is_terminal = match self {
            Self::Nowhere => false,
            Self::Stderr => io::stderr().is_terminal(),
            Self::Stdout => io::stdout().is_terminal(),
        };
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        if is_terminal && !refused && !dumb { Palette::COLOURED } else { Palette::PLAIN }
    }
}

/// How things look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Palette {
    /// The agent.
    pub agent: Style,
    /// The caller.
    pub caller: Style,
    /// What is less important.
    pub dim: Style,
    /// Success.
    pub good: Style,
    /// Titles.
    pub strong: Style,
    /// What went wrong.
    pub warning: Style,
}

impl Palette {
    const COLOURED: Self = Self {
        agent: AnsiColor::Cyan.on_default(),
        caller: AnsiColor::Yellow.on_default(),
        dim: Style::new().effects(Effects::DIMMED),
        good: AnsiColor::Green.on_default(),
        strong: Style::new().effects(Effects::BOLD),
        warning: AnsiColor::Red.on_default(),
    };

    /// Without any style.
    pub const PLAIN: Self = Self {
        agent: Style::new(),
        caller: Style::new(),
        dim: Style::new(),
        good: Style::new(),
        strong: Style::new(),
        warning: Style::new(),
    };

    /// `text` in `style`.
    pub fn paint(style: Style, text: impl Display) -> String {
        format!("{style}{text}{style:#}")
    }
}
