//! [`Options`]: where the database is, and how much of it to use.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use offhook::provider::store::catalog::NAME_BYTES_MAX;
use offhook::{Error, ErrorKind, Result};
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use crate::tls::Trust;

/// How long connecting may take, unless the URL says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long what was sent may stay unacknowledged by the network, unless the URL says otherwise.
const NETWORK_TIMEOUT: Duration = Duration::from_secs(15);
const CONNECTIONS: usize = 16;
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// Where a [`PostgresStore`](crate::PostgresStore) finds its database, and how much of it it uses.
#[derive(Clone)]
pub struct Options {
    pub(crate) config: Config,
    pub(crate) connections: usize,
    pub(crate) namespace: String,
    pub(crate) place: String,
    pub(crate) statement_timeout: Duration,
    pub(crate) trust: Trust,
}

impl Options {
    /// From a URL or a list of keys and values, as `libpq` takes them (PostgreSQL's documentation, 34.1.1).
    ///
    /// `sslmode` is honoured: `disable`; `prefer`, which is the default, and `require` encrypt and trust any certificate;
    /// `verify-ca` and `verify-full` trust the authorities in `sslrootcert`, a file, or the public ones without it. As
    /// with `libpq`, `sslrootcert` makes `require` verify too. `ConfigInvalid` for what cannot be read.
    pub fn new(url: &str) -> Result<Self> {
        let (url, sslmode) = take(url, "sslmode");
        let (url, root_file) = take(&url, "sslrootcert");
        let mut config: Config = url.parse().map_err(|error| {
            Error::new(ErrorKind::ConfigInvalid, "store.open", "the database's URL cannot be read").with_source(error)
        })?;
        let trust = Trust::new(sslmode.as_deref(), root_file.as_deref().map(Path::new))?;
        config.ssl_mode(trust.ssl_mode());
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(NETWORK_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("offhook");
        }
        let place = place(&config);
        let namespace = "offhook".to_owned();
        Ok(Self { config, connections: CONNECTIONS, namespace, place, statement_timeout: STATEMENT_TIMEOUT, trust })
    }

    /// The schema of the database that holds all tables and views, `offhook` unless told; it is made if there is none.
    /// `ConfigInvalid` unless it is 1 to 48 of `a-z`, `0-9` and `_`, and no name that PostgreSQL keeps to itself.
    pub fn namespace(mut self, name: &str) -> Result<Self> {
        let sound = !name.is_empty()
            && name.len() <= NAME_BYTES_MAX
            && !name.starts_with("pg_")
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if !sound {
            return Err(Error::new(ErrorKind::ConfigInvalid, "store.open", "no name for a schema of the database"));
        }
        name.clone_into(&mut self.namespace);
        Ok(self)
    }

    /// Most connections at once, 16 unless told and never less than one.
    #[must_use]
    pub fn connections(mut self, most: usize) -> Self {
        self.connections = most.max(1);
        self
    }

    /// How long one statement may take, 30 s unless told and never less than a millisecond.
    #[must_use]
    pub fn statement_timeout(mut self, most: Duration) -> Self {
        self.statement_timeout = most.max(Duration::from_millis(1));
        self
    }
}

/// Without the password.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("place", &self.place)
            .field("namespace", &self.namespace)
            .field("connections", &self.connections)
            .field("statement_timeout", &self.statement_timeout)
            .finish_non_exhaustive()
    }
}

/// Where it is, for people.
fn place(config: &Config) -> String {
    let ports = config.get_ports();
    let hosts = config.get_hosts().iter().enumerate().map(|(number, host)| {
        let port = ports.get(number).or(ports.first()).copied().unwrap_or(5432);
        match host {
            Host::Tcp(name) => format!("{name}:{port}"),
            Host::Unix(folder) => format!("{}:{port}", folder.display()),
        }
    });
    let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
    format!("{}/{database}", hosts.collect::<Vec<_>>().join(","))
}

/// `url` without the parameter `name`, and its value. The driver knows fewer values than `libpq`.
fn take(url: &str, name: &str) -> (String, Option<String>) {
    let Some((start, parameters, separator)) = split(url) else {
        return (url.to_owned(), None);
    };
    let mut value = None;
    let kept = parameters.split(separator).filter(|parameter| match parameter.split_once('=') {
        Some((key, text)) if key == name => {
            value = Some(text.to_owned());
            false
        }
        _ => true,
    });
    let kept: Vec<&str> = kept.collect();
    (format!("{start}{}", kept.join(&separator.to_string())), value)
}

/// What stands before the parameters, the parameters, and what stands between them.
fn split(url: &str) -> Option<(&str, &str, char)> {
    if url.contains("://") {
        let question = url.find('?')? + 1;
        return Some((&url[..question], &url[question..], '&'));
    }
    Some(("", url, ' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_lists_are_read() {
        let options = Options::new("postgres://me:secret@db.example:5433/calls?sslmode=verify-full").unwrap();
        assert_eq!(options.place, "db.example:5433/calls");
        let options = Options::new("host=/run/postgresql user=me sslmode=disable dbname=calls").unwrap();
        assert_eq!(options.place, "/run/postgresql:5432/calls");
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let wrong = ["postgres://host:port/", "sslmode", "postgres://host/?sslmode=maybe", "postgres://h/?unknown=1"];
        for url in wrong.into_iter().chain(["postgres://host/?sslmode=verify-ca&sslrootcert=/nowhere.pem"]) {
            let kind = Options::new(url).err().map(|error| error.kind());
            assert_eq!(kind, Some(ErrorKind::ConfigInvalid), "{url}");
        }
    }

    #[test]
    fn the_password_is_not_shown() {
        let options = Options::new("postgres://me:secret@db.example/calls").unwrap();
        assert!(!format!("{options:?}").contains("secret"));
    }

    #[test]
    fn names_that_sql_could_trip_over_are_refused() {
        for name in ["", "Calls", "a\"b", "pg_calls", &"a".repeat(49)] {
            let refused = Options::new("postgres://host/").unwrap().namespace(name);
            assert_eq!(refused.err().map(|error| error.kind()), Some(ErrorKind::ConfigInvalid), "{name}");
        }
        assert_eq!(Options::new("postgres://host/").unwrap().namespace("calls_2").unwrap().namespace, "calls_2");
    }
}
