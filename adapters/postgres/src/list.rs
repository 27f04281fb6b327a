//! Lists: one statement, in which the records that lack the index it is ordered by follow those that have it.

use offhook::Result;
use offhook::provider::store::cursor::Cursor;
use offhook::provider::store::{IndexValue, LIMIT_MAX, Order, Page, Position, Query, Record};

use crate::pool::{self, Pool, Value};
use crate::table::{Table, bound, quoted};

pub(crate) async fn list(pool: &Pool, table: &Table, query: &Query, cursor: Option<Cursor>) -> Result<Page> {
    let limit = query.limit.clamp(1, LIMIT_MAX) as usize;
    // One more than asked for tells whether there is a next page.
    let statement = Statement::new(table, query, cursor, limit + 1);
    let rows = pool.read("store.list", &pool::Query { sql: &statement.sql, values: statement.values }).await?;
    let mut records = rows.iter().map(|row| table.record(row)).collect::<Result<Vec<Record>>>()?;
    let more = records.len() > limit;
    records.truncate(limit);
    let next = records.last().filter(|_| more).map(|record| Cursor::of(record, query).encode(query));
    Ok(Page { records, next })
}

pub(crate) async fn count(pool: &Pool, table: &Table, query: &Query) -> Result<u64> {
    let mut statement = Statement { sql: String::new(), values: Vec::new() };
    let filters = statement.filters(query);
    let conditions = if filters.is_empty() { "true".to_owned() } else { filters.join(" AND ") };
    let sql = format!("SELECT count(*) FROM {} WHERE {conditions}", table.name);
    let rows = pool.read("store.count", &pool::Query { sql: &sql, values: statement.values }).await?;
    Ok(rows.first().map_or(0, |row| row.get::<_, i64>(0)).unsigned_abs())
}

/// A list's SQL and its parameters.
struct Statement {
    sql: String,
    values: Vec<Value<'static>>,
}

impl Statement {
    fn new(table: &Table, query: &Query, cursor: Option<Cursor>, limit: usize) -> Self {
        let mut statement = Self { sql: String::new(), values: Vec::new() };
        let filters = statement.filters(query);
        // Not a parameter, because the planner would then prepare for a tenth of the table.
        let limit = limit.to_string();
        let direction = Direction::of(&query.order);
        let select = |conditions: &[String], order: &str| {
            let conditions = if conditions.is_empty() { "true".to_owned() } else { conditions.join(" AND ") };
            format!("SELECT {} FROM {} WHERE {conditions} ORDER BY {order} LIMIT {limit}", table.selected, table.name)
        };
        let by_id = format!("id {0}, tenant {0}", direction.word);
        statement.sql = match (index_of(&query.order).map(quoted), offset(query)) {
            (None, offset) => {
                let mut conditions = filters;
                conditions.extend(cursor.map(|cursor| statement.after_id(&direction, &cursor)));
                let offset = statement.bind(Box::new(offset));
                format!("{} OFFSET {offset}", select(&conditions, &by_id))
            }
            (Some(column), 0) => {
                let (valued, lacking) = statement.parts(&direction, &column, &filters, cursor);
                let by_value = format!("{column} {}, {by_id}", direction.word);
                let lacking = lacking.map(|conditions| select(&conditions, &by_id));
                match (valued.map(|conditions| select(&conditions, &by_value)), lacking) {
                    (Some(valued), Some(lacking)) => both(table, &valued, &lacking, &by_value, &limit),
                    (valued, lacking) => valued.or(lacking).unwrap_or_default(),
                }
            }
            (Some(column), offset) => {
                let order = format!("{column} {} NULLS LAST, {by_id}", direction.word);
                let offset = statement.bind(Box::new(offset));
                format!("{} OFFSET {offset}", select(&filters, &order))
            }
        };
        statement
    }

    /// The place of a parameter in SQL.
    fn bind(&mut self, value: Value<'static>) -> String {
        self.values.push(value);
        format!("${}", self.values.len())
    }

    fn filters(&mut self, query: &Query) -> Vec<String> {
        let mut filters = Vec::new();
        if let Some(tenant) = query.tenant {
            filters.push(format!("tenant = {}", self.bind(Box::new(tenant.as_uuid()))));
        }
        for (index, value) in &query.equal {
            filters.push(format!("{} = {}", quoted(index), self.bind(bound(value.clone()))));
        }
        let Some(range) = &query.range else { return filters };
        let column = quoted(&range.index);
        if let Some(from) = &range.from {
            filters.push(format!("{column} >= {}", self.bind(bound(from.clone()))));
        }
        if let Some(to) = &range.to {
            filters.push(format!("{column} < {}", self.bind(bound(to.clone()))));
        }
        filters.push(format!("{column} IS NOT NULL"));
        filters
    }

    /// The conditions of the records that have the index, and of those that lack it; `None` where a cursor is past them.
    fn parts(
        &mut self,
        direction: &Direction,
        column: &str,
        filters: &[String],
        cursor: Option<Cursor>,
    ) -> (Option<Vec<String>>, Option<Vec<String>>) {
        let with = |condition: String| filters.iter().cloned().chain([condition]).collect::<Vec<_>>();
        let (valued, lacking) = (with(format!("{column} IS NOT NULL")), with(format!("{column} IS NULL")));
        match cursor.map(|mut cursor| (cursor.value.take(), cursor)) {
            None => (Some(valued), Some(lacking)),
            Some((None, cursor)) => {
                let after = self.after_id(direction, &cursor);
                (None, Some(lacking.into_iter().chain([after]).collect()))
            }
            Some((Some(value), cursor)) => {
                let after = self.after_value(direction, column, value, &cursor);
                (Some(valued.into_iter().chain([after]).collect()), Some(lacking))
            }
        }
    }

    /// The first condition says nothing new, but an index can seek by it.
    fn after_id(&mut self, direction: &Direction, cursor: &Cursor) -> String {
        let (id, tenant) = self.place(cursor);
        let sign = direction.sign;
        format!("id {sign}= {id} AND (id, tenant) {sign} ({id}, {tenant})")
    }

    fn after_value(&mut self, direction: &Direction, column: &str, value: IndexValue, cursor: &Cursor) -> String {
        let (id, tenant) = self.place(cursor);
        let (sign, value) = (direction.sign, self.bind(bound(value)));
        format!("{column} {sign}= {value} AND ({column}, id, tenant) {sign} ({value}, {id}, {tenant})")
    }

    fn place(&mut self, cursor: &Cursor) -> (String, String) {
        (self.bind(Box::new(cursor.id.clone())), self.bind(Box::new(cursor.tenant.as_uuid())))
    }
}

struct Direction {
    sign: char,
    word: &'static str,
}

impl Direction {
    fn of(order: &Order) -> Self {
        match order {
            Order::IdAscending | Order::IndexAscending(_) => Self { sign: '>', word: "ASC" },
            _ => Self { sign: '<', word: "DESC" },
        }
    }
}

/// Two lists as one. The second is not even looked at when the first fills the page.
fn both(table: &Table, valued: &str, lacking: &str, by_value: &str, limit: &str) -> String {
    let names: String = table.columns.iter().map(|(name, _)| format!(", {}", quoted(name))).collect();
    let names = format!("tenant, id, revision, due_at, body{names}");
    format!(
        "WITH valued AS MATERIALIZED ({valued}) \
         SELECT {names} FROM (\
             (SELECT 0 AS \"list.part\", {names} FROM valued) UNION ALL \
             (SELECT 1, {names} FROM ({lacking}) AS lacking WHERE (SELECT count(*) FROM valued) < {limit})\
         ) AS parts ORDER BY \"list.part\", {by_value} LIMIT {limit}"
    )
}

fn index_of(order: &Order) -> Option<&str> {
    match order {
        Order::IndexAscending(index) | Order::IndexDescending(index) => Some(index),
        _ => None,
    }
}

fn offset(query: &Query) -> i64 {
    match &query.position {
        Position::Offset(records) => i64::try_from(*records).unwrap_or(i64::MAX),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use offhook::ids::TenantId;
    use offhook::provider::store::catalog::Catalog;
    use offhook::provider::store::{IndexType, KindSchema, Schema};
    use offhook::time::Timestamp;
    use offhook_testkit::postgres::Cluster;

    use super::*;
    use crate::options::Options;
    use crate::table::Tables;

    #[test]
    fn common_lists_walk_an_index_in_order() {
        let mine = || Query::new(Some(tenant()), "call");
        let after = |value: Option<i64>| Cursor { value: value.map(Into::into), id: "a".into(), tenant: tenant() };
        let by_time = || mine().order(Order::IndexDescending("started_at".into()));
        let from_time = || by_time().range("started_at", Some(1.into()), Some(9.into()));
        let by_status = || mine().equal("status", "ended");
        let everyones = || Query::new(None, "call").equal("status", "ended");
        let after_id = "(tenant = T) AND (id <= 'a'::text) AND (ROW(id, tenant) < ROW('a'::text, T))";
        let after_value =
            "(started_at <= '5'::bigint) AND (ROW(started_at, id, tenant) < ROW('5'::bigint, 'a'::text, T))";
        let cases = [
            (mine(), None, "tenant_id_key (tenant = T)".to_owned()),
            (mine(), Some(after(None)), format!("tenant_id_key ({after_id})")),
            (by_time(), None, "tenant_started_at_id_idx ((tenant = T) AND (started_at IS NOT NULL))".to_owned()),
            (
                by_time(),
                Some(after(Some(5))),
                format!("tenant_started_at_id_idx ((tenant = T) AND (started_at IS NOT NULL) AND {after_value})"),
            ),
            (by_time(), Some(after(None)), format!("tenant_id_key ({after_id})")),
            (
                from_time(),
                None,
                "tenant_started_at_id_idx ((tenant = T) AND (started_at >= '1'::bigint) AND \
                 (started_at < '9'::bigint) AND (started_at IS NOT NULL) AND (started_at IS NOT NULL))"
                    .to_owned(),
            ),
            (by_status(), None, "status_tenant_id_idx ((status = 'ended'::text) AND (tenant = T))".to_owned()),
            (by_status(), Some(after(None)), format!("status_tenant_id_idx ((status = 'ended'::text) AND {after_id})")),
            (everyones(), None, "status_tenant_id_idx (status = 'ended'::text)".to_owned()),
        ];
        let explain = Explain::new();
        for (query, cursor, expected) in cases {
            assert_eq!(explain.plan(&query, cursor), expected, "{query:?}");
        }
    }

    fn tenant() -> TenantId {
        TenantId::new(Timestamp::default(), [0; 10])
    }

    /// An empty database that says how it would find things.
    struct Explain {
        runtime: tokio::runtime::Runtime,
        pool: Pool,
        tables: Tables,
    }

    impl Explain {
        fn new() -> Self {
            let indexes = vec![("started_at", IndexType::Integer), ("status", IndexType::Text)];
            let schema = Schema { kinds: vec![KindSchema { name: "call", indexes }] };
            let tables = Tables::new(&Catalog::new(&schema).unwrap(), "offhook").unwrap();
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let pool = Pool::new(Options::new(&Cluster::shared().database().unwrap()).unwrap()).unwrap();
            runtime.block_on(crate::migrate::open(&pool, &tables)).unwrap();
            Self { runtime, pool, tables }
        }

        /// The index that the records come from, those that have the index first, and how it is sought by.
        fn plan(&self, query: &Query, cursor: Option<Cursor>) -> String {
            let table = self.tables.get("store.list", "call").unwrap();
            let statement = Statement::new(&table, query, cursor, 10);
            let explain = format!("EXPLAIN (COSTS OFF) {}", statement.sql);
            let question = pool::Query { sql: &explain, values: statement.values };
            let rows = self.runtime.block_on(self.pool.read("store.list", &question)).unwrap();
            let lines: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            let index = lines.iter().find_map(|line| line.split(" using call_records_").nth(1)).unwrap();
            let condition = lines.iter().find_map(|line| line.split("Index Cond: ").nth(1)).unwrap();
            let index = index.split(' ').next().unwrap();
            format!("{index} {}", condition.replace(&format!("'{}'::uuid", tenant()), "T"))
        }
    }
}
