//! Signatures against the official `standardwebhooks` packages of Python and JavaScript, and against Python's own HMAC:
//! what we sign they accept, what they sign we accept, and what one refuses the other refuses.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail tests")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use offhook::signing::standard::{self, Headers};
use offhook::signing::{Secret, body};
use offhook::time::Timestamp;
use serde_json::{Value, json};

const FOLDER_VARIABLE: &str = "OFFHOOK_STANDARDWEBHOOKS";

const BODIES: [&str; 5] = [
    "{}",
    r#"{"type":"call.ended","timestamp":"2026-11-20T09:00:00.000Z","data":{"call":{"talk_time_ms":1}}}"#,
    r#"{"text":"Selamat pagi, 早安, 🙂 \u0000 \"quoted\""}"#,
    "{\"spaced\" :  [1.0, 1e3, -0]}\n",
    "[\"not an object\"]",
];

fn folder() -> PathBuf {
    let default = || Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("peers").join("standardwebhooks");
    let folder = std::env::var_os(FOLDER_VARIABLE).map_or_else(default, PathBuf::from);
    assert!(
        folder.join("node_modules/standardwebhooks").is_dir() && folder.join("python/standardwebhooks").is_dir(),
        "the packages are not installed in {}: run `cargo xtask setup`",
        folder.display()
    );
    folder
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/signatures").join(name)
}

fn python() -> Command {
    let mut command = Command::new("python3");
    command.arg(script("peer.py")).env("PYTHONPATH", folder().join("python")).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn node() -> Command {
    let mut command = Command::new("node");
    command.arg(script("peer.cjs")).env("PEER_FOLDER", folder());
    command
}

/// What the peer says to each case.
fn ask(mut peer: Command, cases: &[Value]) -> Vec<Value> {
    let mut process = peer.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = process.stdin.take().unwrap();
    let lines: String = cases.iter().map(|case| format!("{case}\n")).collect();
    // The answers to a few dozen lines fit into a pipe.
    input.write_all(lines.as_bytes()).unwrap();
    drop(input);
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "the peer failed");
    let answers: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), cases.len());
    answers
}

#[expect(clippy::disallowed_methods, reason = "the packages go by the clock of the machine")]
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_unix_micros(i64::try_from(since.as_micros()).unwrap())
}

fn secret(byte: u8) -> Secret {
    Secret::new(vec![byte; 24 + usize::from(byte)])
}

fn case(secret: &Secret, headers: &Headers, body: &str) -> Value {
    json!({
        "scheme": "standard",
        "secret": standard::show_secret(secret),
        "id": headers.id,
        "timestamp": headers.timestamp,
        "signature": headers.signature,
        "body": STANDARD.encode(body),
    })
}

fn packages_agree(peer: fn() -> Command) {
    let now = now();
    let (mine, theirs, neither) = (secret(1), secret(2), secret(3));
    let mut cases = Vec::new();
    let mut check = |secret: &Secret, headers: Headers, body: &str| {
        let ours = standard::verify(std::slice::from_ref(secret), &headers, body.as_bytes(), now).is_ok();
        cases.push((case(secret, &headers, body), headers, body.to_owned(), secret.clone(), ours));
    };
    for (index, body) in BODIES.iter().enumerate() {
        let id = format!("msg:{index}:crm");
        let one = standard::sign(std::slice::from_ref(&mine), &id, now, body.as_bytes());
        check(&mine, one.clone(), body);
        check(&neither, one.clone(), body);
        check(&mine, one.clone(), &format!("{body} "));
        check(&mine, Headers { id: format!("{id}x"), ..one.clone() }, body);
        check(&mine, Headers { signature: one.signature.replace("v1,", "v2,"), ..one.clone() }, body);
        check(&mine, Headers { signature: one.signature.replace("v1,", ""), ..one.clone() }, body);
        check(&mine, Headers { signature: format!("v1a,AAAA v2,BBBB {}", one.signature), ..one.clone() }, body);
        let rotated = standard::sign(&[theirs.clone(), mine.clone()], &id, now, body.as_bytes());
        check(&mine, rotated.clone(), body);
        check(&theirs, rotated.clone(), body);
        check(&neither, rotated, body);
        for seconds in [-290_i64, 290, -310, 310] {
            let at = Timestamp::from_unix_micros(now.as_unix_micros() + seconds * 1_000_000);
            check(&mine, standard::sign(std::slice::from_ref(&mine), &id, at, body.as_bytes()), body);
        }
    }
    let lines: Vec<Value> = cases.iter().map(|(case, ..)| case.clone()).collect();
    let mut accepted = 0;
    for ((_, headers, body, secret, ours), answer) in cases.iter().zip(ask(peer(), &lines)) {
        assert_eq!(answer["accepted"], *ours, "{headers:?} {body}");
        accepted += usize::from(*ours);
        // The other way round: their signature of the same message is one that we take, if the message is fresh.
        let signature = answer["signature"].as_str().unwrap().to_owned();
        let headers = Headers { signature, ..headers.clone() };
        let seconds: i64 = headers.timestamp.parse().unwrap();
        let at = Timestamp::from_unix_micros(seconds * 1_000_000);
        standard::verify(std::slice::from_ref(secret), &headers, body.as_bytes(), at).unwrap();
        let own = standard::sign(std::slice::from_ref(secret), &headers.id, at, body.as_bytes());
        assert_eq!(own.signature, headers.signature);
    }
    assert_eq!(accepted, 6 * BODIES.len(), "of each body: once, with others beside it, twice rotated, early and late");
}

#[test]
fn the_python_package_agrees() {
    packages_agree(python);
}

#[test]
fn the_javascript_package_agrees() {
    packages_agree(node);
}

/// DR-073
#[test]
fn a_signature_of_the_body_is_what_python_makes() {
    let mut cases = Vec::new();
    for text in BODIES.iter().copied().chain(["", "\u{0}\u{1}"]) {
        for key in ["your_webhook_secret_for_verification", "päss wörd", "k"] {
            let right = body::sign(&Secret::new(key), text.as_bytes());
            for signature in [right.clone(), right.to_uppercase(), right[7..].to_owned(), body::sign(&secret(9), b"x")]
            {
                let ours = body::verify(&Secret::new(key), text.as_bytes(), &signature).is_ok();
                let line = json!({
                    "scheme": "sha256", "secret": key, "signature": signature, "body": STANDARD.encode(text),
                });
                cases.push((line, ours, right.clone()));
            }
        }
    }
    let lines: Vec<Value> = cases.iter().map(|(line, ..)| line.clone()).collect();
    for ((line, ours, right), answer) in cases.iter().zip(ask(python(), &lines)) {
        assert_eq!(answer["accepted"], *ours, "{line}");
        assert_eq!(answer["signature"], *right);
    }
}
