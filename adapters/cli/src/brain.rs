//! What the agent thinks with.

use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use offhook::call::END_CALL;
use offhook::error::Result;
use offhook::provider::llm::{FinishReason, LlmCapabilities, LlmEvent, LlmEvents, LlmRequest};
use offhook::provider::{HttpTransport, Llm, ProviderInfo};
use offhook_local::brain::RulesBrain;
use offhook_openai::{ApiKey, OpenAi, OpenAiConfig};

use crate::args::ModelArgs;
use crate::failure::{Failure, Outcome};

/// Where OpenAI's own key is looked for.
const KEY_VARIABLE: &str = "OPENAI_API_KEY";

/// The brain that the options name: a model over HTTP, tried out, or the built-in rules.
pub async fn chosen(options: &ModelArgs, http: Arc<dyn HttpTransport>) -> Outcome<Arc<dyn Llm>> {
    let Some(name) = &options.llm else { return rules() };
    let key = key(options)?;
    let config = match (&options.llm_url, key) {
        (Some(url), None) => OpenAiConfig::compatible(url, &name.model),
        (Some(url), Some(key)) => OpenAiConfig::compatible(url, &name.model).with_api_key(key),
        (None, Some(key)) => OpenAiConfig::openai(&name.model, key),
        (None, None) => {
            let message = format!("{KEY_VARIABLE} is not set: set it, or name another model with --llm-url");
            return Err(Failure::Usage(message));
        }
    };
    let url = config.base_url.clone();
    let unusable = |error| Failure::during(format_args!("the model at {url} cannot be used"), &error);
    let llm = OpenAi::new(config, http).map_err(&unusable)?;
    llm.warm_up().await.map_err(&unusable)?;
    Ok(Arc::new(llm))
}

/// The receptionist made of rules.
fn rules() -> Outcome<Arc<dyn Llm>> {
    Ok(Arc::new(RulesBrain::clinic()?))
}

fn key(options: &ModelArgs) -> Outcome<Option<ApiKey>> {
    let variable = options.llm_key_env.as_deref();
    let set = |name| env::var(name).ok().filter(|key| !key.trim().is_empty());
    match variable {
        Some(name) => match set(name) {
            Some(key) => Ok(Some(ApiKey::new(key))),
            None => Err(Failure::usage(format_args!("the environment variable {name} is not set"))),
        },
        // A key goes to nobody but whom it belongs to.
        None if options.llm_url.is_some() => Ok(None),
        None => Ok(set(KEY_VARIABLE).map(ApiKey::new)),
    }
}

/// An agent that hears the caller out: whatever is said, it answers "I see."
pub struct Listener;

#[async_trait]
impl Llm for Listener {
    fn info(&self) -> ProviderInfo {
        ProviderInfo { name: "listener", detail: String::new() }
    }

    fn capabilities(&self) -> LlmCapabilities {
        LlmCapabilities { streaming: true, tools: true }
    }

    async fn generate(&self, _request: LlmRequest) -> Result<LlmEvents> {
        let finished = LlmEvent::Finished { reason: FinishReason::Stop };
        Ok(stream::iter([Ok(LlmEvent::Text("I see.".to_owned())), Ok(finished)]).boxed())
    }

    async fn warm_up(&self) -> Result<()> {
        Ok(())
    }
}

/// A brain that cannot end the call as long as the caller has more to say: a recording may say goodbye in the middle.
pub struct Staying {
    begun: Arc<AtomicUsize>,
    items: usize,
    llm: Arc<dyn Llm>,
}

impl Staying {
    /// `llm`, without its way to hang up until the caller has `begun` the last of so many `items`.
    pub fn new(llm: Arc<dyn Llm>, begun: Arc<AtomicUsize>, items: usize) -> Self {
        Self { begun, items, llm }
    }
}

#[async_trait]
impl Llm for Staying {
    fn info(&self) -> ProviderInfo {
        self.llm.info()
    }

    fn capabilities(&self) -> LlmCapabilities {
        self.llm.capabilities()
    }

    async fn generate(&self, mut request: LlmRequest) -> Result<LlmEvents> {
        if self.begun.load(Ordering::Relaxed) < self.items {
            request.tools.retain(|tool| tool.name != END_CALL);
        }
        self.llm.generate(request).await
    }

    async fn warm_up(&self) -> Result<()> {
        self.llm.warm_up().await
    }
}

#[cfg(test)]
mod tests {
    use offhook::provider::llm::Tool;

    use super::*;

    /// Says whether it could hang up.
    struct Parrot;

    #[async_trait]
    impl Llm for Parrot {
        fn info(&self) -> ProviderInfo {
            ProviderInfo { name: "parrot", detail: String::new() }
        }

        fn capabilities(&self) -> LlmCapabilities {
            LlmCapabilities { streaming: true, tools: true }
        }

        async fn generate(&self, request: LlmRequest) -> Result<LlmEvents> {
            let names: Vec<_> = request.tools.into_iter().map(|tool| Ok(LlmEvent::Text(tool.name))).collect();
            Ok(stream::iter(names).boxed())
        }

        async fn warm_up(&self) -> Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn the_agent_stays_until_the_last_item_was_begun() {
        let begun = Arc::new(AtomicUsize::new(1));
        let llm = Staying::new(Arc::new(Parrot), begun.clone(), 2);
        let tool =
            |name: &str| Tool { description: String::new(), name: name.to_owned(), parameters: serde_json::json!({}) };
        let request = LlmRequest::new(Vec::new()).with_tools(vec![tool("check"), tool(END_CALL)]);
        assert_eq!(llm.generate(request.clone()).await.unwrap().count().await, 1);
        begun.store(2, Ordering::Relaxed);
        assert_eq!(llm.generate(request).await.unwrap().count().await, 2);
    }
}
