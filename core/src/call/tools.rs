//! The tools that the machine itself carries out.

use serde_json::{Value, json};

use super::config::CallConfig;
use super::policy::Policy;
use super::transfer::{Origin, Wish};
use crate::provider::llm::{Tool, ToolCall};
use crate::provider::telephony::DtmfDigit;

/// The tool by which a model ends the call, once what it has said is heard. Every agent has it.
pub const END_CALL: &str = "end_call";

/// The tool by which a model sends digits, where the policy lets it.
pub const SEND_DIGITS: &str = "send_digits";

/// The tool by which a model changes the language, for agents whose policy allows others.
pub const SWITCH_LANGUAGE: &str = "switch_language";

/// The tool by which a model hands the call over, for agents with targets.
pub const TRANSFER_CALL: &str = "transfer_call";

/// Digits in one call of [`SEND_DIGITS`].
const DIGITS_MAX: usize = 64;

/// The built-in tools of a call.
pub(super) fn built_in(config: &CallConfig) -> Vec<Tool> {
    let policy = &config.policy;
    let mut tools = vec![Tool {
        description: "Ends the call. Say goodbye in the same answer.".to_owned(),
        name: END_CALL.to_owned(),
        parameters: json!({ "type": "object", "properties": {} }),
    }];
    if policy.send_digits {
        tools.push(Tool {
            description: "Presses keys of the telephone, to get through a menu for instance.".to_owned(),
            name: SEND_DIGITS.to_owned(),
            parameters: json!({
                "type": "object",
                "properties": { "digits": { "type": "string", "pattern": "^[0-9*#A-D]+$" } },
                "required": ["digits"],
            }),
        });
    }
    if policy.languages.tool && !policy.languages.allowed.is_empty() {
        tools.push(language_tool(config));
    }
    if !policy.transfer.targets.is_empty() {
        tools.push(transfer_tool(policy));
    }
    tools
}

fn language_tool(config: &CallConfig) -> Tool {
    let languages: Vec<_> = [&config.language].into_iter().chain(&config.policy.languages.allowed).collect();
    Tool {
        description: "Changes the language of the call, when the caller speaks another one or asks for it.".to_owned(),
        name: SWITCH_LANGUAGE.to_owned(),
        parameters: json!({
            "type": "object",
            "properties": { "language": { "type": "string", "enum": languages } },
            "required": ["language"],
        }),
    }
}

fn transfer_tool(policy: &Policy) -> Tool {
    let targets = &policy.transfer.targets;
    let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
    let whom: Vec<String> = targets.iter().map(|target| format!("{}: {}", target.name, target.description)).collect();
    Tool {
        description: format!(
            "Hands the call over to a person. Tell the caller in the same answer. Whom, and when:\n{}",
            whom.join("\n")
        ),
        name: TRANSFER_CALL.to_owned(),
        parameters: json!({
            "type": "object",
            "properties": {
                "target": { "type": "string", "enum": names },
                "summary": {
                    "type": "string",
                    "description": "What the person should know before taking the call, in a sentence or two.",
                },
            },
            "required": ["target", "summary"],
        }),
    }
}

/// The transfer that a tool call asks for, or what to tell the model instead.
pub(super) fn wish(call: &ToolCall, policy: &Policy) -> Result<Wish, String> {
    let arguments: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
    let name = arguments["target"].as_str().unwrap_or_default();
    let target = policy.transfer.target(name).ok_or_else(|| error("there is no such target"))?;
    Ok(Wish {
        brief: arguments["summary"].as_str().unwrap_or_default().to_owned(),
        origin: Origin::Tool { call_id: call.id.clone() },
        target: target.clone(),
    })
}

/// The digits that a tool call asks for, or what to tell the model instead.
pub(super) fn digits(call: &ToolCall) -> Result<Vec<DtmfDigit>, String> {
    let arguments: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
    let text = arguments["digits"].as_str().unwrap_or_default();
    let digits = text.chars().map(DtmfDigit::try_from).collect::<Result<Vec<_>, _>>();
    match digits {
        Ok(digits) if (1..=DIGITS_MAX).contains(&digits.len()) => Ok(digits),
        _ => Err(error("digits must be 1 to 64 of 0 to 9, *, # and A to D")),
    }
}

fn error(message: &str) -> String {
    json!({ "error": message }).to_string()
}
