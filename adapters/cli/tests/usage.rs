//! What cannot be done is said in one line, and the exit code tells what kind of trouble it is.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::TcpListener;
use std::process::Command;

#[test]
fn a_bad_option_is_a_usage_error() {
    assert!(fails(2, &["demo", "--nonsense"], &[]).contains("--nonsense"));
    assert!(fails(2, &["call"], &[]).contains("WAV|TEXT"));
    assert!(fails(2, &[], &[]).contains("demo"));
    assert!(fails(2, &["demo", "--llm", "openai:m", "--llm-key-env", "NO_SUCH_KEY"], &[]).contains("NO_SUCH_KEY"));
}

#[test]
fn a_busy_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let line = fails(1, &["demo", "--json", "--listen", &addr], &[]);
    assert!(line.contains("cannot listen") && line.contains(&addr), "{line}");
}

#[test]
fn missing_models_say_what_to_run() {
    let empty = tempfile::tempdir().unwrap();
    let line = fails(1, &["demo"], &[("OFFHOOK_CACHE", empty.path().to_str().unwrap())]);
    assert!(line.contains("cargo xtask setup"), "{line}");
}

#[test]
fn a_model_out_of_reach_is_named() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{gone}/v1");
    let line = fails(1, &["demo", "--llm", "openai:m", "--llm-url", &url], &[]);
    assert!(line.contains(&url), "{line}");
    assert!(fails(1, &["demo", "--llm", "openai:m", "--llm-url", "nowhere"], &[]).contains("nowhere"));
}

#[test]
fn what_cannot_be_played_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let letter = folder.path().join("letter.wav");
    std::fs::write(&letter, "Dear all").unwrap();
    assert!(fails(1, &["call", letter.to_str().unwrap()], &[]).contains("letter.wav"));
    assert!(fails(1, &["call", "nowhere.wav"], &[]).contains("nowhere.wav"));
    assert!(fails(1, &["call", "Hello", "--references", "nowhere.tsv"], &[]).contains("nowhere.tsv"));
    let keep = letter.join("inside");
    let line = fails(1, &["demo", "--keep", keep.to_str().unwrap()], &[]);
    assert!(line.contains("letter.wav"), "{line}");
}

/// Runs the program, which must fail with `code` and one line on stderr and nothing on stdout. Returns the line.
fn fails(code: i32, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_offhook"));
    command.args(arguments).envs(variables.iter().copied()).env_remove("RUST_LOG");
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "", "{arguments:?}");
    let [line] = stderr.lines().collect::<Vec<_>>()[..] else { panic!("not one line: {stderr}") };
    line.strip_prefix("offhook: ").expect("the program names itself").to_owned()
}
