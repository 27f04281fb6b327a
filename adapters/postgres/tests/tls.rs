//! `sslmode` means what it means elsewhere.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use futures_lite::future::block_on;
use offhook::provider::Store;
use offhook::provider::store::{Batch, CounterKey, Schema};
use offhook::{ErrorKind, Result};
use offhook_postgres::PostgresStore;
use offhook_testkit::postgres::Cluster;
use offhook_testkit::store::tenant;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

#[test]
fn sslmode_decides_on_encryption_and_on_trust() {
    let server = Server::start();
    let (ours, other) = (server.authority.display(), server.other_authority.display());
    let cases = [
        ("127.0.0.1", "sslmode=disable".to_owned(), Ok(false)),
        ("127.0.0.1", "connect_timeout=9".to_owned(), Ok(true)),
        ("127.0.0.1", "sslmode=prefer".to_owned(), Ok(true)),
        ("127.0.0.1", "sslmode=require".to_owned(), Ok(true)),
        ("127.0.0.1", format!("sslmode=require&sslrootcert={ours}"), Ok(true)),
        ("127.0.0.1", format!("sslmode=require&sslrootcert={other}"), Err(ErrorKind::ConfigInvalid)),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={ours}"), Ok(true)),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={other}"), Err(ErrorKind::ConfigInvalid)),
        ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={ours}"), Ok(true)),
        ("127.0.0.1", "sslmode=verify-full".to_owned(), Err(ErrorKind::ConfigInvalid)),
        // The certificate is for the number and not for the name.
        ("localhost", format!("sslmode=verify-ca&sslrootcert={ours}"), Ok(true)),
        ("localhost", format!("sslmode=verify-full&sslrootcert={ours}"), Err(ErrorKind::ConfigInvalid)),
    ];
    for (host, parameters, expected) in cases {
        let outcome = server.is_encrypted(host, &parameters).map_err(|error| error.kind());
        assert_eq!(outcome, expected, "{host} {parameters}");
    }
}

#[test]
fn passwords_are_checked_over_tls() {
    let server = Server::start();
    let sql = "CREATE ROLE caller LOGIN SUPERUSER PASSWORD 'right'";
    server.cluster.sql(&server.cluster.url("postgres"), sql).unwrap();
    let rules = server.cluster.data().join("pg_hba.conf");
    fs::write(&rules, "hostssl all caller all scram-sha-256\nhost all offhook all trust\n").unwrap();
    server.cluster.sql(&server.cluster.url("postgres"), "SELECT pg_reload_conf()").unwrap();
    let url = |user: &str, mode: &str| {
        let url = server.cluster.url("postgres").replace("offhook@", &format!("{user}@"));
        format!("{url}?sslmode={mode}&sslrootcert={}", server.authority.display())
    };
    assert!(open(&url("caller:right", "verify-full")).is_ok());
    for (user, mode) in [("caller:wrong", "require"), ("caller:right", "disable")] {
        assert_eq!(open(&url(user, mode)).err().unwrap().kind(), ErrorKind::Unauthenticated, "{user} {mode}");
    }
}

/// A server with a certificate for `127.0.0.1`.
struct Server {
    cluster: Cluster,
    authority: PathBuf,
    other_authority: PathBuf,
    _folder: TempDir,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cluster = Cluster::start(&["fsync=off"]).unwrap();
        let [ours, other] = ["ours", "other"].map(|_| authority());
        let [authority, other_authority] = [("ours.pem", &ours), ("other.pem", &other)].map(|(name, issuer)| {
            let path = folder.path().join(name);
            fs::write(&path, issuer.pem()).unwrap();
            path
        });
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &ours).unwrap();
        for (name, text) in [("server.crt", certificate.pem()), ("server.key", key.serialize_pem())] {
            let path = cluster.data().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            cluster.give(&path).unwrap();
        }
        for sql in ["ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()"] {
            cluster.sql(&cluster.url("postgres"), sql).unwrap();
        }
        Self { cluster, authority, other_authority, _folder: folder }
    }

    /// Whether the connections of a store with these `parameters` are encrypted.
    fn is_encrypted(&self, host: &str, parameters: &str) -> Result<bool> {
        let url = self.cluster.url("postgres");
        let store = open(&format!("{}?{parameters}&application_name=tls", url.replace("127.0.0.1", host)))?;
        let mut read = Batch::default();
        read.add(offhook::provider::store::Add::read(CounterKey::new(tenant(1), "a")));
        block_on(store.commit(read))?;
        let sql =
            "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'tls'";
        let answer = self.cluster.sql(&url, sql).unwrap();
        let database = self
            .cluster
            .sql(&url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tls'");
        database.unwrap();
        Ok(answer == "t")
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn open(url: &str) -> Result<PostgresStore> {
    support::open(url, Schema { kinds: Vec::new() })
}
