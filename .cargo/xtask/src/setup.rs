//! What a bare Debian machine lacks.

use crate::shell::{Result, Shell};

/// Mock of the chat completions API, as an npm package.
const AIMOCK: &str = "@copilotkit/aimock@1.43.0";

/// The reference implementations of signed webhooks, as npm and as Python packages.
const STANDARD_WEBHOOKS: [&str; 2] = ["standardwebhooks@1.1.1", "standardwebhooks==1.1.0"];

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

/// Everything for the programs and the tests.
pub(crate) fn everything(shell: &Shell) -> Result {
    speech(shell)?;
    aimock(shell)?;
    standard_webhooks(shell)
}

/// The speech models, and the tools to fetch them.
pub(crate) fn speech(shell: &Shell) -> Result {
    debian(shell, &FOR_SPEECH)?;
    // Shown, because the first build takes minutes.
    shell.run("cargo", &["build", "--package", "offhook-cli"])?;
    shell.run("cargo", &["run", "--quiet", "--package", "offhook-cli", "--", "setup"])
}

/// The mock server for the tests of the OpenAI adapter.
fn aimock(shell: &Shell) -> Result {
    let folder = shell.target().join("peers/aimock");
    let installed = folder.join("node_modules/@copilotkit/aimock/package.json");
    if installed.exists() {
        return Ok(());
    }
    let prefix = folder.to_string_lossy().into_owned();
    let quiet = ["--no-save", "--no-audit", "--no-fund", "--ignore-scripts"];
    shell.step("mock server", "npm", &[&["install", "--prefix", &prefix], quiet.as_slice(), &[AIMOCK]].concat())
}

/// The packages that signatures are checked against.
fn standard_webhooks(shell: &Shell) -> Result {
    let folder = shell.target().join("peers/standardwebhooks");
    let prefix = folder.to_string_lossy().into_owned();
    let target = folder.join("python").to_string_lossy().into_owned();
    let [npm, pip] = STANDARD_WEBHOOKS;
    if !folder.join("node_modules/standardwebhooks/package.json").exists() {
        let quiet = ["--no-save", "--no-audit", "--no-fund", "--ignore-scripts"];
        let install = [&["install", "--prefix", &prefix], quiet.as_slice(), &[npm]].concat();
        shell.step("signatures in JavaScript", "npm", &install)?;
    }
    if !folder.join("python/standardwebhooks").exists() {
        let install = ["-m", "pip", "install", "--quiet", "--target", &target, pip];
        shell.step("signatures in Python", "python3", &install)?;
    }
    Ok(())
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
