//! Prepaid minutes (DR-060 to DR-066).

use axum::Json;
use axum::extract::State;
use offhook::billing::{EntryKind, Unit};
use offhook::service::statements::{Line, LineOrder, Period};
use offhook::service::webhooks::minutes;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::CALL;
use crate::app::App;
use crate::id;
use crate::problem::Answer;
use crate::request::{Caller, Query};

const LIMIT_DEFAULT: u32 = 20;
const LIMIT_MAX: u32 = 100;

/// DR-060
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = dialro::Credits)]
pub(super) struct Balance {
    #[schema(value_type = f64)]
    balance_minutes: Value,
    #[schema(value_type = f64)]
    lifetime_purchased_minutes: Value,
    #[schema(value_type = f64)]
    lifetime_used_minutes: Value,
}

/// What moved the balance (DR-062).
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = dialro::Transaction)]
pub(super) struct Transaction {
    id: String,
    #[schema(pattern = "^(purchase|usage|refund|adjustment)$")]
    r#type: &'static str,
    #[schema(value_type = f64)]
    minutes: Value,
    #[schema(value_type = f64)]
    balance_after_minutes: Value,
    call_id: Option<String>,
    description: String,
    #[schema(format = "date-time")]
    created_at: String,
}

/// What transactions are listed in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = dialro::Transactions)]
pub(super) struct List {
    transactions: Vec<Transaction>,
    /// Give it as `after` for the next page.
    next: Option<String>,
}

/// How many minutes are left: always what was purchased less what was used (DR-061).
#[utoipa::path(get, operation_id = "get_credits", path = "/credits", tag = "credits", responses((status = 200, body = Balance)))]
pub(super) async fn balance(State(app): State<App>, caller: Caller) -> Answer<Json<Balance>> {
    let balance = app.engine().credits().balance(caller.tenant, Unit::Time).await?;
    Ok(Json(Balance {
        balance_minutes: minutes(balance.balance()),
        lifetime_purchased_minutes: minutes(balance.purchased),
        lifetime_used_minutes: minutes(balance.used),
    }))
}

/// What moved the balance, newest first.
#[utoipa::path(
    get,
    operation_id = "list_credit_transactions",
    path = "/credits/transactions",
    tag = "credits",
    params(("limit" = Option<u32>, Query, description = "1 to 100; 20 unless told"), ("after" = Option<String>, Query)),
    responses((status = 200, body = List), (status = 400)),
)]
pub(super) async fn transactions(State(app): State<App>, caller: Caller, query: Query) -> Answer<Json<List>> {
    let (_, limit) = query.page(LIMIT_DEFAULT, LIMIT_MAX)?;
    let period = Period { unit: Unit::Time, from: None, to: None };
    let credits = app.engine().credits();
    let lines =
        credits.statement_lines(caller.tenant, period, LineOrder::NewestFirst, limit, query.text("after")).await?;
    Ok(Json(List { transactions: lines.lines.iter().map(Transaction::of).collect(), next: lines.next }))
}

impl Transaction {
    fn of(line: &Line) -> Self {
        let entry = &line.entry;
        let (r#type, usual) = match entry.kind {
            EntryKind::Adjustment => ("adjustment", "Adjustment"),
            EntryKind::Grant => ("purchase", "Granted minutes"),
            EntryKind::Purchase => ("purchase", "Purchased minutes"),
            EntryKind::Refund => ("refund", "Refund of a call"),
            EntryKind::Hold | EntryKind::Release | EntryKind::Settle => ("usage", "Call"),
        };
        Self {
            id: line.id.clone(),
            r#type,
            minutes: minutes(entry.balance_delta()),
            balance_after_minutes: minutes(line.balance_after),
            call_id: entry.call.map(|call| id::show(CALL, call)),
            description: if entry.note.is_empty() { usual.to_owned() } else { entry.note.clone() },
            created_at: entry.at.to_string(),
        }
    }
}
