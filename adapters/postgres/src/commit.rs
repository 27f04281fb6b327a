//! A batch: locked, decided and written in two round trips, and its end found out when the connection is lost.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use offhook::provider::store::{Add, Append, Batch, Committed, CounterKey, Expect, LogKey, Operation, Put, RecordKey};
use offhook::{Error, ErrorKind, Result};
use tokio::time::{Instant, sleep};
use tokio_postgres::error::SqlState;

use crate::Shared;
use crate::error::Failure;
use crate::pool::{CommitFailure, Pool, Query, Value};
use crate::state::{Looks, State, key_arrays};
use crate::table::{NewRow, Table, Tables};

/// How often a batch is begun: again after another one made what this one was about to, and after a lost connection
/// that had not been told to commit.
const ATTEMPTS_MAX: usize = 6;
/// How long the server is asked for the end of a transaction whose connection was lost; a statement's time if that is less.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two such questions.
const RESOLVE_INTERVAL: Duration = Duration::from_millis(20);
/// Begins a transaction, and names it.
const BEGIN: &str = "BEGIN; SELECT current_setting('offhook.life') AS life, pg_current_xact_id() AS number";
const STATUS: &str = "SELECT current_setting('offhook.life') AS life, pg_xact_status($1::text::xid8) AS status \
    WHERE NOT pg_is_in_recovery()";

/// An operation with all the work done that needs no database.
pub(crate) enum Step {
    /// With what its crossing writes.
    Add(Add, Vec<Write>),
    Append(Append),
    Delete {
        table: Arc<Table>,
        key: RecordKey,
        expect: Expect,
    },
    DeleteLog(LogKey),
    Put(Write),
}

/// A record to write.
pub(crate) struct Write {
    pub(crate) table: Arc<Table>,
    pub(crate) key: RecordKey,
    pub(crate) expect: Expect,
    pub(crate) row: NewRow,
}

impl Step {
    pub(crate) fn all(tables: &Tables, batch: Batch) -> Result<Vec<Self>> {
        batch.operations.into_iter().map(|operation| Self::new(tables, operation)).collect()
    }

    fn new(tables: &Tables, operation: Operation) -> Result<Self> {
        match operation {
            Operation::Add(mut add) => {
                let puts = add.crossing.as_mut().map(|crossing| mem::take(&mut crossing.then)).unwrap_or_default();
                let writes: Result<Vec<Write>> = puts.into_iter().map(|put| Write::new(tables, put)).collect();
                Ok(Self::Add(add, writes?))
            }
            Operation::Append(append) => Ok(Self::Append(append)),
            Operation::Delete(delete) => {
                let table = tables.get("store.commit", &delete.key.kind)?;
                Ok(Self::Delete { table, key: delete.key, expect: delete.expect })
            }
            Operation::DeleteLog(log) => Ok(Self::DeleteLog(log)),
            Operation::Put(put) => Ok(Self::Put(Write::new(tables, put)?)),
            _ => Err(Error::new(ErrorKind::Unsupported, "store.commit", "this operation is not supported")),
        }
    }
}

impl Write {
    fn new(tables: &Tables, mut put: Put) -> Result<Self> {
        let table = tables.get("store.commit", &put.key.kind)?;
        let row = table.new_row(&mut put);
        Ok(Self { table, key: put.key, expect: put.expect, row })
    }
}

/// Applies all of `steps` or nothing.
pub(crate) async fn commit(shared: &Shared, operation: &'static str, steps: &[Step]) -> Result<Committed> {
    if let Some(counters) = only_read(steps) {
        return read_counters(shared, operation, counters).await;
    }
    let mut looks = Looks::WhereNeeded;
    let mut attempt = 1;
    loop {
        match try_commit(shared, operation, steps, looks).await {
            Ok(committed) => return Ok(committed),
            Err(Attempt::Assumed) => {}
            Err(Attempt::Again(failure)) if attempt == ATTEMPTS_MAX => return Err(failure.into_error(operation)),
            Err(Attempt::Again(_)) => attempt += 1,
            Err(Attempt::Over(error)) => return Err(error),
        }
        looks = Looks::Everywhere;
    }
}

/// Why an attempt failed. Nothing of it was done, unless the error says that it is unknown.
enum Attempt {
    /// Another one may succeed.
    Again(Failure),
    /// It would be refused if all was as assumed, and who looks everywhere may find another reason.
    Assumed,
    Over(Error),
}

impl From<Error> for Attempt {
    fn from(error: Error) -> Self {
        Self::Over(error)
    }
}

async fn try_commit(
    shared: &Shared,
    operation: &'static str,
    steps: &[Step],
    looks: Looks,
) -> Result<Committed, Attempt> {
    let connection = shared.pool.get(operation).await?;
    let mut state = State::new(&shared.tables, steps, looks);
    let begun = connection.begin(BEGIN, &state.locks()).await;
    let found = begun.and_then(|(names, rows)| Ok((Transaction::new(names)?, state.find(rows)?)));
    let transaction = match found {
        Ok((transaction, ())) => transaction,
        // Nothing was written yet, and whatever was locked is free again.
        Err(failure) => return Err(over(operation, connection.abandon(failure))),
    };
    let committed = match state.apply(steps) {
        Ok(_) if state.assumes_blindly() => {
            connection.roll_back().await;
            return Err(Attempt::Assumed);
        }
        Ok(committed) => committed,
        Err(error) => {
            connection.roll_back().await;
            return Err(if state.assumes() { Attempt::Assumed } else { error.into() });
        }
    };
    let writes = state.writes();
    let statements = match connection.prepare(&writes).await {
        Ok(statements) => statements,
        Err(failure) => return Err(over(operation, connection.abandon(failure))),
    };
    match connection.commit(&statements, &writes).await {
        Ok(()) => Ok(committed),
        Err(CommitFailure::Refused(failure)) => Err(over(operation, failure)),
        Err(CommitFailure::Untold(failure)) => Err(over(operation, connection.abandon(failure))),
        Err(CommitFailure::InDoubt(failure)) => {
            let failure = connection.abandon(failure);
            match transaction.find_end(&shared.pool).await {
                Some(true) => Ok(committed),
                Some(false) => Err(over(operation, failure)),
                None => Err(failure.into_error(operation).with_context("outcome", "unknown").into()),
            }
        }
    }
}

/// For a failure after which nothing was done.
fn over(operation: &'static str, failure: Failure) -> Attempt {
    match failure.is_loss() || failure.is_collision() {
        true => Attempt::Again(failure),
        false => Attempt::Over(failure.into_error(operation)),
    }
}

/// A transaction, as the server can be asked for it from elsewhere.
struct Transaction {
    /// See [`LIFE`](crate::pool::LIFE).
    life: String,
    /// A server that crashes gives the numbers of what it lost to others.
    number: String,
}

/// What the server says of a transaction.
enum End {
    Committed,
    /// A transaction of that number was committed in another life of the server: this one or a later one.
    Doubtful,
    Open,
    RolledBack,
}

impl Transaction {
    fn new(names: Vec<String>) -> Result<Self> {
        match <[String; 2]>::try_from(names) {
            Ok([life, number]) => Ok(Self { life, number }),
            Err(_) => Err(Error::new(ErrorKind::Unexpected, "store.commit", "a transaction has no name")),
        }
    }

    /// Whether it was committed; `None` when that cannot be told.
    async fn find_end(&self, pool: &Pool) -> Option<bool> {
        let deadline = Instant::now() + RESOLVE_TIMEOUT.min(pool.statement_timeout());
        loop {
            match tokio::time::timeout_at(deadline, self.ask(pool)).await.ok()? {
                Ok(End::Committed) => return Some(true),
                Ok(End::Doubtful) => return None,
                Ok(End::RolledBack) => return Some(false),
                // The server has not noticed yet that the connection is lost, or cannot be reached.
                Ok(End::Open) | Err(_) => {}
            }
            if Instant::now() >= deadline {
                return None;
            }
            sleep(RESOLVE_INTERVAL).await;
        }
    }

    async fn ask(&self, pool: &Pool) -> Result<End, Failure> {
        let values: Vec<Value<'_>> = vec![Box::new(&self.number)];
        let rows = match pool.get("store.commit").await?.run(&Query { sql: STATUS, values }).await {
            // The number was given to nobody yet after a crash.
            Err(Failure::Postgres(error)) if error.code() == Some(&SqlState::INVALID_PARAMETER_VALUE) => {
                return Ok(End::RolledBack);
            }
            rows => rows?,
        };
        // A server that still follows another one knows nothing for certain.
        let Some(row) = rows.first() else { return Ok(End::Open) };
        let is_same_life = row.try_get::<_, &str>(0)? == self.life;
        Ok(match row.try_get::<_, Option<&str>>(1)? {
            Some("committed") if is_same_life => End::Committed,
            Some("in progress") if is_same_life => End::Open,
            Some("aborted" | "in progress") => End::RolledBack,
            _ => End::Doubtful,
        })
    }
}

/// The counters that `steps` read, if they do nothing else.
fn only_read(steps: &[Step]) -> Option<Vec<&CounterKey>> {
    let mut counters = Vec::with_capacity(steps.len());
    for step in steps {
        let Step::Add(Add { counter, delta: 0, .. }, _) = step else { return None };
        counters.push(counter);
    }
    Some(counters)
}

/// Without a transaction, and so without waiting for one that moves them.
async fn read_counters(shared: &Shared, operation: &'static str, keys: Vec<&CounterKey>) -> Result<Committed> {
    let mut committed = Committed::default();
    committed.counters.extend(keys.iter().map(|key| ((*key).clone(), 0)));
    if keys.is_empty() {
        return Ok(committed);
    }
    let values = key_arrays(keys.into_iter().map(|key| (key.tenant, key.name.as_str())));
    let rows = shared.pool.read(operation, &Query { sql: &shared.tables.counters.read, values }).await?;
    for row in rows {
        let counter = || -> Result<_, tokio_postgres::Error> {
            let key = CounterKey { tenant: offhook::ids::TenantId::from_uuid(row.try_get(0)?), name: row.try_get(1)? };
            Ok((key, row.try_get::<_, i64>(2)?))
        };
        let (key, value) = counter().map_err(|error| Failure::from(error).into_error(operation))?;
        committed.counters.insert(key, value);
    }
    Ok(committed)
}
