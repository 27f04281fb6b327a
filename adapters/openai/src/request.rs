//! What is asked, as Chat Completions has it.

use offhook::provider::llm::{LlmRequest, Message, Tool, ToolCall};
use offhook::{Error, ErrorKind, Result};
use serde::Serialize;

use crate::config::TokensField;

/// `request` to `model` as a JSON body.
///
/// `tool_choice` is left at its default, which lets the model choose.
pub(crate) fn encode(model: &str, tokens_field: TokensField, request: &LlmRequest) -> Result<Vec<u8>> {
    const OPERATION: &str = "llm.generate";
    if request.temperature.is_some_and(|temperature| !temperature.is_finite()) {
        return Err(Error::new(ErrorKind::ConfigInvalid, OPERATION, "the temperature is not a number"));
    }
    let limit = |field| request.tokens_max.filter(|_| field == tokens_field);
    let body = Body {
        model,
        messages: request
            .messages
            .iter()
            .filter_map(|message| encode_message(message).transpose())
            .collect::<Result<_>>()?,
        stream: true,
        stream_options: StreamOptions { include_usage: true },
        max_completion_tokens: limit(TokensField::MaxCompletionTokens),
        max_tokens: limit(TokensField::MaxTokens),
        temperature: request.temperature,
        tools: request.tools.iter().map(encode_tool).collect(),
    };
    serde_json::to_vec(&body).map_err(|_| Error::new(ErrorKind::ConfigInvalid, OPERATION, "the request is not JSON"))
}

/// `None` for a turn in which the agent neither was heard nor called anything; endpoints refuse those.
fn encode_message(message: &Message) -> Result<Option<WireMessage<'_>>> {
    let encoded = match message {
        Message::Assistant { text, tool_calls } if text.is_empty() && tool_calls.is_empty() => return Ok(None),
        Message::Assistant { text, tool_calls } => WireMessage {
            content: Some(text.as_str()).filter(|text| !text.is_empty()),
            role: "assistant",
            tool_call_id: None,
            tool_calls: tool_calls.iter().map(encode_call).collect(),
        },
        Message::System { text } => WireMessage::plain("system", text),
        Message::Tool { call_id, content } => {
            WireMessage { tool_call_id: Some(call_id), ..WireMessage::plain("tool", content) }
        }
        Message::User { text } => WireMessage::plain("user", text),
        _ => return Err(Error::unsupported("llm.generate", "this kind of message")),
    };
    Ok(Some(encoded))
}

fn encode_call(call: &ToolCall) -> WireCall<'_> {
    // Some endpoints parse the history's arguments and fail on an empty string.
    let arguments = if call.arguments.is_empty() { "{}" } else { call.arguments.as_str() };
    WireCall { function: WireFunction { arguments, name: &call.name }, id: &call.id, r#type: "function" }
}

fn encode_tool(tool: &Tool) -> WireTool<'_> {
    let function = WireToolFunction { description: &tool.description, name: &tool.name, parameters: &tool.parameters };
    WireTool { function, r#type: "function" }
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<WireMessage<'a>>,
    stream: bool,
    stream_options: StreamOptions,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<WireTool<'a>>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
struct WireMessage<'a> {
    /// Null only beside tool calls.
    content: Option<&'a str>,
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WireCall<'a>>,
}

impl<'a> WireMessage<'a> {
    fn plain(role: &'static str, content: &'a str) -> Self {
        Self { content: Some(content), role, tool_call_id: None, tool_calls: Vec::new() }
    }
}

#[derive(Serialize)]
struct WireCall<'a> {
    function: WireFunction<'a>,
    id: &'a str,
    r#type: &'static str,
}

#[derive(Serialize)]
struct WireFunction<'a> {
    arguments: &'a str,
    name: &'a str,
}

#[derive(Serialize)]
struct WireTool<'a> {
    function: WireToolFunction<'a>,
    r#type: &'static str,
}

#[derive(Serialize)]
struct WireToolFunction<'a> {
    description: &'a str,
    name: &'a str,
    parameters: &'a serde_json::Value,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn conversation_is_written_in_the_dialect() {
        let call =
            |id: &str, arguments: &str| ToolCall { arguments: arguments.into(), id: id.into(), name: "find".into() };
        let mut request = LlmRequest::new(vec![
            Message::System { text: "be brief".into() },
            Message::User { text: "hi".into() },
            Message::Assistant { text: String::new(), tool_calls: Vec::new() },
            Message::Assistant { text: String::new(), tool_calls: vec![call("1", "{\"a\":1}"), call("2", "")] },
            Message::Tool { call_id: "1".into(), content: "nine".into() },
            Message::Assistant { text: "At nine.".into(), tool_calls: Vec::new() },
        ])
        .with_tools(vec![Tool {
            description: "finds".into(),
            name: "find".into(),
            parameters: json!({"type": "object"}),
        }]);
        request.temperature = Some(0.5);
        request.tokens_max = Some(64);
        let body: Value =
            serde_json::from_slice(&encode("m", TokensField::MaxCompletionTokens, &request).unwrap()).unwrap();
        let expected = json!({
            "model": "m",
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "1", "type": "function", "function": {"name": "find", "arguments": "{\"a\":1}"}},
                    {"id": "2", "type": "function", "function": {"name": "find", "arguments": "{}"}},
                ]},
                {"role": "tool", "tool_call_id": "1", "content": "nine"},
                {"role": "assistant", "content": "At nine."},
            ],
            "stream": true,
            "stream_options": {"include_usage": true},
            "max_completion_tokens": 64,
            "temperature": 0.5,
            "tools": [{"type": "function", "function":
                {"name": "find", "description": "finds", "parameters": {"type": "object"}}}],
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn limit_goes_by_the_endpoints_name_and_defaults_are_left_out() {
        let mut request = LlmRequest::new(vec![Message::User { text: "hi".into() }]);
        request.tokens_max = Some(8);
        let body: Value = serde_json::from_slice(&encode("m", TokensField::MaxTokens, &request).unwrap()).unwrap();
        assert_eq!((&body["max_tokens"], body.get("max_completion_tokens")), (&json!(8), None));
        assert!(body.get("tools").is_none() && body.get("temperature").is_none());
    }

    #[test]
    fn temperature_that_is_no_number_is_refused() {
        let mut request = LlmRequest::default();
        request.temperature = Some(f32::NAN);
        let error = encode("m", TokensField::MaxTokens, &request).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConfigInvalid);
    }
}
