//! A disk that is soon full.

#![expect(clippy::disallowed_methods, reason = "a disk is made of files")]

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cleanup::Cleanup;

/// A disk in memory of a few megabytes, some of which a file takes that can be removed. It is gone with the process.
pub struct SmallDisk {
    folder: PathBuf,
    _cleanup: Cleanup,
}

impl SmallDisk {
    /// One of `bytes`, of which `ballast` are taken; `None` unless this runs as root, who alone may mount a disk.
    pub fn mount(bytes: usize, ballast: usize) -> io::Result<Option<Self>> {
        if fs::metadata("/proc/self")?.uid() != 0 {
            return Ok(None);
        }
        let folder = tempfile::Builder::new().prefix("offhook-disk-").tempdir()?.keep();
        let cleanup = Cleanup::new(&format!("umount --lazy {0}; rmdir {0}", folder.display()))?;
        let options = format!("size={bytes},mode=0777");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&folder).status()?;
        if !mount.success() {
            return Ok(None);
        }
        fs::write(folder.join("ballast"), vec![0; ballast])?;
        Ok(Some(Self { folder, _cleanup: cleanup }))
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes the ballast.
    pub fn make_room(&self) -> io::Result<()> {
        fs::remove_file(self.folder.join("ballast"))
    }
}
