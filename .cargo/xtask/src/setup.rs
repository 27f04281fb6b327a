//! What a bare Debian machine lacks.

use crate::shell::{Result, Shell};

/// Mock of the chat completions API, as an npm package.
const AIMOCK: &str = "@copilotkit/aimock@1.43.0";

/// The reference implementations of signed webhooks, as npm and as Python packages.
const STANDARD_WEBHOOKS: [&str; 2] = ["standardwebhooks@1.1.1", "standardwebhooks==1.1.0"];

/// Makers of clients out of OpenAPI documents, and what the vendors' samples use, as npm and as Python packages.
const CLIENTS_NPM: [&str; 4] = ["openapi-typescript@7.13.0", "openapi-fetch@0.17.0", "typescript@5.9.3", "ws@8.18.3"];
const CLIENTS_PIP: [&str; 3] = ["openapi-python-client==0.29.1", "requests==2.34.2", "schemathesis==4.32.5"];

/// An object store that speaks as S3 does, as an npm package.
const S3RVER: &str = "s3rver@3.7.1";

/// What the server is measured against.
const FAST_API: [&str; 2] = ["fastapi==0.165.0", "uvicorn[standard]==0.54.0"];

/// The voice engines that ours is compared with, as Python packages.
const VOICE: [&str; 8] = [
    "pipecat-ai==1.14.0",
    "livekit-agents==1.8.9",
    "livekit-plugins-silero==1.8.9",
    "fastapi==0.163.2",
    "onnxruntime==1.31.1",
    "uvicorn[standard]==0.54.0",
    "webrtcvad-wheels==2.0.14.post1",
    "websockets==17.4",
];

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

/// Building libopus, and servers for the tests. Programs of Debian's PostgreSQL are not where commands are looked for.
const FOR_TESTS: [Tool; 3] = [
    ("cmake", &["--version"], "cmake"),
    ("curl", &["--version"], "curl"),
    ("sh", &["-c", "ls /usr/lib/postgresql/*/bin/initdb"], "postgresql"),
];

/// The peers in the race of audio.
const FOR_RACE: [Tool; 10] = [
    ("cc", &["--version"], "build-essential"),
    ("cmake", &["--version"], "cmake"),
    ("python3", &["--version"], "python3"),
    ("python3", &["-m", "pip", "--version"], "python3-pip"),
    ("sh", &["-c", "echo '#include <libavutil/opt.h>' | cc -E -"], "libavutil-dev"),
    ("sh", &["-c", "echo '#include <libswresample/swresample.h>' | cc -E -"], "libswresample-dev"),
    ("sh", &["-c", "echo '#include <opus/opus.h>' | cc -E -"], "libopus-dev"),
    ("sh", &["-c", "echo '#include <soxr.h>' | cc -E -"], "libsoxr-dev"),
    ("sh", &["-c", "echo '#include <spandsp.h>' | cc -E -"], "libspandsp-dev"),
    ("sh", &["-c", "echo '#include <speex/speex_resampler.h>' | cc -E -"], "libspeexdsp-dev"),
];

/// The arithmetic of the judge of resamplers, as a Python package, and a peer itself.
const NUMPY: &str = "numpy==2.4.6";

/// Everything for the programs and the tests.
pub(crate) fn everything(shell: &Shell) -> Result {
    speech(shell)?;
    debian(shell, &FOR_TESTS)?;
    npm_peer(shell, "aimock", &[AIMOCK])?;
    npm_peer(shell, "s3rver", &[S3RVER])?;
    standard_webhooks(shell)?;
    npm_peer(shell, "clients", &CLIENTS_NPM)?;
    pip_peer(shell, "clients", "schemathesis", &CLIENTS_PIP)
}

/// The speech models, and the tools to fetch them.
pub(crate) fn speech(shell: &Shell) -> Result {
    debian(shell, &FOR_SPEECH)?;
    // Shown, because the first build takes minutes.
    shell.run("cargo", &["build", "--package", "offhook-cli"])?;
    shell.run("cargo", &["run", "--quiet", "--package", "offhook-cli", "--", "setup"])
}

/// What the race of audio runs against, and its judge.
pub(crate) fn race(shell: &Shell) -> Result {
    debian(shell, &FOR_RACE)?;
    let folder = shell.target().join("peers/audio/python");
    if folder.join("numpy").exists() {
        return Ok(());
    }
    let target = folder.to_string_lossy().into_owned();
    shell.step("numpy", "python3", &["-m", "pip", "install", "--quiet", "--target", &target, NUMPY])
}

/// What the tests talk to, as npm packages in a folder.
fn npm_peer(shell: &Shell, name: &str, packages: &[&str]) -> Result {
    let folder = shell.target().join("peers").join(name);
    let is_there = |package: &&str| {
        let (path, _version) = package.rsplit_once('@').unwrap_or((package, ""));
        folder.join("node_modules").join(path).join("package.json").exists()
    };
    if packages.iter().all(is_there) {
        return Ok(());
    }
    let prefix = folder.to_string_lossy().into_owned();
    let quiet = ["--no-save", "--no-audit", "--no-fund", "--ignore-scripts"];
    shell.step(name, "npm", &[&["install", "--prefix", &prefix], quiet.as_slice(), packages].concat())
}

/// The same as Python packages, in a folder beside; `probe` is a package that is only there when all are.
fn pip_peer(shell: &Shell, name: &str, probe: &str, packages: &[&str]) -> Result {
    let folder = shell.target().join("peers").join(name).join("python");
    if folder.join(probe).exists() {
        return Ok(());
    }
    let target = folder.to_string_lossy().into_owned();
    shell.step(name, "python3", &[&["-m", "pip", "install", "--quiet", "--target", &target], packages].concat())
}

/// The packages that signatures are checked against.
fn standard_webhooks(shell: &Shell) -> Result {
    let [npm, pip] = STANDARD_WEBHOOKS;
    npm_peer(shell, "standardwebhooks", &[npm])?;
    pip_peer(shell, "standardwebhooks", "standardwebhooks", &[pip])
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

/// The engines that calls are compared with, in a folder of their own.
pub(crate) fn voice_engines(shell: &Shell) -> Result<String> {
    debian(shell, &[("python3", &["-c", "import venv, ensurepip"], "python3-venv")])?;
    let folder = shell.target().join("peers/voice").to_string_lossy().into_owned();
    let python = format!("{folder}/bin/python");
    if !shell.works(&python, &["-c", "import pipecat, livekit.agents, livekit.plugins.silero, webrtcvad, uvloop"]) {
        shell.step("voice engines", "python3", &["-m", "venv", &folder])?;
        shell.step("voice engines", &python, &[&["-m", "pip", "install", "--quiet"], VOICE.as_slice()].concat())?;
    }
    Ok(folder)
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
