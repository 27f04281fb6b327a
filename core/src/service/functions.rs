//! The agent's functions: signed HTTP requests to the customer.

use std::sync::Arc;

use bytes::Bytes;
use jsonschema::{PatternOptions, Validator};
use serde_json::{Value, json};

use super::agents::{Function, FunctionMethod};
use super::webhooks::Form;
use crate::call::CommandId;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::CallId;
use crate::provider::HttpTransport;
use crate::provider::reach::Reach;
use crate::provider::store::catalog::{FOREIGN_DEPTH_MAX, nests_within};
use crate::provider::transport::{HttpMethod, HttpRequest};
use crate::signing::{Secret, body as body_signature, standard};
use crate::time::Timestamp;

/// Longest answer, in bytes.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Longest URL of a function that is asked by GET.
pub const URL_BYTES_MAX: usize = 8 * 1024;

/// Bytes of a schema at most.
pub const SCHEMA_BYTES_MAX: usize = 64 * 1024;

/// One call of a function.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The model's arguments, JSON.
    pub arguments: String,
    /// When.
    pub at: Timestamp,
    /// In which call.
    pub call: CallId,
    /// By which command.
    pub command: CommandId,
    /// Signs the request.
    pub secret: Secret,
}

/// Runs `function` with the model's arguments and returns its answer, or what kept it from one: `{"error": …}` with
/// `timeout`, `http_<status>` or `invalid_json` (DR-096), or with what is wrong with the arguments (DR-097).
///
/// In our own form the body is `{"call_id", "function", "parameters"}`, signed as [Standard Webhooks](standard); in Dialro's
/// it is `{"callId", "functionName", "parameters"}`, signed in `X-Dialro-Signature` (DR-092). With GET each of these, and
/// each parameter by itself, stands in the query, which is what is signed (DR-A1).
///
/// `ConfigInvalid` for a URL that is out of `reach`.
pub async fn run(http: Arc<dyn HttpTransport>, reach: Reach, function: Function, asked: Asked) -> Result<Value> {
    reach.check(&function.url)?;
    let parameters: Value = match serde_json::from_str(&asked.arguments) {
        Ok(parameters) => parameters,
        Err(_) => return Ok(problem("the arguments are not JSON")),
    };
    if let Some(wrong) = mistake(&function.tool.parameters, &parameters) {
        return Ok(problem(&wrong));
    }
    let timeout = function.timeout;
    let call = asked.call;
    let request = request(function, &asked, &parameters)?;
    let answer = async {
        let response = http.send(request.reach(reach)).await?;
        let status = response.status;
        if !(200..300).contains(&status) {
            return Ok(problem(&format!("http_{status}")));
        }
        let answer = response.bytes(ANSWER_BYTES_MAX).await?;
        let value = serde_json::from_slice(&answer).ok().filter(|value| nests_within(value, FOREIGN_DEPTH_MAX));
        Ok(value.unwrap_or_else(|| problem("invalid_json")))
    };
    let answer: Result<Value> = answer.await;
    match answer {
        Err(error) if error.kind() == ErrorKind::TimedOut => {
            tracing::debug!(%call, ?timeout, "a function did not answer in time");
            Ok(problem("timeout"))
        }
        result => result,
    }
}

/// `ConfigInvalid` unless `schema` is a JSON Schema of an object that stands on its own.
pub fn check_schema(schema: &Value) -> Result<()> {
    let invalid = |message: String| Error::new(ErrorKind::ConfigInvalid, "functions.check", message);
    if schema.to_string().len() > SCHEMA_BYTES_MAX || !nests_within(schema, FOREIGN_DEPTH_MAX) {
        return Err(invalid("the schema is too long or too deep".to_owned()));
    }
    if schema.get("type").is_some_and(|kind| kind != "object") || !schema.is_object() {
        return Err(invalid("the parameters of a function are an object".to_owned()));
    }
    validator(schema).map(drop).map_err(|error| invalid(format!("the schema is none: {error}")))
}

fn request(function: Function, asked: &Asked, parameters: &Value) -> Result<HttpRequest> {
    let Asked { at, call, command, secret, .. } = asked;
    let Function { form, method, timeout, tool, url, .. } = function;
    let (call_name, function_name) = match form {
        Form::Dialro => ("callId", "functionName"),
        Form::Native => ("call_id", "function"),
    };
    let (signed, request) = match method {
        FunctionMethod::Get => {
            let query = query([(call_name, call.to_string()), (function_name, tool.name)], parameters);
            let mut url = url::Url::parse(&url).map_err(|error| {
                Error::new(ErrorKind::ConfigInvalid, "function.run", "the URL is not one").with_source(error)
            })?;
            let query = url.query().map_or(query.clone(), |own| format!("{own}&{query}"));
            url.set_query(Some(&query));
            // As it goes over the wire.
            let signed = Bytes::from(url.query().unwrap_or_default().to_owned());
            if url.as_str().len() > URL_BYTES_MAX {
                return Err(Error::new(ErrorKind::Rejected, "function.run", "the parameters do not fit into a URL"));
            }
            (signed, HttpRequest::new(HttpMethod::Get, url, timeout))
        }
        FunctionMethod::Post => {
            let body = json!({ call_name: call, function_name: tool.name, "parameters": parameters });
            let body = Bytes::from(body.to_string());
            let request = HttpRequest::new(HttpMethod::Post, url, timeout)
                .header("content-type", "application/json")
                .body(body.clone());
            (body, request)
        }
    };
    Ok(match form {
        Form::Dialro => request.header("x-dialro-signature", body_signature::sign(secret, &signed)),
        Form::Native => {
            let headers = standard::sign(std::slice::from_ref(secret), &format!("{call}-{command}"), *at, &signed);
            request
                .header("webhook-id", headers.id)
                .header("webhook-timestamp", headers.timestamp)
                .header("webhook-signature", headers.signature)
        }
    })
}

/// What is asked as a query: parameters that are no scalars as JSON.
fn query<const N: usize>(names: [(&str, String); N], parameters: &Value) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(names);
    for (name, value) in parameters.as_object().into_iter().flatten() {
        match value {
            Value::String(text) => query.append_pair(name, text),
            other => query.append_pair(name, &other.to_string()),
        };
    }
    query.finish()
}

/// What is wrong with the arguments, as the model can understand it.
fn mistake(schema: &Value, parameters: &Value) -> Option<String> {
    let validator = match validator(schema) {
        Ok(validator) => validator,
        Err(error) => {
            tracing::debug!(%error, "arguments are not checked: the schema is none");
            return None;
        }
    };
    let error = validator.iter_errors(parameters).next()?;
    Some(format!("the arguments are wrong at \"{}\": {error}", error.instance_path()))
}

fn validator(schema: &Value) -> std::result::Result<Validator, String> {
    // Patterns come from customers: those that backtrack without an end are refused.
    let options = jsonschema::options().with_pattern_options(PatternOptions::regex());
    options.build(schema).map_err(|error| error.to_string())
}

fn problem(message: &str) -> Value {
    json!({ "error": message })
}
