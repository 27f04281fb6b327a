//! A SQLite store keeps the promises of a store, in a file and in memory.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use offhook::provider::Store;
use offhook_sqlite::SqliteStore;
use offhook_testkit::{behaviour, store};

fn main() -> io::Result<ExitCode> {
    let folder = tempfile::tempdir()?;
    let (path, files) = (folder.path().to_owned(), AtomicUsize::new(0));
    let in_file = move || {
        let file = path.join(format!("{}.db", files.fetch_add(1, Ordering::Relaxed)));
        async move { Ok(Arc::new(SqliteStore::open(file, store::schema())?) as Arc<dyn Store>) }
    };
    let in_memory = || async { Ok(Arc::new(SqliteStore::open_in_memory(store::schema())?) as Arc<dyn Store>) };
    let mut trials = store::suite().trials("file", in_file);
    trials.extend(store::suite().trials("memory", in_memory));
    Ok(behaviour::run(trials))
}
