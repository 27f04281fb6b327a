//! `offhook replay`: a call once more, from its journal.

mod changes;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use offhook::journal::explain::{Side, explain};
use offhook::journal::{Difference, Entry, Journal, Tail, Verdict, redact, rerun};
use serde_json::{Value, json};

use self::changes::Changes;
use crate::args::{ReplayArgs, Setting};
use crate::blocking;
use crate::failure::{Failure, Outcome};
use crate::terminal::print;

/// The ending of a journal's file.
pub const EXTENSION: &str = "offhook";

/// The largest file that is read: a call of many hours takes some megabytes.
const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Folders within folders in which a journal is looked for.
const DEPTH_MAX: u32 = 4;

/// Runs the command.
pub async fn run(args: ReplayArgs) -> Outcome<()> {
    let path = args.journal.clone();
    let unreadable = format!("cannot read {}", path.display());
    let file = blocking::run(unreadable, move || read(&path)).await?;
    let journal = Journal::from_file(&file)?;
    if !args.set.is_empty() {
        return change(&journal, &args.set, args.json);
    }
    if args.explain {
        return tell(&journal, args.json);
    }
    let verdict = journal.verify()?;
    if let Some(out) = args.redact {
        return write_redacted(&journal, &verdict, out, args.json).await;
    }
    if args.json {
        print(to_json(&journal, &verdict));
    }
    let sentence = judge(&journal, &verdict)?;
    if !args.json {
        print(sentence);
    }
    Ok(())
}

fn change(journal: &Journal, settings: &[Setting], json: bool) -> Outcome<()> {
    let Some(Entry::Start { config, .. }) = journal.entries.first() else {
        return Err(Failure::new("the journal does not begin with a start"));
    };
    let mut policy = config.policy.clone();
    for setting in settings {
        policy.set(&setting.path, &setting.value)?;
    }
    let changes = Changes::new(&journal.entries, rerun(&journal.entries, policy)?)?;
    if json {
        print(changes.to_json())
    } else {
        print(changes.to_text(settings))
    }
    Ok(())
}

fn tell(journal: &Journal, json: bool) -> Outcome<()> {
    let lines = explain(journal.entries.iter().cloned())?;
    if json {
        // Numbers, texts and maps with text keys: this cannot fail.
        print(serde_json::to_string(&lines).unwrap_or_default());
        return Ok(());
    }
    lines.iter().for_each(print);
    Ok(())
}

async fn write_redacted(journal: &Journal, verdict: &Verdict, out: PathBuf, json: bool) -> Outcome<()> {
    judge(journal, verdict)?;
    let redacted = redact(journal)?;
    let (file, entries, told) = (redacted.to_file(), redacted.entries.len(), out.display().to_string());
    blocking::run(format!("cannot write {told}"), move || File::create_new(out)?.write_all(&file)).await?;
    if json {
        print(json!({ "entries": entries, "file": told }));
    } else {
        print(format_args!("ok: {entries} entries in {told}, which replays in the same way"));
    }
    Ok(())
}

/// The verdict in one line; a failure if the call is not what it was.
fn judge(journal: &Journal, verdict: &Verdict) -> Outcome<String> {
    if let Some(difference) = &verdict.difference {
        return Err(Failure::new(in_words(difference, journal)?));
    }
    if journal.tail == Tail::Unreadable {
        let entries = journal.entries.len();
        return Err(Failure::new(format_args!("entry {entries} cannot be read; those before it are identical")));
    }
    let so_far = if verdict.is_whole { "" } else { " so far; the journal ends before the call does" };
    let Verdict { inputs, outputs, .. } = verdict;
    Ok(format!("ok: {inputs} inputs, {outputs} outputs, identical{so_far}"))
}

fn in_words(difference: &Difference, journal: &Journal) -> Outcome<String> {
    let lines = explain(journal.entries.iter().take(difference.index + 1).cloned())?;
    let own = lines.iter().find(|line| line.entry == difference.index && line.side != Side::Event);
    let line = own.or_else(|| lines.iter().rfind(|line| line.side == Side::Input));
    let what = line.map_or(String::new(), |line| format!("{} {}", line.name, line.detail));
    let (index, at) = (difference.index, difference.at.as_secs_f64());
    Ok(format!("entry {index} at {at:.3} s is answered otherwise than it was: {what}"))
}

fn to_json(journal: &Journal, verdict: &Verdict) -> Value {
    let difference = verdict.difference.as_ref().map(|difference| {
        json!({
            "entry": difference.index,
            "at_ms": offhook::time::millis(difference.at),
            "outputs": difference.outputs,
        })
    });
    json!({
        "call": verdict.record.id,
        "identical": verdict.difference.is_none() && journal.tail != Tail::Unreadable,
        "whole": verdict.is_whole,
        "inputs": verdict.inputs,
        "outputs": verdict.outputs,
        "difference": difference,
    })
}

/// The bytes of a journal; of a folder, of its latest journal.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let in_words = |error: std::io::Error| error.to_string();
    let path = if path.is_dir() { latest(path).ok_or("there is no journal in it")? } else { path.to_owned() };
    let file = File::open(path).map_err(in_words)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(in_words)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err("it is too large for a journal".to_owned());
    }
    Ok(bytes)
}

/// Journals are named by their calls, whose ids sort by time.
fn latest(folder: &Path) -> Option<PathBuf> {
    let mut found = Vec::new();
    search(folder, DEPTH_MAX, &mut found);
    found.into_iter().max_by_key(|path| path.file_name().map(OsStr::to_owned))
}

fn search(folder: &Path, depth: u32, found: &mut Vec<PathBuf>) {
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && depth > 0 {
            search(&path, depth - 1, found);
        } else if path.extension() == Some(OsStr::new(EXTENSION)) {
            found.push(path);
        }
    }
}
