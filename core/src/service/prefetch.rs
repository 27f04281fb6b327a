//! What a customer's system knows of the caller, asked before the agent speaks (FL-042, FL-051).

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::call::Offer;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{AgentId, CallId};
use crate::provider::HttpTransport;
use crate::provider::reach::Reach;
use crate::provider::store::catalog::{FOREIGN_DEPTH_MAX, nests_within};
use crate::provider::transport::{HttpMethod, HttpRequest};
use crate::runtime::{self, Runtime};
use crate::signing::Secret;

/// Longest wait for the answer; then the call goes on without it.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// Longest answer, in bytes.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The namespace of templates that the answer fills.
pub const NAMESPACE: &str = "crm";

/// Where to ask.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Prefetch {
    /// Whether the question stands in the body of a POST and not in the query of a GET.
    #[serde(default)]
    pub is_post: bool,
    /// The `Authorization` header, word for word.
    #[serde(default, with = "crate::signing::serial::optional")]
    pub token: Option<Secret>,
    /// `https`.
    pub url: String,
}

/// The answer to `caller_id`, `did`, `bot_id` and `call_id`: one JSON object.
///
/// `Rejected` for any other answer, `TimedOut` after [`TIMEOUT`].
pub(crate) async fn ask(
    runtime: &dyn Runtime,
    http: Arc<dyn HttpTransport>,
    reach: Reach,
    prefetch: &Prefetch,
    agent: AgentId,
    call: CallId,
    offer: &Offer,
) -> Result<Map<String, Value>> {
    const OPERATION: &str = "prefetch.ask";
    reach.check(&prefetch.url)?;
    let (customer, own) = match offer {
        Offer::Inbound { from, to, .. } => (from.as_ref(), to.as_ref()),
        Offer::Outbound { from, to } => (Some(to), Some(from)),
    };
    let text = |number: Option<&crate::provider::telephony::E164>| number.map(ToString::to_string).unwrap_or_default();
    let question = [
        ("caller_id", text(customer)),
        ("did", text(own)),
        ("bot_id", agent.to_string()),
        ("call_id", call.to_string()),
    ];
    let mut request = if prefetch.is_post {
        let body: Map<_, _> =
            question.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value))).collect();
        HttpRequest::new(HttpMethod::Post, &prefetch.url, TIMEOUT)
            .header("content-type", "application/json")
            .body(Value::Object(body).to_string())
    } else {
        let unusable = |error| Error::new(ErrorKind::ConfigInvalid, OPERATION, "the URL is not one").with_source(error);
        let mut url = url::Url::parse(&prefetch.url).map_err(unusable)?;
        url.query_pairs_mut().extend_pairs(question);
        HttpRequest::new(HttpMethod::Get, url, TIMEOUT)
    };
    if let Some(token) = &prefetch.token {
        let token = String::from_utf8_lossy(token.expose()).into_owned();
        request = request.header("authorization", token);
    }
    let answer = async {
        let response = http.send(request.reach(reach)).await?;
        let status = response.status;
        if !(200..300).contains(&status) {
            let refused = Error::new(ErrorKind::Rejected, OPERATION, "the customer's system does not answer");
            return Err(refused.with_context("status", status));
        }
        response.bytes(ANSWER_BYTES_MAX).await
    };
    let answer = runtime::timeout(runtime, TIMEOUT, OPERATION, answer).await?;
    match serde_json::from_slice(&answer) {
        Ok(value @ Value::Object(_)) if !nests_within(&value, FOREIGN_DEPTH_MAX) => {
            Err(Error::new(ErrorKind::Rejected, OPERATION, "the customer's answer is nested too deeply"))
        }
        Ok(Value::Object(values)) => Ok(values),
        _ => Err(Error::new(ErrorKind::Rejected, OPERATION, "the customer's system does not answer with an object")),
    }
}
