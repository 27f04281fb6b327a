//! Where a server keeps everything: the records, the recordings, and the key that seals customers' secrets.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use offhook::provider::Store;
use offhook::runtime::Runtime;
use offhook::service;
use offhook::service::desk::Desk;
use offhook::service::vault::VaultKey;
use offhook_postgres::PostgresStore;
use offhook_sqlite::SqliteStore;

use crate::blocking;
use crate::config::Config;
use crate::failure::{Failure, Outcome};
use crate::stage::DATABASE;

/// The file of the key in the folder.
const VAULT_KEY: &str = "vault.key";

/// An opened folder.
pub struct House {
    /// The records.
    pub store: Arc<dyn Store>,
    /// The newest first.
    pub vault_keys: Vec<VaultKey>,
}

impl House {
    /// Opens the folder and its database, and makes what is not there.
    pub async fn open(config: &Config, runtime: Arc<dyn Runtime>) -> Outcome<Self> {
        let unusable = format!("cannot use {}", config.data.display());
        let folder = config.data.clone();
        let vault_keys = blocking::run(&unusable, move || {
            fs::create_dir_all(&folder).map_err(Failure::new)?;
            vault_keys(&folder, &*runtime)
        })
        .await?;
        let store: Arc<dyn Store> = match &config.postgres {
            Some(url) => Arc::new(PostgresStore::connect(url, service::schema()).await?),
            None => {
                let path = config.data.join(DATABASE);
                Arc::new(blocking::run(unusable, move || SqliteStore::open(path, service::schema())).await?)
            }
        };
        Ok(Self { store, vault_keys })
    }

    /// What needs no engine.
    pub fn desk(&self, config: &Config, runtime: Arc<dyn Runtime>) -> Desk {
        Desk::new(runtime, self.store.clone(), self.vault_keys.clone(), config.reach.clone())
    }
}

/// The keys of the folder, one a line; the first is made when there is none.
fn vault_keys(folder: &Path, runtime: &dyn Runtime) -> Outcome<Vec<VaultKey>> {
    let path = folder.join(VAULT_KEY);
    let unusable = |error: std::io::Error| Failure::new(format_args!("{}: {error}", path.display()));
    match write_new(&path, &VaultKey::generate(runtime).expose()) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        result => result.map_err(unusable)?,
    }
    let text = fs::read_to_string(&path).map_err(unusable)?;
    let keys = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(VaultKey::parse);
    let keys: Vec<_> = keys.collect::<Result<_, _>>()?;
    if keys.is_empty() {
        return Err(Failure::new(format_args!("{} is empty", path.display())));
    }
    Ok(keys)
}

/// Writes a file that nobody else may read and that was not there, whole or not at all.
fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    if path.exists() {
        return Err(std::io::ErrorKind::AlreadyExists.into());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    // Readable by its owner alone, as the crate makes temporary files.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    writeln!(file, "{text}")?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map(drop).map_err(|error| error.error)
}
