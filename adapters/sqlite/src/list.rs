//! Lists: one query, or two where a page goes on into the records that lack the index it is ordered by.

use offhook::provider::store::cursor::Cursor;
use offhook::provider::store::{LIMIT_MAX, Order, Page, Position, Query, Record};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use crate::error::Failure;
use crate::table::{Table, bound, quoted, table_name};

pub(crate) fn list(
    connection: &Connection,
    table: &Table,
    query: &Query,
    cursor: Option<Cursor>,
) -> Result<Page, Failure> {
    let limit = query.limit.clamp(1, LIMIT_MAX) as usize;
    // One more than asked for tells whether there is a next page; one snapshot keeps the two queries consistent.
    let snapshot = connection.unchecked_transaction()?;
    let mut records: Vec<Record> = Vec::new();
    for part in parts(query, cursor) {
        let missing = limit + 1 - records.len();
        if missing > 0 {
            let statement = Statement::new(table, query, part, missing);
            statement.run(&snapshot, table, &mut records)?;
        }
    }
    snapshot.finish()?;
    let more = records.len() > limit;
    records.truncate(limit);
    let next = records.last().filter(|_| more).map(|record| Cursor::of(record, query).encode(query));
    Ok(Page { records, next })
}

pub(crate) fn count(connection: &Connection, table: &Table, query: &Query) -> Result<u64, Failure> {
    let statement = Statement::count(table, query);
    let mut prepared = connection.prepare_cached(&statement.sql)?;
    let count: i64 = prepared.query_row(params_from_iter(&statement.values), |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// A stretch of the list's order.
enum Part {
    /// All of it.
    All,
    /// After a record in an order by id.
    AfterId(Cursor),
    /// After a record that lacks the index: only such come now.
    AfterLacking(Cursor),
    /// After a record that has the index, as far as there are such.
    AfterValue(Value, Cursor),
    /// All records that lack the index.
    Lacking,
}

fn parts(query: &Query, cursor: Option<Cursor>) -> Vec<Part> {
    let Some(mut cursor) = cursor else {
        return vec![Part::All];
    };
    match (index_of(&query.order), cursor.value.take()) {
        (None, _) => vec![Part::AfterId(cursor)],
        (Some(_), None) => vec![Part::AfterLacking(cursor)],
        (Some(_), Some(value)) => vec![Part::AfterValue(bound(value), cursor), Part::Lacking],
    }
}

/// A list's SQL and its parameters.
struct Statement {
    conditions: Vec<String>,
    values: Vec<Value>,
    sql: String,
}

impl Statement {
    fn new(table: &Table, query: &Query, part: Part, limit: usize) -> Self {
        let mut statement = Self { conditions: Vec::new(), values: Vec::new(), sql: table.select.clone() };
        statement.filter(query);
        statement.continue_from(query, part);
        statement.push_conditions();
        statement.sql.push_str(&order_by(&query.order));
        let offset = match &query.position {
            Position::Offset(records) => i64::try_from(*records).unwrap_or(i64::MAX),
            _ => 0,
        };
        statement.sql.push_str(" LIMIT ? OFFSET ?");
        statement.values.extend([Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX)), Value::Integer(offset)]);
        statement
    }

    fn count(table: &Table, query: &Query) -> Self {
        let sql = format!("SELECT count(*) FROM {}", table_name(table.kind));
        let mut statement = Self { conditions: Vec::new(), values: Vec::new(), sql };
        statement.filter(query);
        statement.push_conditions();
        statement
    }

    fn push_conditions(&mut self) {
        if !self.conditions.is_empty() {
            self.sql.push_str(" WHERE ");
            self.sql.push_str(&self.conditions.join(" AND "));
        }
    }

    fn run(&self, connection: &Connection, table: &Table, records: &mut Vec<Record>) -> Result<(), Failure> {
        let mut statement = connection.prepare_cached(&self.sql)?;
        let mut rows = statement.query(params_from_iter(&self.values))?;
        while let Some(row) = rows.next()? {
            records.push(table.record(row)?);
        }
        Ok(())
    }

    fn filter(&mut self, query: &Query) {
        if let Some(tenant) = query.tenant {
            self.require("tenant = ?".to_owned(), [Value::Text(tenant.to_string())]);
        }
        for (index, value) in &query.equal {
            self.require(format!("{} = ?", quoted(index)), [bound(value.clone())]);
        }
        let Some(range) = &query.range else { return };
        let column = quoted(&range.index);
        if let Some(from) = &range.from {
            self.require(format!("{column} >= ?"), [bound(from.clone())]);
        }
        if let Some(to) = &range.to {
            self.require(format!("{column} < ?"), [bound(to.clone())]);
        }
        self.require(format!("{column} IS NOT NULL"), []);
    }

    fn continue_from(&mut self, query: &Query, part: Part) {
        let (column, sign) = match &query.order {
            Order::IdAscending => (String::new(), '>'),
            Order::IndexAscending(index) => (quoted(index), '>'),
            Order::IndexDescending(index) => (quoted(index), '<'),
            _ => (String::new(), '<'),
        };
        let place = |cursor: Cursor| [Value::Text(cursor.id), Value::Text(cursor.tenant.to_string())];
        match part {
            Part::All => {}
            Part::AfterId(cursor) => self.require(format!("(id, tenant) {sign} (?, ?)"), place(cursor)),
            Part::AfterLacking(cursor) => {
                self.require(format!("{column} IS NULL"), []);
                self.require(format!("(id, tenant) {sign} (?, ?)"), place(cursor));
            }
            Part::AfterValue(value, cursor) => {
                let [id, tenant] = place(cursor);
                // A row value also lets the index seek to the place, which a chain of ORs would not.
                self.require(format!("({column}, id, tenant) {sign} (?, ?, ?)"), [value, id, tenant]);
            }
            Part::Lacking => self.require(format!("{column} IS NULL"), []),
        }
    }

    fn require<const N: usize>(&mut self, condition: String, values: [Value; N]) {
        self.conditions.push(condition);
        self.values.extend(values);
    }
}

fn index_of(order: &Order) -> Option<&str> {
    match order {
        Order::IndexAscending(index) | Order::IndexDescending(index) => Some(index),
        _ => None,
    }
}

fn order_by(order: &Order) -> String {
    match order {
        Order::IdAscending => " ORDER BY id, tenant".to_owned(),
        Order::IndexAscending(index) => format!(" ORDER BY {} ASC NULLS LAST, id, tenant", quoted(index)),
        Order::IndexDescending(index) => format!(" ORDER BY {} DESC NULLS LAST, id DESC, tenant DESC", quoted(index)),
        _ => " ORDER BY id DESC, tenant DESC".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use offhook::ids::TenantId;
    use offhook::provider::store::catalog::Catalog;
    use offhook::provider::store::{IndexType, KindSchema, Schema};
    use offhook::time::Timestamp;

    use super::*;
    use crate::migrate;
    use crate::table::Tables;

    #[test]
    fn common_lists_walk_an_index_in_order() {
        let mine = || Query::new(Some(tenant()), "call");
        let after = |value: Option<i64>| Cursor { value: value.map(Into::into), id: "a".into(), tenant: tenant() };
        let by_time = || mine().order(Order::IndexDescending("started_at".into()));
        let from_time = || by_time().range("started_at", Some(1.into()), Some(9.into()));
        let by_status = || mine().equal("status", "ended");
        let everyones = || Query::new(None, "call").equal("status", "ended");
        let cases = [
            (mine(), None, "by_id (tenant=?)"),
            (mine(), Some(after(None)), "by_id (tenant=? AND id<?)"),
            (by_time(), None, "call.started_at (tenant=?)"),
            (by_time(), Some(after(Some(5))), "call.started_at (tenant=? AND (started_at,id)<(?,?))"),
            (by_time(), Some(after(None)), "call.started_at (tenant=? AND started_at=? AND id<?)"),
            (from_time(), None, "call.started_at (tenant=? AND started_at>? AND started_at<?)"),
            (by_status(), None, "call.status (status=? AND tenant=?)"),
            (by_status(), Some(after(None)), "call.status (status=? AND tenant=? AND id<?)"),
            (everyones(), None, "call.status (status=?)\nUSE TEMP B-TREE FOR ORDER BY"),
        ];
        for (query, cursor, expected) in cases {
            let part = parts(&query, cursor).remove(0);
            let indexes = vec![("started_at", IndexType::Integer), ("status", IndexType::Text)];
            let schema = Schema { kinds: vec![KindSchema { name: "call", indexes }] };
            assert_eq!(plan(schema, "call", |table| Statement::new(table, &query, part, 10)), expected, "{query:?}");
        }
    }

    /// A page costs what it holds, however long the list is.
    #[test]
    fn the_lists_of_the_apis_walk_an_index_in_order() {
        let of = |kind| Query::new(Some(tenant()), kind);
        let since = |query: Query| {
            let query = query.range("started_at", Some(1.into()), Some(9.into()));
            query.order(Order::IndexDescending("started_at".into()))
        };
        let calls = || of("call");
        let cases = [
            (calls(), "by_id (tenant=?)"),
            (calls().equal("dialro", "ended"), "call.dialro (dialro=? AND tenant=?)"),
            (since(calls()), "call.started_at (tenant=? AND started_at>? AND started_at<?)"),
            (since(calls().equal("dialro", "ended")), "call.started_at (tenant=? AND started_at>? AND started_at<?)"),
            (calls().equal("voxstack", "completed"), "call.voxstack (voxstack=? AND tenant=?)"),
            (calls().equal("agent", "a"), "call.agent (agent=? AND tenant=?)"),
            (calls().equal("task", "a"), "call.task (task=? AND tenant=?)"),
            (calls().equal("agent", "a").equal("voxstack", "failed"), "call.voxstack (voxstack=? AND tenant=?)"),
            (of("task"), "by_id (tenant=?)"),
            (of("task").equal("voxstack", "pending"), "task.voxstack (voxstack=? AND tenant=?)"),
            (of("task").equal("agent", "a"), "task.agent (agent=? AND tenant=?)"),
            (of("agent").equal("active", "true"), "agent.active (active=? AND tenant=?)"),
            (Query::new(None, "api_key").equal("hash", "a").limit(1), "api_key.hash (hash=?)"),
        ];
        for (query, expected) in cases {
            let (schema, kind) = (offhook::service::schema(), query.kind.clone());
            let found = plan(schema, &kind, |table| Statement::new(table, &query, Part::All, 50));
            // By a key's hash there is one record, and nothing to put in order.
            let found = found.replace("\nUSE TEMP B-TREE FOR ORDER BY", if kind == "api_key" { "" } else { " sorted" });
            assert_eq!(found, expected, "{query:?}");
        }
    }

    fn tenant() -> TenantId {
        TenantId::new(Timestamp::default(), [0; 10])
    }

    fn plan(schema: Schema, kind: &str, statement: impl FnOnce(&Table) -> Statement) -> String {
        let tables = Tables::new(&Catalog::new(&schema).unwrap()).unwrap();
        let connection = migrate::open_in_memory(&tables).unwrap();
        let statement = statement(&tables.get("store.list", kind).unwrap());
        let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {}", statement.sql)).unwrap();
        let rows = explain.query_map(params_from_iter(&statement.values), |row| row.get::<_, String>(3)).unwrap();
        let plan = rows.collect::<rusqlite::Result<Vec<String>>>().unwrap().join("\n");
        let plan = plan.replace(&format!("SEARCH {kind}_records USING INDEX "), "");
        plan.replace(&format!("sqlite_autoindex_{kind}_records_1"), "by_id")
    }
}
