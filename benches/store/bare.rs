//! The databases by themselves: the same tables, indexes and writes, and nothing else.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use futures_util::future::try_join_all;
use rusqlite::Connection;
use tokio::sync;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Statement};

use crate::{ACCOUNTS, CLIENTS, Settle, Settlement};

const AT: i64 = 1_800_000_000_000_000;
const STATUS: &str = "ended";
const KINDS: [&str; 3] = ["call", "entry", "message"];

/// One connection that all clients share, as SQLite has one writer.
pub(crate) struct BareSqlite(Mutex<Connection>);

impl BareSqlite {
    pub(crate) fn open(path: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        connection.execute_batch(
            "PRAGMA synchronous = FULL; CREATE TABLE counters (tenant TEXT NOT NULL, name TEXT NOT NULL, \
             value INTEGER NOT NULL, PRIMARY KEY (tenant, name)) STRICT, WITHOUT ROWID;",
        )?;
        for kind in KINDS {
            connection.execute_batch(&format!(
                "CREATE TABLE {kind} (tenant TEXT NOT NULL, id TEXT NOT NULL, revision INTEGER NOT NULL, due_at INTEGER, \
                 body TEXT NOT NULL, at INTEGER, status TEXT, UNIQUE (tenant, id)) STRICT;
                 CREATE INDEX {kind}_due ON {kind} (due_at, id, tenant) WHERE due_at IS NOT NULL;
                 CREATE INDEX {kind}_at ON {kind} (tenant, at, id);
                 CREATE INDEX {kind}_status ON {kind} (status, tenant, id) WHERE status IS NOT NULL;"
            ))?;
        }
        Ok(Self(Mutex::new(connection)))
    }

    fn write(&self, settlement: &Settlement) -> rusqlite::Result<()> {
        let Settlement { tenant, call, message, entry, moves, body } = settlement;
        let mut connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let (tenant, body) = (tenant.to_string(), body.to_string());
        for (kind, id) in [("call", call), ("message", message)] {
            transaction.prepare_cached(&upsert(kind, "?"))?.execute((&tenant, id, &body, AT, STATUS))?;
        }
        for (account, delta) in ACCOUNTS.iter().zip(moves) {
            let sql =
                "INSERT INTO counters VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET value = value + ?3 RETURNING value";
            transaction.prepare_cached(sql)?.query_row((&tenant, account, delta), |row| row.get::<_, i64>(0))?;
        }
        transaction.prepare_cached(&insert("entry", "?"))?.execute((&tenant, entry, &body, AT, STATUS))?;
        transaction.commit()
    }
}

impl Settle for BareSqlite {
    fn settle<'a>(&'a self, _: usize, settlement: &'a Settlement) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move { self.write(settlement).expect("a commit") })
    }
}

/// A connection for each client.
pub(crate) struct BarePostgres {
    clients: Vec<sync::Mutex<(Client, Statements)>>,
    pipelines: bool,
}

struct Statements {
    add: Statement,
    call: Statement,
    entry: Statement,
    message: Statement,
}

impl BarePostgres {
    pub(crate) async fn connect(url: &str, pipelines: bool) -> Result<Self, tokio_postgres::Error> {
        let mut clients = Vec::new();
        for number in 0..CLIENTS.into_iter().max().unwrap_or(1) {
            let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
            tokio::spawn(connection);
            if number == 0 {
                client.batch_execute(&tables()).await?;
            }
            let statements = Statements {
                add: client
                    .prepare(
                        "INSERT INTO bare.counters AS counter VALUES ($1::text::uuid, $2, $3) ON CONFLICT (tenant, name) \
                         DO UPDATE SET value = counter.value + $3 RETURNING value",
                    )
                    .await?,
                call: client.prepare(&upsert("bare.call", "$")).await?,
                entry: client.prepare(&insert("bare.entry", "$")).await?,
                message: client.prepare(&upsert("bare.message", "$")).await?,
            };
            clients.push(sync::Mutex::new((client, statements)));
        }
        Ok(Self { clients, pipelines })
    }

    async fn write(&self, client: usize, settlement: &Settlement) -> Result<(), tokio_postgres::Error> {
        let (client, statements) = &*self.clients[client].lock().await;
        let Settlement { tenant, call, message, entry, moves, body } = settlement;
        let (tenant, body) = (tenant.to_string(), body.to_string());
        let row = |id| -> Vec<&(dyn ToSql + Sync)> { vec![&tenant, id, &body, &AT, &STATUS] };
        let mut writes = vec![(&statements.call, row(call)), (&statements.message, row(message))];
        for (account, delta) in ACCOUNTS.iter().zip(moves) {
            writes.push((&statements.add, vec![&tenant, account, delta]));
        }
        writes.push((&statements.entry, row(entry)));
        if self.pipelines {
            let all = try_join_all(writes.iter().map(|(statement, values)| client.query(*statement, values)));
            let (begun, written, committed) =
                futures_util::join!(client.batch_execute("BEGIN"), all, client.batch_execute("COMMIT"));
            return begun.and(written.map(|_| ())).and(committed);
        }
        client.batch_execute("BEGIN").await?;
        for (statement, values) in &writes {
            client.query(*statement, values).await?;
        }
        client.batch_execute("COMMIT").await
    }
}

impl Settle for BarePostgres {
    fn settle<'a>(
        &'a self,
        client: usize,
        settlement: &'a Settlement,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async move { self.write(client, settlement).await.expect("a commit") })
    }
}

fn tables() -> String {
    let mut sql =
        "DROP SCHEMA IF EXISTS bare CASCADE; CREATE SCHEMA bare; CREATE TABLE bare.counters (tenant uuid NOT NULL, \
        name text COLLATE \"C\" NOT NULL, value bigint NOT NULL, PRIMARY KEY (tenant, name)) WITH (fillfactor = 70);"
            .to_owned();
    for kind in KINDS {
        sql.push_str(&format!(
            "CREATE TABLE bare.{kind} (tenant uuid NOT NULL, id text COLLATE \"C\" NOT NULL, revision bigint NOT NULL, \
             due_at bigint, body json NOT NULL, at bigint, status text COLLATE \"C\", UNIQUE (tenant, id)); \
             CREATE INDEX ON bare.{kind} (due_at, id, tenant) WHERE due_at IS NOT NULL; \
             CREATE INDEX ON bare.{kind} (tenant, at, id); \
             CREATE INDEX ON bare.{kind} (status, tenant, id) WHERE status IS NOT NULL;"
        ));
    }
    sql
}

fn insert(table: &str, place: &str) -> String {
    let (tenant, body) = match place {
        "$" => ("$1::text::uuid", "$3::text::json"),
        _ => ("?1", "?3"),
    };
    format!(
        "INSERT INTO {table} (tenant, id, revision, body, at, status) VALUES ({tenant}, {place}2, 1, {body}, {place}4, {place}5)"
    )
}

fn upsert(table: &str, place: &str) -> String {
    let name = table.rsplit('.').next().unwrap_or(table);
    format!(
        "{} ON CONFLICT (tenant, id) DO UPDATE SET revision = {name}.revision + 1, body = excluded.body, \
         at = excluded.at, status = excluded.status",
        insert(table, place)
    )
}
