//! How a command fails: one line, one exit code.

use std::fmt;

use offhook::Error;

/// Why a command did not do what it was for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Failure {
    /// Something went wrong, in one line.
    Failed(String),
    /// The user broke it off.
    Interrupted,
    /// The command line asks for what cannot be, in one line.
    Usage(String),
}

/// The result of a command.
pub type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// A failure in plain words; of several lines, the first counts.
    pub fn new(message: impl fmt::Display) -> Self {
        Self::Failed(first_line(&message.to_string()))
    }

    /// A command line that cannot be carried out.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::Usage(first_line(&message.to_string()))
    }

    /// `error`, which happened on the way to `what`.
    pub fn during(what: impl fmt::Display, error: &Error) -> Self {
        Self::new(format_args!("{what}: {}", in_words(error)))
    }

    /// 1 for a failure, 2 for a command line, 130 (128 and SIGINT) for an interruption.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Interrupted => 130,
            Self::Usage(_) => 2,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(message) | Self::Usage(message) => f.write_str(message),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(in_words(&error))
    }
}

/// The message of an error and its facts, without the name of the operation.
fn in_words(error: &Error) -> String {
    let facts: Vec<_> = error.context().iter().map(|(name, value)| format!("{name}: {value}")).collect();
    if facts.is_empty() {
        return error.message().to_owned();
    }
    format!("{} ({})", error.message(), facts.join(", "))
}

fn first_line(text: &str) -> String {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("something went wrong").to_owned()
}

#[cfg(test)]
mod tests {
    use offhook::ErrorKind;

    use super::*;

    #[test]
    fn a_failure_is_one_line_and_says_its_facts() {
        let error = Error::new(ErrorKind::Conflict, "x.y", "the port is taken").with_context("port", 80);
        let failure = Failure::during("cannot listen", &error);
        assert_eq!(failure.to_string(), "cannot listen: the port is taken (port: 80)");
        assert_eq!(Failure::new("one\ntwo").to_string(), "one");
        assert_eq!((failure.exit_code(), Failure::usage("x").exit_code()), (1, 2));
        assert_eq!(Failure::Interrupted.exit_code(), 130);
    }
}
