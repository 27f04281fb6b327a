//! What a call came to (VS-044).

use axum::extract::Path;
use offhook::service::analysis::{Analysis, Analyst};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::envelope::{Ask, Envelope, Failure, Told};
use super::{agents, calls};

/// What a call came to.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = voxstack::Report)]
pub(super) struct Report {
    summary: String,
    /// The facts that the agent's owner asks for.
    #[schema(value_type = BTreeMap<String, Value>)]
    extracted_data: Map<String, Value>,
    disposition: Option<String>,
    /// The other side's interest and what to do next.
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    insights: Option<Value>,
    #[schema(pattern = "^(model|rules)$")]
    generated_by: &'static str,
}

/// The report of a call that is over, made now if there is none yet.
#[utoipa::path(get, operation_id = "get_report", path = "/calls/{id}/report", tag = "calls", params(("id" = String, Path)), responses((status = 200, body = Envelope<Report>), (status = 400, body = Failure), (status = 404, body = Failure)))]
pub(super) async fn get(ask: Ask, Path(id): Path<String>) -> Told<Report> {
    let call = calls::find(&ask, &id).await?;
    let agent = agents::find(&ask, call.record.agent).await?;
    let plan = agent.and_then(|agent| agent.after_call.analysis).unwrap_or_default();
    let analysis = ask.engine().calls().analyse(ask.tenant, call.record.id, &plan).await?;
    ask.tell(Report::of(&analysis))
}

impl Report {
    pub(super) fn of(analysis: &Analysis) -> Self {
        Self {
            summary: analysis.summary.clone(),
            extracted_data: analysis.data.clone(),
            disposition: analysis.disposition.as_ref().map(|label| label.disposition.clone()),
            insights: analysis.insights.as_ref().and_then(|insights| serde_json::to_value(insights).ok()),
            generated_by: match analysis.by {
                Analyst::Model => "model",
                Analyst::Rules => "rules",
            },
        }
    }
}
