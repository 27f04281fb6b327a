//! Several processes on one file, one of them killed while it writes, and a disk that is full.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::Failed;
use offhook::Result;
use offhook::provider::Store;
use offhook::provider::store::Schema;
use offhook_sqlite::SqliteStore;
use offhook_testkit::behaviour::Verdict;
use offhook_testkit::disk::SmallDisk;
use offhook_testkit::store::processes::{self, Database};
use rusqlite::Connection;
use tempfile::TempDir;

const DISK_BYTES: usize = 8 << 20;

fn main() -> Result<ExitCode, Failed> {
    processes::run::<File>()
}

struct File {
    path: PathBuf,
    disk: Option<SmallDisk>,
    _folder: Option<TempDir>,
}

impl Database for File {
    fn create() -> Result<Self, Failed> {
        let folder = tempfile::tempdir()?;
        Ok(Self { path: folder.path().join("shared.db"), disk: None, _folder: Some(folder) })
    }

    fn create_small() -> Result<Option<Self>, Failed> {
        let disk = SmallDisk::mount(DISK_BYTES, DISK_BYTES / 2)?;
        Ok(disk.map(|disk| Self { path: disk.folder().join("small.db"), disk: Some(disk), _folder: None }))
    }

    fn make_room(&self) -> Verdict {
        self.disk.as_ref().map_or(Ok(()), |disk| Ok(disk.make_room()?))
    }

    fn address(&self) -> String {
        self.path.display().to_string()
    }

    fn open(address: &str, schema: Schema) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(SqliteStore::open(address, schema)?))
    }

    fn check(&self) -> Verdict {
        let connection = Connection::open(&self.path)?;
        let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        if verdict == "ok" { Ok(()) } else { Err(verdict.into()) }
    }
}
