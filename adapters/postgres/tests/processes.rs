//! Several processes on one database, one of them killed while it writes, and a disk that is full.

mod support;

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use libtest_mimic::Failed;
use offhook::Result;
use offhook::provider::Store;
use offhook::provider::store::Schema;
use offhook_testkit::behaviour::Verdict;
use offhook_testkit::disk::SmallDisk;
use offhook_testkit::postgres::Cluster;
use offhook_testkit::store::processes::{self, Database};

/// An empty database has some eight megabytes.
const DISK_BYTES: usize = 20 << 20;
const BALLAST_BYTES: usize = 8 << 20;
/// How often to look whether the connections of a killed process are gone.
const LOOKS_MAX: usize = 200;
const OTHERS: &str = "SELECT count(*) FROM pg_stat_activity \
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";

fn main() -> Result<ExitCode, Failed> {
    processes::run::<OfServer>()
}

struct OfServer {
    url: String,
    disk: Option<SmallDisk>,
}

impl Database for OfServer {
    fn create() -> Result<Self, Failed> {
        Ok(Self { url: Cluster::shared().database()?, disk: None })
    }

    fn create_small() -> Result<Option<Self>, Failed> {
        let Some(disk) = SmallDisk::mount(DISK_BYTES, BALLAST_BYTES)? else { return Ok(None) };
        let (cluster, place) = (Cluster::shared(), disk.folder().join("tables"));
        std::fs::create_dir(&place)?;
        cluster.give(&place)?;
        let sql = format!("CREATE TABLESPACE small LOCATION '{}'", place.display());
        cluster.sql(&cluster.url("postgres"), &sql)?;
        Ok(Some(Self { url: cluster.database_with("TABLESPACE small")?, disk: Some(disk) }))
    }

    fn make_room(&self) -> Verdict {
        self.disk.as_ref().map_or(Ok(()), |disk| Ok(disk.make_room()?))
    }

    fn address(&self) -> String {
        self.url.clone()
    }

    fn open(address: &str, schema: Schema) -> Result<Arc<dyn Store>> {
        Ok(Arc::new(support::open(address, schema)?))
    }

    fn check(&self) -> Verdict {
        for _ in 0..LOOKS_MAX {
            if Cluster::shared().sql(&self.url, OTHERS)? == "0" {
                return Ok(Cluster::shared().check(&self.url)?);
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err("connections stay open".into())
    }
}
