//! Where objects are kept.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::signer::Signer;
use object_store::{ClientOptions, ObjectStore, ObjectStoreScheme, RetryConfig};
use offhook::{Error, ErrorKind, Result};
use url::Url;

use crate::map::{map, map_io};

/// Longest wait for a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for the answer to one request.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a request is tried again that the place could not take.
pub const RETRIES_MAX: usize = 5;
/// No new attempt is begun after this.
pub const RETRY_TIMEOUT: Duration = Duration::from_secs(120);

const OPERATION: &str = "blob.open";

/// Where objects are kept.
pub(crate) enum Place {
    Folder(PathBuf),
    Remote { kind: &'static str, prefix: ObjectPath, url: String },
}

type Options = Vec<(String, String)>;
type Opened = (Place, Arc<dyn ObjectStore>, Option<Arc<dyn Signer>>);

/// The place that `text` names, a folder or a URL.
pub(crate) fn open(text: &str, options: Options) -> Result<Opened> {
    // A drive letter is no scheme.
    if !text.contains("://") {
        return open_local(Path::new(text), &options);
    }
    let url = Url::parse(text).map_err(|error| unknown(text).with_source(error))?;
    if url.scheme() == "file" {
        return open_local(&url.to_file_path().map_err(|()| unknown(text))?, &options);
    }
    let (scheme, prefix) = ObjectStoreScheme::parse(&url).map_err(|error| unknown(text).with_source(error))?;
    let remote = |kind| Place::Remote { kind, prefix: prefix.clone(), url: text.trim_end_matches('/').to_owned() };
    match scheme {
        ObjectStoreScheme::AmazonS3 => {
            let builder = AmazonS3Builder::new().with_url(text).with_retry(retries()).with_client_options(client());
            let builder = options
                .iter()
                .try_fold(builder, |builder, (name, value)| Ok(builder.with_config(known(name)?, value)))?;
            let store = Arc::new(builder.build().map_err(invalid)?);
            Ok((remote("s3"), store.clone(), Some(store)))
        }
        ObjectStoreScheme::GoogleCloudStorage => {
            let builder =
                GoogleCloudStorageBuilder::new().with_url(text).with_retry(retries()).with_client_options(client());
            let builder = options
                .iter()
                .try_fold(builder, |builder, (name, value)| Ok(builder.with_config(known(name)?, value)))?;
            let store = Arc::new(builder.build().map_err(invalid)?);
            Ok((remote("gcs"), store.clone(), Some(store)))
        }
        ObjectStoreScheme::MicrosoftAzure => {
            let builder =
                MicrosoftAzureBuilder::new().with_url(text).with_retry(retries()).with_client_options(client());
            let builder = options
                .iter()
                .try_fold(builder, |builder, (name, value)| Ok(builder.with_config(known(name)?, value)))?;
            let store = Arc::new(builder.build().map_err(invalid)?);
            Ok((remote("azure"), store.clone(), Some(store)))
        }
        _ => Err(unknown(text)),
    }
}

/// A folder, which is made when it is missing.
pub(crate) fn open_folder(folder: &Path) -> Result<(Place, Arc<dyn ObjectStore>)> {
    std::fs::create_dir_all(folder).map_err(|error| map_io(OPERATION, error))?;
    let folder = folder.canonicalize().map_err(|error| map_io(OPERATION, error))?;
    let store = LocalFileSystem::new_with_prefix(&folder).map_err(|error| map(OPERATION, error))?;
    Ok((Place::Folder(folder), Arc::new(store.with_fsync(true))))
}

impl Place {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Folder(_) => "folder",
            Self::Remote { kind, .. } => kind,
        }
    }

    /// Where the store has the object of that key.
    pub(crate) fn path(&self, key: &str) -> Result<ObjectPath, object_store::path::Error> {
        let path = ObjectPath::parse(key)?;
        Ok(match self {
            Self::Folder(_) => path,
            Self::Remote { prefix, .. } => prefix.parts().chain(path.parts()).collect(),
        })
    }

    /// The same for people.
    pub(crate) fn location(&self, key: &str) -> String {
        match self {
            Self::Folder(folder) => folder.join(key).display().to_string(),
            Self::Remote { url, .. } => format!("{url}/{key}"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(f),
            Self::Remote { url, .. } => f.write_str(url),
        }
    }
}

fn open_local(folder: &Path, options: &Options) -> Result<Opened> {
    if let Some((name, _)) = options.first() {
        let message = "a folder has no options";
        return Err(Error::new(ErrorKind::ConfigInvalid, OPERATION, message).with_context("option", name));
    }
    let (place, store) = open_folder(folder)?;
    Ok((place, store, None))
}

fn client() -> ClientOptions {
    ClientOptions::new().with_connect_timeout(CONNECT_TIMEOUT).with_timeout(REQUEST_TIMEOUT)
}

fn retries() -> RetryConfig {
    RetryConfig { max_retries: RETRIES_MAX, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() }
}

fn known<K: std::str::FromStr<Err = object_store::Error>>(name: &str) -> Result<K> {
    name.to_lowercase().parse().map_err(|error| map(OPERATION, error).with_context("option", name))
}

fn invalid(error: object_store::Error) -> Error {
    Error::new(ErrorKind::ConfigInvalid, OPERATION, "the options do not fit the place").with_source(error)
}

fn unknown(text: &str) -> Error {
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    let message = "a place is a folder or a URL that begins with file, s3, gs or az";
    Error::new(ErrorKind::ConfigInvalid, OPERATION, message).with_context("scheme", scheme)
}
