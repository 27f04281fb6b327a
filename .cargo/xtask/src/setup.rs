//! What a bare Debian machine lacks.

use crate::shell::{Result, Shell};

/// Mock of the chat completions API, as an npm package.
const AIMOCK: &str = "@copilotkit/aimock@1.43.0";

/// The reference implementations of signed webhooks, as npm and as Python packages.
const STANDARD_WEBHOOKS: [&str; 2] = ["standardwebhooks@1.1.1", "standardwebhooks==1.1.0"];

/// An object store that speaks as S3 does, as an npm package.
const S3RVER: &str = "s3rver@3.7.1";

/// What the server is measured against.
const FAST_API: [&str; 2] = ["fastapi==0.165.0", "uvicorn[standard]==0.54.0"];

/// Version of the licence checker.
const CARGO_DENY: &str = "0.20.2";

/// Version of the fuzzer.
const CARGO_FUZZ: &str = "0.13.2";

/// A program, the arguments that show that it works, and its Debian package.
type Tool = (&'static str, &'static [&'static str], &'static str);

/// Fetching models and building the C code of the synthesiser and of SQLite.
const FOR_SPEECH: [Tool; 5] = [
    ("cc", &["--version"], "build-essential"),
    ("npm", &["--version"], "npm"),
    ("python3", &["--version"], "python3"),
    ("python3", &["-m", "pip", "--version"], "python3-pip"),
    ("tar", &["--version"], "tar"),
];

/// Servers for the tests. Programs of Debian's PostgreSQL are not where commands are looked for.
const FOR_TESTS: [Tool; 1] = [("sh", &["-c", "ls /usr/lib/postgresql/*/bin/initdb"], "postgresql")];

/// Everything for the programs and the tests.
pub(crate) fn everything(shell: &Shell) -> Result {
    speech(shell)?;
    debian(shell, &FOR_TESTS)?;
    npm_peer(shell, "aimock", AIMOCK)?;
    npm_peer(shell, "s3rver", S3RVER)?;
    standard_webhooks(shell)
}

/// The speech models, and the tools to fetch them.
pub(crate) fn speech(shell: &Shell) -> Result {
    debian(shell, &FOR_SPEECH)?;
    // Shown, because the first build takes minutes.
    shell.run("cargo", &["build", "--package", "offhook-cli"])?;
    shell.run("cargo", &["run", "--quiet", "--package", "offhook-cli", "--", "setup"])
}

/// A server for the tests of adapters.
fn npm_peer(shell: &Shell, name: &str, package: &str) -> Result {
    let folder = shell.target().join("peers").join(name);
    let (path, _version) = package.rsplit_once('@').unwrap_or((package, ""));
    if folder.join("node_modules").join(path).join("package.json").exists() {
        return Ok(());
    }
    let prefix = folder.to_string_lossy().into_owned();
    let quiet = ["--no-save", "--no-audit", "--no-fund", "--ignore-scripts"];
    shell.step(name, "npm", &[&["install", "--prefix", &prefix], quiet.as_slice(), &[package]].concat())
}

/// The packages that signatures are checked against.
fn standard_webhooks(shell: &Shell) -> Result {
    let [npm, pip] = STANDARD_WEBHOOKS;
    npm_peer(shell, "standardwebhooks", npm)?;
    let folder = shell.target().join("peers/standardwebhooks/python");
    if folder.join("standardwebhooks").exists() {
        return Ok(());
    }
    let target = folder.to_string_lossy().into_owned();
    shell.step("standardwebhooks", "python3", &["-m", "pip", "install", "--quiet", "--target", &target, pip])
}

/// FastAPI and uvicorn, in an environment of their own; returns its Python.
pub(crate) fn fast_api(shell: &Shell) -> Result<String> {
    debian(shell, &[("python3", &["-c", "import venv, ensurepip"], "python3-venv")])?;
    let folder = shell.target().join("peers/fastapi").to_string_lossy().into_owned();
    let python = format!("{folder}/bin/python");
    if !shell.works(&python, &["-c", "import fastapi, uvicorn, uvloop, httptools"]) {
        shell.step("fastapi", "python3", &["-m", "venv", &folder])?;
        shell.step("fastapi", &python, &[&["-m", "pip", "install", "--quiet"], FAST_API.as_slice()].concat())?;
    }
    Ok(python)
}

/// The licence checker.
pub(crate) fn cargo_deny(shell: &Shell) -> Result {
    cargo_tool(shell, "cargo-deny", CARGO_DENY, &["deny", "--version"])
}

/// The fuzzer.
pub(crate) fn cargo_fuzz(shell: &Shell) -> Result {
    cargo_tool(shell, "cargo-fuzz", CARGO_FUZZ, &["fuzz", "--version"])
}

fn cargo_tool(shell: &Shell, name: &str, version: &str, probe: &[&str]) -> Result {
    if shell.works("cargo", probe) {
        return Ok(());
    }
    shell.step(name, "cargo", &["install", "--locked", "--version", version, name])
}

fn debian(shell: &Shell, tools: &[Tool]) -> Result {
    let missing: Vec<_> = tools
        .iter()
        .filter(|(program, probe, _)| !shell.works(program, probe))
        .map(|(_, _, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !shell.works("apt-get", &["--version"]) {
        return Err(format!("please install: {}", missing.join(" ")));
    }
    let sudo = if shell.output("id", &["-u"])?.trim() == "0" { "env" } else { "sudo" };
    shell.step("package lists", sudo, &["apt-get", "update", "--quiet"])?;
    shell.step(
        "packages",
        sudo,
        &[&["apt-get", "install", "--yes", "--no-install-recommends"], missing.as_slice()].concat(),
    )
}
