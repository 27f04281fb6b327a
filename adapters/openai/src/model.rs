//! [`OpenAi`]: the model.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use offhook::provider::llm::{LlmCapabilities, LlmEvent, LlmEvents, LlmRequest, Message};
use offhook::provider::transport::{HttpMethod, HttpRequest, HttpResponse};
use offhook::provider::{BoxStream, HttpTransport, Llm, ProviderInfo};
use offhook::{Error, ErrorKind, Result};
use serde_json::Value;

use crate::answer::Answer;
use crate::config::{Endpoint, OpenAiConfig};
use crate::map::{Refusal, map};
use crate::request::encode;

/// How much of a refusal is read to tell its kind.
pub const ERROR_BYTES_MAX: usize = 64 * 1024;
/// Longest list of models that is read to keep the connection.
pub const MODELS_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Most pieces read behind the end of an answer.
const DRAIN_PIECES_MAX: usize = 16;

/// A model behind a Chat Completions endpoint.
pub struct OpenAi {
    config: OpenAiConfig,
    endpoint: Endpoint,
    http: Arc<dyn HttpTransport>,
}

impl OpenAi {
    /// The model that `config` names, over `http`. `ConfigInvalid` when the base URL cannot be one.
    pub fn new(config: OpenAiConfig, http: Arc<dyn HttpTransport>) -> Result<Self> {
        let endpoint = Endpoint::parse(&config.base_url)?;
        Ok(Self { config, endpoint, http })
    }

    fn request(&self, method: HttpMethod, url: &str) -> HttpRequest {
        let request = HttpRequest::new(method, url, self.config.timeout);
        match &self.config.api_key {
            Some(key) => request.header("authorization", key.bearer()),
            None => request,
        }
    }
}

#[async_trait]
impl Llm for OpenAi {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "openai", detail: self.config.model.clone() }
    }

    fn capabilities(&self) -> LlmCapabilities {
        LlmCapabilities { streaming: true, tools: true }
    }

    async fn generate(&self, request: LlmRequest) -> Result<LlmEvents> {
        let body = encode(&self.config.model, self.config.tokens_field, &request)?;
        let sent = self
            .request(HttpMethod::Post, &self.endpoint.chat)
            .header("accept", "text/event-stream")
            .header("content-type", "application/json")
            .body(body);
        let response = accept(self.http.send(sent).await?).await?;
        Ok(events(response.body, Answer::new(call_ids(&request))))
    }

    /// Opens a connection by asking for the list of models, which costs nothing.
    ///
    /// `Unauthenticated` or `PermissionDenied` when the key is wrong; an endpoint without such a list is as good.
    async fn warm_up(&self) -> Result<()> {
        let response = self.http.send(self.request(HttpMethod::Get, &self.endpoint.models)).await?;
        if matches!(response.status, 401 | 403) {
            let refusal = Refusal { error: &Value::Null, status: Some(response.status), retry_after: None };
            return Err(map("llm.warm_up", &refusal));
        }
        // A connection is kept only when its response was read to the end, and not having it is no failure.
        let _ = response.bytes(MODELS_BYTES_MAX).await;
        Ok(())
    }
}

/// The response, if it is an answer that streams.
async fn accept(response: HttpResponse) -> Result<HttpResponse> {
    const OPERATION: &str = "llm.generate";
    let status = response.status;
    let retry_after = response.header("retry-after").map(str::to_owned);
    let content_type = response.header("content-type").unwrap_or_default();
    let streams = content_type.trim_start().to_ascii_lowercase().starts_with("text/event-stream");
    let succeeded = (200..300).contains(&status);
    if succeeded && streams {
        return Ok(response);
    }
    // A refusal that cannot be read is still a refusal.
    let body = response.bytes(ERROR_BYTES_MAX).await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let error = &body["error"];
    if succeeded {
        // Gateways pass on the errors that they meet upstream as a success.
        return Err(match error {
            Value::Null => Error::new(ErrorKind::Unexpected, OPERATION, "the endpoint does not stream its answer"),
            _ => map(OPERATION, &Refusal { error, status: None, retry_after: retry_after.as_deref() }),
        });
    }
    Err(map(OPERATION, &Refusal { error, status: Some(status), retry_after: retry_after.as_deref() }))
}

fn call_ids(request: &LlmRequest) -> BTreeSet<String> {
    let calls = |message: &Message| match message {
        Message::Assistant { tool_calls, .. } => tool_calls.iter().map(|call| call.id.clone()).collect(),
        _ => Vec::new(),
    };
    request.messages.iter().flat_map(calls).collect()
}

type Body = BoxStream<'static, Result<Bytes>>;

fn events(body: Body, answer: Answer) -> LlmEvents {
    let reading = Reading { answer, body: Some(body), failure: None, queue: VecDeque::new() };
    stream::unfold(reading, |mut reading| async move {
        let event = reading.next().await?;
        Some((event, reading))
    })
    .boxed()
}

struct Reading {
    answer: Answer,
    /// `None` once nothing more is wanted of it.
    body: Option<Body>,
    failure: Option<Error>,
    queue: VecDeque<LlmEvent>,
}

impl Reading {
    async fn next(&mut self) -> Option<Result<LlmEvent>> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(Ok(event));
            }
            if let Some(error) = self.failure.take() {
                return Some(Err(error));
            }
            let body = self.body.take()?;
            if let Err(error) = self.read(body).await {
                self.body = None;
                self.failure = Some(error);
            }
        }
    }

    async fn read(&mut self, mut body: Body) -> Result<()> {
        if self.answer.is_done() {
            drain(body).await;
            return self.answer.finish(None, &mut self.queue);
        }
        match body.next().await {
            Some(Ok(piece)) => {
                self.body = Some(body);
                self.answer.feed(&piece, &mut self.queue)
            }
            Some(Err(error)) => self.answer.finish(Some(error), &mut self.queue),
            None => self.answer.finish(None, &mut self.queue),
        }
    }
}

/// Reads to the end of the response, which follows that of the answer at once: only then is the connection kept, and the
/// next turn is not late by a handshake.
async fn drain(mut body: Body) {
    for _ in 0..DRAIN_PIECES_MAX {
        let Some(Ok(_)) = body.next().await else { return };
    }
}
