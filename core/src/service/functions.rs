//! The agent's functions: signed HTTP requests to the customer.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::agents::Function;
use crate::call::CommandId;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::CallId;
use crate::provider::HttpTransport;
use crate::provider::llm::ToolCall;
use crate::provider::reach::Reach;
use crate::provider::store::catalog::{FOREIGN_DEPTH_MAX, nests_within};
use crate::provider::transport::{HttpMethod, HttpRequest};
use crate::signing::standard;
use crate::time::Timestamp;

/// Longest answer, in bytes.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Runs `function` with the model's arguments and returns its answer, JSON or text.
///
/// The body is `{"call_id", "function", "parameters"}`, signed as [Standard Webhooks](crate::signing::standard). Fails
/// with `Rejected` for a status that is not 2xx and an answer that is too long, with `ConfigInvalid` for a URL that is out of
/// `reach`.
pub async fn run(
    http: Arc<dyn HttpTransport>,
    reach: Reach,
    function: Function,
    call: CallId,
    command: CommandId,
    tool_call: ToolCall,
    now: Timestamp,
) -> Result<Value> {
    reach.check(&function.url)?;
    let parameters: Value = serde_json::from_str(&tool_call.arguments).map_err(|error| {
        Error::new(ErrorKind::Rejected, "function.run", "the arguments are not JSON").with_source(error)
    })?;
    let body = json!({ "call_id": call, "function": function.tool.name, "parameters": parameters });
    let body = Bytes::from(body.to_string());
    let headers = standard::sign(&[function.secret], &format!("{call}-{command}"), now, &body);
    let request = HttpRequest::new(HttpMethod::Post, function.url, function.timeout)
        .header("content-type", "application/json")
        .header("webhook-id", headers.id)
        .header("webhook-timestamp", headers.timestamp)
        .header("webhook-signature", headers.signature)
        .reach(reach)
        .body(body);
    let response = http.send(request).await?;
    let status = response.status;
    if !(200..300).contains(&status) {
        return Err(Error::new(ErrorKind::Rejected, "function.run", "the function did not succeed")
            .with_context("status", status));
    }
    let answer = response.bytes(ANSWER_BYTES_MAX).await?;
    let value = serde_json::from_slice(&answer).ok().filter(|value| nests_within(value, FOREIGN_DEPTH_MAX));
    Ok(value.unwrap_or_else(|| Value::String(String::from_utf8_lossy(&answer).into_owned())))
}
