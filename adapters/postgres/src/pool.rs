//! The connections: bounded in number, in what they wait for and in what they remember.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Object, RecyclingMethod, Runtime};
use offhook::{Error, ErrorKind, Result};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, SimpleQueryMessage, Statement};

use crate::error::{Failure, map_pool};
use crate::options::Options;

/// How long a caller waits for one of the connections.
const WAIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long making a connection may take with all that belongs to it.
const CREATE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a statement waits for what another transaction has locked.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the server lets a transaction wait for its client, so that a client that is gone leaves no locks behind.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How much longer than the server a client waits for the end of a statement.
const ANSWER_MARGIN: Duration = Duration::from_secs(5);
/// Statements kept prepared for each connection.
const STATEMENTS_MAX: usize = 256;

/// Tells the lives of a server apart: statistics are reset when a server starts after a crash or takes over from another
/// one, and by nothing else that happens by itself (PostgreSQL's documentation, 28.2). A connection lives in one of them.
pub(crate) const LIFE: &str =
    "SELECT set_config('offhook.life', (SELECT coalesce(stats_reset::text, '') FROM pg_stat_bgwriter), false)";

/// The connections of a store.
pub(crate) struct Pool {
    inner: deadpool_postgres::Pool,
    place: String,
    statement_timeout: Duration,
}

impl Pool {
    pub(crate) fn new(options: Options) -> Result<Self> {
        let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let setup = setup(options.statement_timeout);
        let manager = Manager::from_config(options.config, options.trust.connector(), config);
        let inner = deadpool_postgres::Pool::builder(manager)
            .max_size(options.connections)
            .wait_timeout(Some(WAIT_TIMEOUT))
            .create_timeout(Some(CREATE_TIMEOUT))
            .recycle_timeout(Some(CREATE_TIMEOUT))
            .runtime(Runtime::Tokio1)
            .post_create(Hook::async_fn(move |client, _| {
                let setup = setup.clone();
                Box::pin(async move { client.batch_execute(&setup).await.map_err(HookError::Backend) })
            }))
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::ConfigInvalid, "store.open", "no connections can be made").with_source(error)
            })?;
        Ok(Self { inner, place: options.place, statement_timeout: options.statement_timeout })
    }

    /// Where the database is.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// How long a statement may take.
    pub(crate) fn statement_timeout(&self) -> Duration {
        self.statement_timeout
    }

    /// A connection that nobody else uses meanwhile.
    pub(crate) async fn get(&self, operation: &'static str) -> Result<Connection> {
        let object = self.inner.get().await.map_err(|error| map_pool(operation, error))?;
        if object.statement_cache.size() > STATEMENTS_MAX {
            object.statement_cache.clear();
        }
        Ok(Connection { object, answer_timeout: self.statement_timeout + ANSWER_MARGIN })
    }

    /// The rows of one `query` that changes nothing, asked again when the connection turns out to be lost.
    pub(crate) async fn read(&self, operation: &'static str, query: &Query<'_>) -> Result<Vec<Row>> {
        let first = self.get(operation).await?.run(query).await;
        let result = match first {
            Err(failure) if failure.is_loss() => self.get(operation).await?.run(query).await,
            result => result,
        };
        result.map_err(|failure| failure.into_error(operation))
    }
}

/// A statement with its parameters.
pub(crate) struct Query<'a> {
    pub(crate) sql: &'a str,
    pub(crate) values: Vec<Value<'a>>,
}

/// A parameter.
pub(crate) type Value<'a> = Box<dyn ToSql + Send + Sync + 'a>;

/// A connection. One that failed is not used again.
pub(crate) struct Connection {
    object: Object,
    answer_timeout: Duration,
}

impl Connection {
    /// The rows of `query`, run by itself.
    pub(crate) async fn run(self, query: &Query<'_>) -> Result<Vec<Row>, Failure> {
        let result = self.in_time(self.query(query)).await;
        match result {
            Err(failure) => Err(self.abandon(failure)),
            rows => rows,
        }
    }

    /// Sends `begin` and all `queries` at once. Returns what `begin` selects, and the rows of each query.
    pub(crate) async fn begin(
        &self,
        begin: &str,
        queries: &[Query<'_>],
    ) -> Result<(Vec<String>, Vec<Vec<Row>>), Failure> {
        self.in_time(async {
            let statements = self.prepare(queries).await?;
            let mut begun = Request::new(self.object.simple_query(begin));
            begun.send().await?;
            let asked = self.send_all(&statements, queries).await?;
            let mut selected = Vec::new();
            for message in begun.answer().await? {
                if let SimpleQueryMessage::Row(row) = message {
                    selected.extend((0..row.len()).map(|column| row.get(column).unwrap_or_default().to_owned()));
                }
            }
            let mut found = Vec::with_capacity(asked.len());
            for request in asked {
                found.push(request.answer().await?);
            }
            Ok((selected, found))
        })
        .await
    }

    /// Prepares `queries` where they are new to this connection.
    pub(crate) async fn prepare(&self, queries: &[Query<'_>]) -> Result<Vec<Statement>, Failure> {
        let mut statements = Vec::with_capacity(queries.len());
        for query in queries {
            statements.push(self.object.prepare_cached(query.sql).await?);
        }
        Ok(statements)
    }

    /// Sends all `queries` and `COMMIT` at once.
    pub(crate) async fn commit(&self, statements: &[Statement], queries: &[Query<'_>]) -> Result<(), CommitFailure> {
        let mut told = false;
        let outcome = self.in_time(async {
            // A query that cannot be sent ends it here: the others must not be committed without it.
            let asked = self.send_all(statements, queries).await?;
            let mut commit = Request::new(self.object.batch_execute("COMMIT"));
            told = true;
            commit.send().await?;
            // The first error is the cause: those behind it only say that the transaction is over.
            for request in asked {
                request.answer().await?;
            }
            Ok(commit.answer().await?)
        });
        let outcome = outcome.await;
        outcome.map_err(|failure| match failure {
            failure if !told => CommitFailure::Untold(failure),
            failure if failure.is_in_doubt() => CommitFailure::InDoubt(failure),
            failure => CommitFailure::Refused(failure),
        })
    }

    /// Takes everything back. The connection is given up if that fails, which takes it back too.
    pub(crate) async fn roll_back(self) {
        let result = self.in_time(async { Ok(self.object.batch_execute("ROLLBACK").await?) }).await;
        if let Err(failure) = result {
            self.abandon(failure);
        }
    }

    /// Closes the connection because of `failure`.
    pub(crate) fn abandon(self, failure: Failure) -> Failure {
        drop(Object::take(self.object));
        failure
    }

    /// Runs statements without parameters, one after the other, for as long as they take.
    pub(crate) async fn script(&self, sql: &str) -> Result<(), Failure> {
        Ok(self.object.batch_execute(sql).await?)
    }

    /// The rows of `query`, inside of whatever is under way.
    pub(crate) async fn query(&self, query: &Query<'_>) -> Result<Vec<Row>, Failure> {
        let statement = self.object.prepare_cached(query.sql).await?;
        Ok(self.object.query(&statement, &query.parameters()).await?)
    }

    async fn send_all<'a>(
        &'a self,
        statements: &'a [Statement],
        queries: &'a [Query<'_>],
    ) -> Result<Vec<Request<'a, Vec<Row>>>, tokio_postgres::Error> {
        let mut sent = Vec::with_capacity(queries.len());
        for (statement, query) in statements.iter().zip(queries) {
            let ask = async move { self.object.query(statement, &query.parameters()).await };
            let mut request = Request::new(ask);
            request.send().await?;
            sent.push(request);
        }
        Ok(sent)
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        match tokio::time::timeout(self.answer_timeout, work).await {
            Ok(result) => result,
            Err(_) => Err(Failure::Silent(self.answer_timeout)),
        }
    }
}

impl Query<'_> {
    fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect()
    }
}

/// Why a transaction was not committed, or may not have been.
pub(crate) enum CommitFailure {
    /// The server was told to commit, and did not answer.
    InDoubt(Failure),
    /// The server answered an error, and has taken everything back.
    Refused(Failure),
    /// The server was never told to commit.
    Untold(Failure),
}

/// Something asked of the server. Others may be sent before its answer is there: answers come in the order of sending.
struct Request<'a, T> {
    asked: Pin<Box<dyn Future<Output = Result<T, tokio_postgres::Error>> + Send + 'a>>,
    answer: Option<T>,
}

impl<'a, T> Request<'a, T> {
    fn new(asked: impl Future<Output = Result<T, tokio_postgres::Error>> + Send + 'a) -> Self {
        Self { asked: Box::pin(asked), answer: None }
    }

    /// The driver sends a request when it is polled for the first time.
    async fn send(&mut self) -> Result<(), tokio_postgres::Error> {
        if let Poll::Ready(answer) = futures_util::poll!(self.asked.as_mut()) {
            self.answer = Some(answer?);
        }
        Ok(())
    }

    async fn answer(self) -> Result<T, tokio_postgres::Error> {
        match self.answer {
            Some(answer) => Ok(answer),
            None => self.asked.await,
        }
    }
}

/// What makes every connection alike, whatever the server's own settings are.
fn setup(statement_timeout: Duration) -> String {
    format!(
        // Plans are made once, while a table may be small, and must do when it is large: each goes by an index.
        "SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_bitmapscan = off; \
         SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off; \
         SET max_parallel_workers_per_gather = 0; \
         SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED; \
         SET statement_timeout = {}; SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {}; \
         SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'; \
         {LIFE};",
        statement_timeout.as_millis(),
        LOCK_TIMEOUT.as_millis(),
        IDLE_TIMEOUT.as_millis(),
    )
}
