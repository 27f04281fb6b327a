//! Opening a database: whose it is, and the changes it needs.
//!
//! The tables that every database has come from numbered scripts, counted in the table `offhook`. The tables of the kinds
//! follow the schema: what is missing is added, and what is no longer declared stays where it is.

use std::collections::BTreeMap;

use offhook::provider::store::IndexType;
use offhook::{Error, ErrorKind, Result};

use crate::error::Failure;
use crate::pool::{Connection, Pool, Query, Value};
use crate::table::{Table, Tables, qualified, quoted, sql_type};

const OPEN: &str = "store.open";
/// The scripts that bring a database from each version to the next.
const SCRIPTS: [&str; 1] = [include_str!("migrations/1.sql")];
/// The first version of PostgreSQL that can be asked for the end of a transaction by a number that never comes again.
const SERVER_VERSION_MIN: i32 = 130_000;
/// The lock that only one process holds while it changes a database: `ohdb` in ASCII.
const LOCK: i64 = 0x6f68_6462;
/// How long one change may take; building an index over what there is takes its time.
const CHANGE_TIMEOUT: &str = "10min";

const SERVER: &str = "SELECT current_setting('server_version_num')::integer, current_setting('server_encoding')";
/// Whether the namespace is there, what is in it, and whether that is ours.
const NAMESPACE: &str = "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1), \
    (SELECT count(*) FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)), \
    EXISTS (SELECT 1 FROM pg_class WHERE relname = 'offhook' AND relkind = 'r' \
        AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1))";
/// The columns of all tables and views of a namespace, in their order.
const COLUMNS: &str = "SELECT class.relname::text, attribute.attname::text, format_type(attribute.atttypid, NULL) \
    FROM pg_class AS class JOIN pg_attribute AS attribute ON attribute.attrelid = class.oid \
    WHERE class.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND class.relkind IN ('r', 'v') \
        AND attribute.attnum > 0 AND NOT attribute.attisdropped \
    ORDER BY class.relname, attribute.attnum";

/// Makes the database at `pool` have all of `tables`.
pub(crate) async fn open(pool: &Pool, tables: &Tables) -> Result<()> {
    let failed = |failure: Failure| failure.into_error(OPEN).with_context("place", pool.place());
    let connection = pool.get(OPEN).await.map_err(|error| failed(error.into()))?;
    check_server(&connection).await.map_err(failed)?;
    if changes(&connection, tables).await.map_err(failed)?.is_empty() {
        return Ok(());
    }
    // Another process may be about the same: look again once it cannot.
    match migrate(&connection, tables).await {
        Ok(()) => Ok(()),
        Err(failure) => Err(failed(connection.abandon(failure))),
    }
}

async fn check_server(connection: &Connection) -> Result<(), Failure> {
    let rows = connection.query(&Query { sql: SERVER, values: Vec::new() }).await?;
    let Some(row) = rows.first() else { return Err(invalid("the server does not say its version").into()) };
    let (version, encoding): (i32, &str) = (row.try_get(0)?, row.try_get(1)?);
    if version < SERVER_VERSION_MIN {
        return Err(invalid("the server is older than PostgreSQL 13").with_context("version", version).into());
    }
    if encoding != "UTF8" {
        return Err(invalid("the database does not hold UTF-8").with_context("encoding", encoding).into());
    }
    Ok(())
}

async fn migrate(connection: &Connection, tables: &Tables) -> Result<(), Failure> {
    connection.script(&format!("BEGIN; SELECT pg_advisory_xact_lock({LOCK});")).await?;
    let changes = changes(connection, tables).await?;
    connection.script(&format!("SET LOCAL statement_timeout = '{CHANGE_TIMEOUT}';")).await?;
    for change in changes {
        connection.script(&change).await?;
    }
    connection.script("COMMIT").await
}

/// The SQL that is missing.
async fn changes(connection: &Connection, tables: &Tables) -> Result<Vec<String>, Failure> {
    let version = read_version(connection, &tables.namespace).await?;
    let namespace = quoted(&tables.namespace);
    let mut changes = Vec::new();
    if version.is_none() {
        // Only where it is missing, because not everybody who may use a schema may make one.
        changes.push(format!("CREATE SCHEMA {namespace};"));
    }
    let version = version.unwrap_or(0);
    if version < SCRIPTS.len() {
        changes.push(format!(
            "SET LOCAL search_path = {namespace}; CREATE TABLE IF NOT EXISTS offhook (version bigint NOT NULL);"
        ));
        changes.extend(SCRIPTS[version..].iter().map(|script| (*script).to_owned()));
        changes.push(format!("DELETE FROM offhook; INSERT INTO offhook VALUES ({});", SCRIPTS.len()));
    }
    let mut columns = read_columns(connection, &tables.namespace).await?;
    for table in tables.iter() {
        let found = columns.remove(&format!("{}_records", table.kind));
        let view = columns.remove(&format!("{}_view", table.kind));
        add_table(&tables.namespace, table, found, view, &mut changes)?;
    }
    Ok(changes)
}

/// How many scripts the database has had, `None` where even the namespace is missing; `ConfigInvalid` when it is not ours
/// or from a newer release.
async fn read_version(connection: &Connection, namespace: &str) -> Result<Option<usize>, Failure> {
    let rows = connection.query(&Query { sql: NAMESPACE, values: vec![Box::new(namespace)] }).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let (exists, relations, is_ours): (bool, i64, bool) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    if relations == 0 {
        return Ok(exists.then_some(0));
    }
    let foreign = || invalid("the schema of the database belongs to another program");
    if !is_ours {
        return Err(foreign().with_context("namespace", namespace).into());
    }
    let sql = format!("SELECT max(version)::bigint FROM {}", qualified(namespace, "offhook"));
    let rows = connection.query(&Query { sql: &sql, values: Vec::new() }).await?;
    let version: Option<i64> = rows.first().map(|row| row.try_get(0)).transpose()?.flatten();
    let version = version.and_then(|version| usize::try_from(version).ok()).ok_or_else(foreign)?;
    if version > SCRIPTS.len() {
        let error = invalid("the database was made by a newer release");
        return Err(error.with_context("version", version).with_context("newest_known", SCRIPTS.len()).into());
    }
    Ok(Some(version))
}

/// Names and types, in their order.
type Columns = Vec<(String, String)>;

/// The columns of each table and view.
async fn read_columns(connection: &Connection, namespace: &str) -> Result<BTreeMap<String, Columns>, Failure> {
    let values: Vec<Value<'_>> = vec![Box::new(namespace)];
    let mut columns: BTreeMap<String, Columns> = BTreeMap::new();
    for row in connection.query(&Query { sql: COLUMNS, values }).await? {
        columns.entry(row.try_get(0)?).or_default().push((row.try_get(1)?, row.try_get(2)?));
    }
    Ok(columns)
}

fn add_table(
    namespace: &str,
    table: &Table,
    found: Option<Columns>,
    view: Option<Columns>,
    changes: &mut Vec<String>,
) -> Result<(), Failure> {
    if found.is_none() {
        // Names of indexes are left to PostgreSQL, which cuts them short and keeps them apart.
        changes.push(format!(
            "CREATE TABLE {name} (tenant uuid NOT NULL, id text COLLATE \"C\" NOT NULL, revision bigint NOT NULL, \
             due_at bigint, body json NOT NULL, UNIQUE (tenant, id));\n\
             CREATE INDEX ON {name} (due_at, id, tenant) WHERE due_at IS NOT NULL;",
            name = table.name,
        ));
    }
    let mut columns = found.unwrap_or_default();
    columns.retain(|(name, _)| !["tenant", "id", "revision", "due_at", "body"].contains(&name.as_str()));
    for (index, r#type) in &table.columns {
        let wanted = sql_type(*r#type);
        match columns.iter().find(|(column, _)| column == index) {
            Some((_, found)) if found == wanted => {}
            Some((_, found)) => {
                let error = invalid("an index has another type in the database").with_context("kind", table.kind);
                return Err(error.with_context("index", index).with_context("found", found).into());
            }
            None => {
                changes.push(add_column(table, index, *r#type));
                columns.push(((*index).to_owned(), wanted.to_owned()));
            }
        }
    }
    replace_view(namespace, table, &columns, view, changes);
    Ok(())
}

/// Numbers are mostly moments, listed in order within a tenant; texts are mostly looked up, often across tenants.
fn add_column(table: &Table, index: &str, r#type: IndexType) -> String {
    let (name, column) = (&table.name, quoted(index));
    match r#type {
        IndexType::Integer => format!(
            "ALTER TABLE {name} ADD COLUMN {column} bigint;\n\
             CREATE INDEX ON {name} (tenant, {column}, id);"
        ),
        IndexType::Text => format!(
            "ALTER TABLE {name} ADD COLUMN {column} text COLLATE \"C\";\n\
             CREATE INDEX ON {name} ({column}, tenant, id) WHERE {column} IS NOT NULL;"
        ),
    }
}

fn replace_view(namespace: &str, table: &Table, columns: &Columns, found: Option<Columns>, changes: &mut Vec<String>) {
    let fixed = [("tenant", "uuid"), ("id", "text"), ("revision", "bigint"), ("due_at", "bigint")];
    let fixed = fixed.into_iter().map(|(name, r#type)| (name.to_owned(), r#type.to_owned()));
    let all: Columns = fixed.chain(columns.iter().cloned()).chain([("body".to_owned(), "json".to_owned())]).collect();
    let is_moment = |name: &str, r#type: &str| r#type == "bigint" && name.ends_with("_at");
    let shown = all.iter().map(|(name, r#type)| match is_moment(name, r#type) {
        true => format!("{}({1}) AS {1}", qualified(namespace, "rfc3339"), quoted(name)),
        false => quoted(name),
    });
    let wanted: Columns = all
        .iter()
        .map(|(name, r#type)| (name.clone(), if is_moment(name, r#type) { "text".to_owned() } else { r#type.clone() }))
        .collect();
    if found.as_ref() == Some(&wanted) {
        return;
    }
    let view = qualified(namespace, &format!("{}_view", table.kind));
    changes.push(format!(
        "DROP VIEW IF EXISTS {view};\nCREATE VIEW {view} AS SELECT {} FROM {};",
        shown.collect::<Vec<_>>().join(", "),
        table.name
    ));
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::ConfigInvalid, OPEN, message)
}
