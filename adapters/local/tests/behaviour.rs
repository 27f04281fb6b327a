//! The receptionist, held to what every `Llm` promises.

use std::process::ExitCode;
use std::sync::Arc;

use offhook::Result;
use offhook::provider::llm::{LlmRequest, Message, Tool};
use offhook_local::brain::RulesBrain;
use offhook_testkit::{behaviour, llm};

fn main() -> ExitCode {
    behaviour::run(llm::suite().trials("rules", || async { subject() }))
}

fn subject() -> Result<llm::Subject> {
    let tool = |name: &str| Tool {
        description: "Part of the test.".to_owned(),
        name: name.to_owned(),
        parameters: serde_json::json!({ "type": "object" }),
    };
    let asks = |text: &str| LlmRequest::new(vec![Message::User { text: text.to_owned() }]);
    let tools = vec![tool("check_appointment"), tool("end_call")];
    Ok(llm::Subject {
        llm: Arc::new(RulesBrain::clinic()?),
        talk: asks("What are your opening hours?"),
        task: asks("Does +628123456789 have an appointment?").with_tools(tools),
        task_result: r#"{"found":true,"day":"tomorrow","time":"half past ten","doctor":"Doctor Sari"}"#.to_owned(),
        task_answer: "half past ten".to_owned(),
    })
}
