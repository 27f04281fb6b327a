//! Runs the stories in `traces/`. `UPDATE=1 cargo test -p offhook --test traces` writes what the call does now into them.
#![allow(clippy::disallowed_methods, reason = "a test may read the environment and files")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use offhook_testkit::trace;

#[test]
fn traces_read_as_they_run() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for path in files() {
        let text = fs::read_to_string(&path).unwrap();
        let told = trace::run(&text).unwrap_or_else(|problem| panic!("{}: {problem}", path.display()));
        if told == text {
            continue;
        }
        if update {
            fs::write(&path, told).unwrap();
        } else {
            wrong.push(format!("{}:{}", path.display(), first_difference(&text, &told)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_cannot_be_understood_is_named() {
    for (trace, problem) in [
        ("+0ms wait\n", "no call"),
        ("call sideways\n", "call sideways"),
        ("call inbound\nset endpointing.dealy=1s\n", "endpointing.dealy"),
        ("call inbound\n+soon wait\n", "+soon wait"),
        ("call inbound\n+0ms dance\n", "+0ms dance: no dance is open"),
        ("call connected\n+0ms caller said hello\n", "double quotes"),
        ("call connected\n+0ms agent heard \"Bye\"\n", "not what the agent says"),
    ] {
        let error = trace::run(trace).unwrap_err();
        assert!(error.contains(problem), "{error}");
    }
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "trace"));
    files.sort();
    assert!(!files.is_empty());
    files
}

/// The line's number, what it says, and what it should say.
fn first_difference(text: &str, told: &str) -> String {
    let number = text.lines().zip(told.lines()).take_while(|(is, should)| is == should).count();
    let line = |text: &str| text.lines().nth(number).unwrap_or("the end").trim().to_owned();
    format!("{}\n  it says    {}\n  it should  {}", number + 1, line(text), line(told))
}
