//! A copy of a database that others go on writing to.

use std::path::Path;
use std::time::Duration;

use offhook::{Error, ErrorKind, Result};
use rusqlite::{Connection, OpenFlags};

const OPERATION: &str = "store.backup";

pub(crate) fn run(from: &Path, to: &Path, busy_timeout: Duration) -> Result<()> {
    if !from.exists() {
        return Err(Error::new(ErrorKind::NotFound, OPERATION, "there is no database"));
    }
    if to.exists() {
        return Err(Error::new(ErrorKind::Conflict, OPERATION, "there is such a file already"));
    }
    let failed = |error: rusqlite::Error| {
        Error::new(ErrorKind::Unavailable, OPERATION, "the database cannot be copied").with_source(error)
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(from, flags).map_err(failed)?;
    connection.busy_timeout(busy_timeout).map_err(failed)?;
    let to = to.to_str().ok_or_else(|| Error::new(ErrorKind::ConfigInvalid, OPERATION, "the path is not UTF-8"))?;
    connection.execute("VACUUM INTO ?1", [to]).map_err(failed)?;
    Ok(())
}
