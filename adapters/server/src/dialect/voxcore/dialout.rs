//! Placing calls (FL-010 to FL-021).

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use offhook::engine::CallHandle;
use offhook::ids::AgentId;
use offhook::provider::telephony::E164;
use offhook::service::agents::Agent;
use offhook::{Error, ErrorKind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Flags;
use crate::app::App;
use crate::dialect::{caller_id, check_caller_id, context};
use crate::problem::{Answer, Kind, Problem};
use crate::request::{Body, Caller, Traced};

/// When to come back for a slot.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// A call to be placed (FL-011).
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = voxcore::Dialout)]
pub(super) struct Dialout {
    bot_id: String,
    #[schema(example = "+15550100001")]
    to_number: String,
    from_number: Option<String>,
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    variables: Option<Map<String, Value>>,
    /// The newer name of `variables` (FL-015).
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    connected_event: Option<Map<String, Value>>,
}

/// FL-012
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = voxcore::Placed)]
pub(super) struct Placed {
    status: &'static str,
    call_id: String,
}

/// Places a call at once, or says that it cannot be placed now.
#[utoipa::path(post, operation_id = "dialout", path = "/api/v1/dialout", tag = "calls", request_body = Dialout, responses((status = 200, body = Placed), (status = 401), (status = 404), (status = 422), (status = 503)))]
pub(super) async fn dialout(
    state: State<App>,
    caller: Caller,
    traced: Traced,
    body: Body<Dialout>,
) -> Answer<Json<Placed>> {
    place(state, caller, traced, body).await
}

/// The same by its newer path (FL-A7).
#[utoipa::path(post, operation_id = "sip_dialout", path = "/api/v1/sip/dialout", tag = "calls", request_body = Dialout, responses((status = 200, body = Placed), (status = 401), (status = 404), (status = 422), (status = 503)))]
pub(super) async fn sip_dialout(
    state: State<App>,
    caller: Caller,
    traced: Traced,
    body: Body<Dialout>,
) -> Answer<Json<Placed>> {
    place(state, caller, traced, body).await
}

async fn place(
    State(app): State<App>,
    caller: Caller,
    Traced(parent): Traced,
    body: Body<Dialout>,
) -> Answer<Json<Placed>> {
    let order = body.read()?;
    if order.variables.is_some() && order.connected_event.is_some() {
        return Err(Problem::invalid("connected_event", "is another name of variables: send one of them"));
    }
    let bot = find(&app, &caller, &order.bot_id).await?;
    let to = number("to_number", &order.to_number)?;
    let from = match &order.from_number {
        Some(from) => number("from_number", from)?,
        None => caller_id(&app, caller.tenant, bot.id).await?,
    };
    check_caller_id(&app, caller.tenant, "from_number", &from).await?;
    let mut fields = order.variables.or(order.connected_event).unwrap_or_default();
    let flags = Flags::take(&mut fields);
    let mut bot = bot;
    // FL-037
    context::add(&mut bot, "call", &fields);
    context::add(&mut bot, "crm", &fields);
    flags.apply(&mut bot);
    let mut handle = app.engine().under(parent).dial(caller.tenant, Arc::new(bot), from, to)?;
    begun(&mut handle).await?;
    Ok(Json(Placed { status: "ok", call_id: handle.id().to_string() }))
}

/// The bot, if the key is for it: nobody else is told whether there is one (FL-017).
async fn find(app: &App, caller: &Caller, bot: &str) -> Answer<Agent> {
    let missing = || Problem::new(Kind::NotFound, "Bot not found");
    let id: AgentId = bot.strip_prefix("agent_").unwrap_or(bot).parse().map_err(|_| missing())?;
    if caller.key.agents.as_ref().is_some_and(|agents| !agents.contains(&id)) {
        return Err(missing());
    }
    app.engine().agents().get(caller.tenant, id).await?.ok_or_else(missing)
}

/// Waits until the call has its slot and its credits, in the vendor's words if it does not get them (FL-014, FL-016).
pub(super) async fn begun(handle: &mut CallHandle) -> Answer<()> {
    handle.begun().await.map_err(|error| refusal(&error))
}

fn refusal(error: &Error) -> Problem {
    let reason = error.context().iter().find(|(name, _)| *name == "reason").map(|(_, reason)| reason.as_str());
    let detail = match (reason, error.kind()) {
        (Some("outside_hours"), _) => "outside_active_hours: the bot does not take or place calls now",
        (Some("agent_inactive"), _) => "bot_inactive: the bot is switched off",
        (_, ErrorKind::InsufficientFunds) => "insufficient_credits: no prepaid credit is left",
        (_, ErrorKind::RateLimited) => "No healthy fleet server available",
        _ => {
            tracing::warn!(%error, "a call did not begin");
            "No healthy fleet server available"
        }
    };
    Problem::new(Kind::Full, detail).retry_after(RETRY_AFTER)
}

/// E.164 is recommended; digits without a plus, and what people put between them, are understood.
fn number(field: &str, text: &str) -> Answer<E164> {
    let digits: String = text.chars().filter(|c| !matches!(c, ' ' | '-' | '(' | ')' | '.')).collect();
    let digits = if digits.starts_with('+') { digits } else { format!("+{digits}") };
    digits.parse().map_err(|_| Problem::invalid(field, "is not a number such as +919876543210"))
}
