//! What is really said in each item, as far as somebody knows.

use std::path::Path;

use super::Source;
use crate::args::CallArgs;
use crate::blocking;
use crate::failure::{Failure, Outcome};

/// Bytes of a file of references at most.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The references of all items, in their order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct References(Vec<Option<String>>);

impl References {
    /// In this order: `--reference`, the words themselves, `--references`, a text file beside the recording.
    pub(super) async fn read(args: &CallArgs, sources: &[Source]) -> Outcome<Self> {
        if args.reference.len() > sources.len() {
            return Err(Failure::usage("there are more references than items"));
        }
        let table = match &args.references {
            Some(path) => Table::parse(&read_text(path).await?),
            None => Table::default(),
        };
        if args.references.is_some() && table.rows.is_empty() {
            return Err(Failure::new(
                "the file of references holds neither `file` and `transcript` columns nor `name: text`",
            ));
        }
        let mut references = Vec::new();
        for (index, source) in sources.iter().enumerate() {
            let reference = match (args.reference.get(index), source) {
                (Some(given), _) => Some(given.clone()),
                (None, Source::Words(words)) => Some(words.clone()),
                (None, Source::File(file)) => match table.find(file) {
                    Some(found) => Some(found.to_owned()),
                    None => beside(Path::new(file)).await?,
                },
            };
            references.push(reference);
        }
        Ok(Self(references))
    }

    /// What is said in the item of that index.
    pub(super) fn of(&self, index: usize) -> Option<&str> {
        self.0.get(index)?.as_deref()
    }
}

impl<const N: usize> From<[Option<&str>; N]> for References {
    fn from(references: [Option<&str>; N]) -> Self {
        Self(references.map(|reference| reference.map(str::to_owned)).to_vec())
    }
}

/// Names of recordings and what is said in them.
#[derive(Debug, Default)]
struct Table {
    rows: Vec<(String, String)>,
}

impl Table {
    fn parse(text: &str) -> Self {
        let mut lines = text.lines();
        let header: Vec<&str> = lines.next().unwrap_or_default().split('\t').map(str::trim).collect();
        let column = |name: &str| header.iter().position(|title| title.eq_ignore_ascii_case(name));
        let rows = match (column("file"), column("transcript")) {
            (Some(file), Some(transcript)) => lines.filter_map(|line| tab_row(line, file, transcript)).collect(),
            _ => text.lines().filter_map(colon_row).collect(),
        };
        Self { rows }
    }

    /// Of all rows that name the file, the one that says most of its path.
    fn find(&self, file: &str) -> Option<&str> {
        let path = Path::new(file);
        let whole = path.to_string_lossy();
        let bare = path.with_extension("");
        let bare = bare.to_string_lossy();
        let names = |name: &str| ends_with_path(&whole, name) || ends_with_path(&bare, name);
        let named = self.rows.iter().filter(|(name, _)| names(name));
        named.max_by_key(|(name, _)| name.len()).map(|(_, text)| text.as_str())
    }
}

fn tab_row(line: &str, file: usize, transcript: usize) -> Option<(String, String)> {
    let cells: Vec<&str> = line.split('\t').collect();
    row(cells.get(file)?, cells.get(transcript)?)
}

/// `name: text`, as in the lists that come with collections of prompts; `;` begins a comment.
fn colon_row(line: &str) -> Option<(String, String)> {
    if line.trim_start().starts_with(';') {
        return None;
    }
    let (name, text) = line.split_once(": ")?;
    row(name, text)
}

fn row(name: &str, text: &str) -> Option<(String, String)> {
    let (name, text) = (name.trim(), without_remarks(text));
    let useful = !name.is_empty() && text.chars().any(char::is_alphanumeric);
    useful.then(|| (name.to_owned(), text))
}

/// Without what is in brackets: it says how something sounds, and is not said.
fn without_remarks(text: &str) -> String {
    let mut depth = 0_usize;
    let mut kept = String::new();
    for character in text.chars() {
        match character {
            '(' | '<' | '[' => depth += 1,
            ')' | '>' | ']' => depth = depth.saturating_sub(1),
            _ if depth == 0 => kept.push(character),
            _ => {}
        }
    }
    kept.trim().to_owned()
}

/// Whether `path` ends with the whole parts of `name`.
fn ends_with_path(path: &str, name: &str) -> bool {
    path.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
}

/// `a.txt` or `a.wav.txt` beside `a.wav`.
async fn beside(recording: &Path) -> Outcome<Option<String>> {
    let appended = recording.as_os_str().to_string_lossy().into_owned() + ".txt";
    for path in [recording.with_extension("txt"), appended.into()] {
        if path.is_file() && path != recording {
            return Ok(Some(read_text(&path).await?.trim().to_owned()));
        }
    }
    Ok(None)
}

async fn read_text(path: &Path) -> Outcome<String> {
    let owned = path.to_owned();
    blocking::run(format_args!("cannot read {}", path.display()), move || {
        if std::fs::metadata(&owned)?.len() > FILE_BYTES_MAX {
            return Err(std::io::Error::other("it is too large"));
        }
        std::fs::read_to_string(owned)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_with_a_header_is_read_by_its_columns() {
        let table = Table::parse("file\trate\ttranscript\tnote\na.wav\t8000\tone two\tx\nb.wav\t8000\t\tx\n");
        assert_eq!(table.find("../audio/a.wav"), Some("one two"));
        assert_eq!(table.find("b.wav"), None);
        assert_eq!(table.find("aa.wav"), None);
    }

    #[test]
    fn a_list_of_prompts_is_read_line_by_line() {
        let list = "; Sounds in English\n\nauth-thankyou: Thank you.\nbeep: [this is a tone]\ndigits/1: one\nletters/1: el\n\
                    letters/at: at [@]\nvm-intro: Leave a message. (tone plays)\n";
        let table = Table::parse(list);
        assert_eq!(table.find("/usr/share/sounds/en/auth-thankyou.wav"), Some("Thank you."));
        assert_eq!(table.find("en/digits/1.wav"), Some("one"));
        assert_eq!(table.find("beep.wav"), None);
        assert_eq!(table.find("letters/at.wav"), Some("at"));
        assert_eq!(table.find("vm-intro.g722"), Some("Leave a message."));
    }

    #[tokio::test]
    async fn a_text_beside_the_recording_is_its_reference() {
        let folder = tempfile::tempdir().unwrap();
        let wav = folder.path().join("a.wav");
        assert_eq!(beside(&wav).await.unwrap(), None);
        std::fs::write(folder.path().join("a.txt"), "one two\n").unwrap();
        assert_eq!(beside(&wav).await.unwrap().as_deref(), Some("one two"));
    }
}
