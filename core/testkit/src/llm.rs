//! What every [`Llm`] promises.

use std::sync::Arc;

use futures_util::stream::StreamExt;
use offhook::provider::Llm;
use offhook::provider::llm::{FinishReason, LlmEvent, LlmRequest, Message, ToolCall};
use offhook::{ErrorKind, Result};
use serde_json::Value;

use crate::behaviour::{Suite, Verdict};
use crate::case;

/// A model under test, and what it can be expected to say.
pub struct Subject {
    /// The model.
    pub llm: Arc<dyn Llm>,
    /// A conversation that it answers in one sentence or more, without a tool.
    pub talk: LlmRequest,
    /// A conversation that it answers by calling one or more of the tools, if it can call any.
    pub task: LlmRequest,
    /// What each of those calls gives.
    pub task_result: String,
    /// What the model says once it has the results, or a part of it.
    pub task_answer: String,
}

/// The suite.
pub fn suite() -> Suite<Subject> {
    Suite::new(vec![
        case!(an_answer_is_text_and_then_finished),
        case!(answers_do_not_mix),
        case!(calls_are_whole_and_their_results_are_used, needs_tools),
        case!(calls_have_ids_of_their_own, needs_tools),
        case!(dropped_answers_do_not_disturb_the_next),
        case!(empty_conversations_end_too),
        case!(long_answers_come_in_pieces, needs_streaming),
        case!(tools_without_the_capability_are_unsupported),
        case!(usage_is_told_once_at_most),
        case!(warming_up_may_be_repeated),
    ])
}

fn needs_streaming(subject: &Subject) -> Option<&'static str> {
    (!subject.llm.capabilities().streaming).then_some("streaming")
}

fn needs_tools(subject: &Subject) -> Option<&'static str> {
    (!subject.llm.capabilities().tools).then_some("tools")
}

async fn an_answer_is_text_and_then_finished(subject: Subject) -> Verdict {
    let answer = ask(&subject.llm, subject.talk).await?;
    assert!(!answer.text().trim().is_empty(), "nothing was said");
    assert_eq!(answer.calls(), [], "nothing was to be called");
    assert_eq!(answer.reason, FinishReason::Stop);
    Ok(())
}

async fn answers_do_not_mix(subject: Subject) -> Verdict {
    let alone = ask(&subject.llm, subject.talk.clone()).await?;
    let together = (0..4).map(|_| ask(&subject.llm, subject.talk.clone()));
    for answer in futures_util::future::join_all(together).await {
        let answer = answer?;
        assert_eq!(answer.reason, alone.reason);
        assert!(!answer.text().trim().is_empty(), "one of four answers is empty");
    }
    Ok(())
}

async fn calls_are_whole_and_their_results_are_used(subject: Subject) -> Verdict {
    let mut request = subject.task;
    let answer = ask(&subject.llm, request.clone()).await?;
    assert_eq!(answer.reason, FinishReason::ToolCalls);
    assert!(!answer.calls().is_empty(), "no tool was called");
    for call in answer.calls() {
        assert!(!call.id.is_empty(), "a call has no id");
        assert!(request.tools.iter().any(|tool| tool.name == call.name), "{} is no tool", call.name);
        let arguments: Value = serde_json::from_str(&call.arguments)?;
        assert!(arguments.is_object(), "the arguments are no object: {arguments}");
    }
    answer.continue_with(&subject.task_result, &mut request);
    let answer = ask(&subject.llm, request).await?;
    assert_eq!(answer.reason, FinishReason::Stop);
    let text = answer.text();
    assert!(text.contains(&subject.task_answer), "the result was not used: {text}");
    Ok(())
}

async fn calls_have_ids_of_their_own(subject: Subject) -> Verdict {
    let mut request = subject.task;
    let question = request.messages.last().cloned();
    let mut ids = Vec::new();
    for _ in 0..3 {
        let answer = ask(&subject.llm, request.clone()).await?;
        ids.extend(answer.calls().into_iter().map(|call| call.id));
        answer.continue_with(&subject.task_result, &mut request);
        request.messages.push(Message::Assistant { text: subject.task_answer.clone(), tool_calls: Vec::new() });
        request.messages.extend(question.clone());
    }
    let count = ids.len();
    assert!(count >= 3, "the tool was called {count} times in three turns");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count, "an id came twice in one conversation");
    Ok(())
}

async fn dropped_answers_do_not_disturb_the_next(subject: Subject) -> Verdict {
    drop(subject.llm.generate(subject.talk.clone()).await?);
    let mut events = subject.llm.generate(subject.talk.clone()).await?;
    let first = events.next().await;
    assert!(matches!(first, Some(Ok(_))), "the answer begins with {first:?}");
    drop(events);
    let answer = ask(&subject.llm, subject.talk).await?;
    assert!(!answer.text().trim().is_empty(), "nothing was said");
    Ok(())
}

async fn empty_conversations_end_too(subject: Subject) -> Verdict {
    // To refuse and to answer are both right; to hang or to end without a word why is not.
    let Ok(mut events) = subject.llm.generate(LlmRequest::default()).await else {
        return Ok(());
    };
    let mut last = None;
    while let Some(event) = events.next().await {
        last = Some(event);
    }
    assert!(matches!(last, Some(Err(_) | Ok(LlmEvent::Finished { .. }))), "the events end with {last:?}");
    Ok(())
}

async fn long_answers_come_in_pieces(subject: Subject) -> Verdict {
    let answer = ask(&subject.llm, subject.talk).await?;
    let pieces = answer.events.iter().filter(|event| matches!(event, LlmEvent::Text(_))).count();
    assert!(pieces > 1, "the answer came in {pieces} pieces");
    Ok(())
}

async fn tools_without_the_capability_are_unsupported(subject: Subject) -> Verdict {
    if subject.llm.capabilities().tools {
        return Ok(());
    }
    let refused = subject.llm.generate(subject.task).await.err().map(|error| error.kind());
    assert_eq!(refused, Some(ErrorKind::Unsupported));
    Ok(())
}

async fn usage_is_told_once_at_most(subject: Subject) -> Verdict {
    let answer = ask(&subject.llm, subject.talk).await?;
    let told = answer.events.iter().filter(|event| matches!(event, LlmEvent::Usage { .. })).count();
    assert!(told <= 1, "usage was told {told} times");
    Ok(())
}

async fn warming_up_may_be_repeated(subject: Subject) -> Verdict {
    subject.llm.warm_up().await?;
    subject.llm.warm_up().await?;
    ask(&subject.llm, subject.talk).await?;
    Ok(())
}

struct Answer {
    /// All before the end.
    events: Vec<LlmEvent>,
    reason: FinishReason,
}

impl Answer {
    fn calls(&self) -> Vec<ToolCall> {
        let call = |event: &LlmEvent| match event {
            LlmEvent::ToolCall(call) => Some(call.clone()),
            _ => None,
        };
        self.events.iter().filter_map(call).collect()
    }

    fn text(&self) -> String {
        let piece = |event: &LlmEvent| match event {
            LlmEvent::Text(text) => Some(text.clone()),
            _ => None,
        };
        self.events.iter().filter_map(piece).collect()
    }

    /// Puts the answer into the conversation, and `result` behind each of its calls.
    fn continue_with(&self, result: &str, request: &mut LlmRequest) {
        let tool_calls = self.calls();
        let results: Vec<_> = tool_calls
            .iter()
            .map(|call| Message::Tool { call_id: call.id.clone(), content: result.to_owned() })
            .collect();
        request.messages.push(Message::Assistant { text: self.text(), tool_calls });
        request.messages.extend(results);
    }
}

/// The answer, held to its form: no error, one end, nothing behind it.
async fn ask(llm: &Arc<dyn Llm>, request: LlmRequest) -> Result<Answer> {
    let mut events = Vec::new();
    let mut stream = llm.generate(request).await?;
    while let Some(event) = stream.next().await {
        events.push(event?);
    }
    let last = events.pop();
    let Some(LlmEvent::Finished { reason }) = last else {
        return Err(broken(format!("the events end with {last:?}")));
    };
    if events.iter().any(|event| matches!(event, LlmEvent::Finished { .. })) {
        return Err(broken("the answer finished twice".into()));
    }
    Ok(Answer { events, reason })
}

fn broken(why: String) -> offhook::Error {
    offhook::Error::new(ErrorKind::Unexpected, "testkit.llm", why)
}
