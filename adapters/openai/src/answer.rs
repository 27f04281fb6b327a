//! What comes back: the bytes of a Chat Completions stream to the events of an answer.

use std::collections::{BTreeSet, VecDeque};

use offhook::provider::llm::{FinishReason, LlmEvent, ToolCall};
use offhook::{Error, ErrorKind, Result};
use serde_json::Value;

use crate::chunk::{self, CallDelta, Choice, Usage};
use crate::map::{Refusal, map};
use crate::sse::{Event, Parser};

/// Longest answer, its text and its calls together.
pub const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest arguments of one call.
pub const ARGUMENTS_BYTES_MAX: usize = 256 * 1024;
/// Longest name or id of a call.
pub const NAME_BYTES_MAX: usize = 512;
/// Most calls in one answer.
pub const TOOL_CALLS_MAX: usize = 64;

pub(crate) const OPERATION: &str = "llm.stream";

/// The events of a whole answer that came in `pieces`; for tests and fuzzing, as [`OpenAi`](crate::OpenAi) decodes it.
pub fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Result<LlmEvent>> {
    let mut answer = Answer::new(BTreeSet::new());
    let mut events = VecDeque::new();
    let mut result = Ok(());
    for piece in pieces {
        if answer.is_done() || result.is_err() {
            break;
        }
        result = answer.feed(piece, &mut events);
    }
    let result = result.and_then(|()| answer.finish(None, &mut events));
    events.into_iter().map(Ok).chain(result.err().map(Err)).collect()
}

/// An answer under way.
#[derive(Debug)]
pub(crate) struct Answer {
    bytes: usize,
    calls: Vec<PendingCall>,
    /// The peer said that nothing follows.
    done: bool,
    ids: BTreeSet<String>,
    parser: Parser,
    reason: Option<FinishReason>,
    usage: Option<Usage>,
}

impl Answer {
    /// An answer in a conversation whose calls have had `ids`.
    pub(crate) fn new(ids: BTreeSet<String>) -> Self {
        Self { bytes: 0, calls: Vec::new(), done: false, ids, parser: Parser::default(), reason: None, usage: None }
    }

    /// Whether the peer has said that nothing follows.
    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Takes the next bytes and appends what they complete to `events`. Nothing may be fed after a failure.
    pub(crate) fn feed(&mut self, bytes: &[u8], events: &mut VecDeque<LlmEvent>) -> Result<()> {
        let mut parser = std::mem::take(&mut self.parser);
        let result = parser.feed(bytes, |event| self.take_event(&event, events));
        self.parser = parser;
        result
    }

    /// Ends the answer: appends what is still due, or says why it is not whole.
    ///
    /// `failure` is what broke the stream; `None` when it ended by itself.
    pub(crate) fn finish(&mut self, failure: Option<Error>, events: &mut VecDeque<LlmEvent>) -> Result<()> {
        if self.reason.is_none() && !self.done {
            return Err(failure.unwrap_or_else(|| {
                Error::new(ErrorKind::Unavailable, OPERATION, "the stream ended before the answer did")
            }));
        }
        if self.reason.is_none() {
            self.end_turn("stop", events)?;
        }
        if let Some(usage) = self.usage.take() {
            let details = usage.prompt_tokens_details.unwrap_or_default();
            events.push_back(LlmEvent::Usage {
                cached_tokens: details.cached_tokens.unwrap_or_default(),
                input_tokens: usage.prompt_tokens.unwrap_or_default(),
                output_tokens: usage.completion_tokens.unwrap_or_default(),
            });
        }
        let reason = self.reason.unwrap_or(FinishReason::Stop);
        events.push_back(LlmEvent::Finished { reason });
        Ok(())
    }

    fn take_event(&mut self, event: &Event, events: &mut VecDeque<LlmEvent>) -> Result<()> {
        if self.done {
            return Ok(());
        }
        if event.data.trim() == "[DONE]" {
            self.done = true;
            return Ok(());
        }
        let chunk = chunk::parse(&event.data)?;
        if let Some(error) = chunk.error {
            return Err(refused(&error));
        }
        if event.name == "error" {
            return Err(refused(&Value::Null));
        }
        // Some endpoints repeat a growing count; the last is the whole.
        self.usage = chunk.usage.or(self.usage.take());
        for choice in chunk.choices.unwrap_or_default() {
            // One answer is asked for; endpoints that send more are not listened to.
            if choice.index == 0 && self.reason.is_none() {
                self.take_choice(choice, events)?;
            }
        }
        Ok(())
    }

    fn take_choice(&mut self, choice: Choice, events: &mut VecDeque<LlmEvent>) -> Result<()> {
        let delta = choice.delta.unwrap_or_default();
        for text in [delta.content, delta.refusal].into_iter().flatten() {
            if !text.is_empty() {
                self.grow(text.len())?;
                events.push_back(LlmEvent::Text(text));
            }
        }
        for call in delta.tool_calls.unwrap_or_default() {
            self.take_call(call)?;
        }
        // Some endpoints write an empty reason where the dialect has none.
        match choice.finish_reason.filter(|reason| !reason.is_empty()) {
            Some(reason) => self.end_turn(&reason, events),
            None => Ok(()),
        }
    }

    fn take_call(&mut self, delta: CallDelta) -> Result<()> {
        let function = delta.function.unwrap_or_default();
        let id = delta.id.unwrap_or_default();
        let name = function.name.unwrap_or_default();
        let arguments = function.arguments.map(chunk::spell_arguments).unwrap_or_default();
        self.grow(id.len() + name.len() + arguments.len())?;
        let position = self.calls.iter().rposition(|call| match delta.index {
            Some(index) => call.index == Some(index),
            None => true,
        });
        // Some endpoints give every call the same index, or none; then another id begins another call.
        let position = position.filter(|position| {
            let known = &self.calls[*position].id;
            id.is_empty() || known.is_empty() || *known == id
        });
        let position = match position {
            Some(position) => position,
            None if self.calls.len() == TOOL_CALLS_MAX => return Err(too_much("the answer has too many calls")),
            None => {
                self.calls.push(PendingCall { index: delta.index, ..PendingCall::default() });
                self.calls.len() - 1
            }
        };
        let call = &mut self.calls[position];
        if call.id.is_empty() {
            call.id = id;
        }
        // A name comes whole; where it is repeated it is the same.
        if call.name.is_empty() {
            call.name = name;
        }
        call.arguments.push_str(&arguments);
        if call.arguments.len() > ARGUMENTS_BYTES_MAX || call.id.len().max(call.name.len()) > NAME_BYTES_MAX {
            return Err(too_much("a call of the answer is too long"));
        }
        Ok(())
    }

    fn end_turn(&mut self, reason: &str, events: &mut VecDeque<LlmEvent>) -> Result<()> {
        let calls = std::mem::take(&mut self.calls);
        self.reason = Some(match reason {
            "content_filter" => FinishReason::ContentFilter,
            "error" => return Err(refused(&Value::Null)),
            "length" => FinishReason::Length,
            // Some endpoints say `stop` also after calls.
            _ if calls.is_empty() => FinishReason::Stop,
            _ => FinishReason::ToolCalls,
        });
        if self.reason != Some(FinishReason::ToolCalls) {
            // Calls that were cut off are not whole, and half a call must not be made.
            return Ok(());
        }
        for call in calls {
            let call = self.complete(call)?;
            events.push_back(LlmEvent::ToolCall(call));
        }
        Ok(())
    }

    fn complete(&mut self, call: PendingCall) -> Result<ToolCall> {
        if call.name.is_empty() {
            return Err(Error::new(ErrorKind::Unexpected, OPERATION, "the model called a tool without a name"));
        }
        // Local servers leave ids out or start over with each answer.
        let id = if call.id.is_empty() || self.ids.contains(&call.id) { self.unused_id() } else { call.id };
        self.ids.insert(id.clone());
        Ok(ToolCall { arguments: call.arguments, id, name: call.name })
    }

    fn unused_id(&self) -> String {
        let mut number = self.ids.len();
        loop {
            let id = format!("call_{number}");
            if !self.ids.contains(&id) {
                return id;
            }
            number += 1;
        }
    }

    fn grow(&mut self, bytes: usize) -> Result<()> {
        self.bytes += bytes;
        if self.bytes > ANSWER_BYTES_MAX {
            return Err(too_much("the answer is too long"));
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct PendingCall {
    arguments: String,
    id: String,
    index: Option<u64>,
    name: String,
}

fn refused(error: &Value) -> Error {
    map(OPERATION, &Refusal { error, status: None, retry_after: None })
}

fn too_much(what: &'static str) -> Error {
    Error::new(ErrorKind::Rejected, OPERATION, what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn stream(chunks: &[Value]) -> String {
        chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect()
    }

    fn delta(delta: Value) -> Value {
        json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
    }

    fn end(reason: &str) -> Value {
        json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    }

    fn calls(calls: Value) -> Value {
        delta(json!({"tool_calls": calls}))
    }

    fn text(text: &str) -> LlmEvent {
        LlmEvent::Text(text.into())
    }

    fn call(id: &str, name: &str, arguments: &str) -> LlmEvent {
        LlmEvent::ToolCall(ToolCall { arguments: arguments.into(), id: id.into(), name: name.into() })
    }

    fn finished(reason: FinishReason) -> LlmEvent {
        LlmEvent::Finished { reason }
    }

    /// The events, and how the answer failed if it did.
    fn run(bytes: &str) -> (Vec<LlmEvent>, Option<ErrorKind>) {
        let mut failure = None;
        let mut events = Vec::new();
        for event in decode([bytes.as_bytes()]) {
            match event {
                Ok(event) => events.push(event),
                Err(error) => failure = Some(error.kind()),
            }
        }
        (events, failure)
    }

    #[test]
    fn tokens_that_were_cached_are_told() {
        let details = json!({"cached_tokens": 2, "audio_tokens": 0});
        let usage = json!({"prompt_tokens": 3, "completion_tokens": 1, "prompt_tokens_details": details});
        let chunks = [delta(json!({"content": "Hi"})), end("stop"), json!({"choices": [], "usage": usage})];
        let (events, _) = run(&(stream(&chunks) + "data: [DONE]\n\n"));
        assert_eq!(events[1], LlmEvent::Usage { cached_tokens: 2, input_tokens: 3, output_tokens: 1 });
    }

    #[test]
    fn text_usage_and_end_come_in_order() {
        let usage = json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}});
        let chunks =
            [delta(json!({"role": "assistant", "content": ""})), delta(json!({"content": "Hi"})), end("stop"), usage];
        let expected = [
            text("Hi"),
            LlmEvent::Usage { cached_tokens: 0, input_tokens: 3, output_tokens: 2 },
            finished(FinishReason::Stop),
        ];
        assert_eq!(run(&(stream(&chunks) + "data: [DONE]\n\n")), (expected.to_vec(), None));
    }

    #[test]
    fn calls_are_put_together_by_index() {
        let chunks = [
            calls(json!([{"index": 0, "id": "a", "type": "function", "function": {"name": "one", "arguments": ""}}])),
            calls(json!([{"index": 1, "id": "b", "function": {"name": "two", "arguments": "{"}}])),
            calls(
                json!([{"index": 0, "function": {"arguments": "{\"x\""}}, {"index": 1, "function": {"arguments": "}"}}]),
            ),
            calls(json!([{"index": 0, "function": {"arguments": ":1}"}}])),
            end("tool_calls"),
        ];
        let expected = [call("a", "one", "{\"x\":1}"), call("b", "two", "{}"), finished(FinishReason::ToolCalls)];
        assert_eq!(run(&stream(&chunks)), (expected.to_vec(), None));
    }

    #[test]
    fn calls_of_sloppy_endpoints_are_told_apart() {
        let same_index = [
            calls(json!([{"index": 0, "id": "a", "function": {"name": "one", "arguments": {"x": 1}}}])),
            calls(json!([{"index": 0, "id": "b", "function": {"name": "two"}}])),
            end("stop"),
        ];
        let expected = [call("a", "one", "{\"x\":1}"), call("b", "two", ""), finished(FinishReason::ToolCalls)];
        assert_eq!(run(&stream(&same_index)), (expected.to_vec(), None));
        let no_ids = [calls(json!([{"function": {"name": "one", "arguments": "{}"}}])), end("tool_calls")];
        let expected = [call("call_0", "one", "{}"), finished(FinishReason::ToolCalls)];
        assert_eq!(run(&stream(&no_ids)), (expected.to_vec(), None));
    }

    #[test]
    fn ids_that_the_conversation_has_had_are_replaced() {
        let chunks = [calls(json!([{"index": 0, "id": "call_0", "function": {"name": "one"}}])), end("tool_calls")];
        let mut answer = Answer::new(BTreeSet::from(["call_0".to_owned(), "call_2".to_owned()]));
        let mut events = VecDeque::new();
        answer.feed(stream(&chunks).as_bytes(), &mut events).unwrap();
        assert_eq!(events, [call("call_3", "one", "")]);
    }

    #[test]
    fn calls_that_were_cut_off_are_not_made() {
        let part = calls(json!([{"index": 0, "id": "a", "function": {"name": "one", "arguments": "{\"x"}}]));
        assert_eq!(run(&stream(&[part, end("length")])), (vec![finished(FinishReason::Length)], None));
    }

    #[test]
    fn ends_are_understood_in_their_variety() {
        for (reason, expected) in [
            ("stop", FinishReason::Stop),
            ("eos", FinishReason::Stop),
            ("length", FinishReason::Length),
            ("content_filter", FinishReason::ContentFilter),
        ] {
            assert_eq!(run(&stream(&[end(reason)])), (vec![finished(expected)], None));
        }
        let unended = stream(&[end(""), delta(json!({"content": "Hi"}))]);
        assert_eq!(
            run(&(unended.clone() + "data: [DONE]\n\n")),
            (vec![text("Hi"), finished(FinishReason::Stop)], None)
        );
        assert_eq!(run(&unended), (vec![text("Hi")], Some(ErrorKind::Unavailable)));
        assert_eq!(run(""), (vec![], Some(ErrorKind::Unavailable)));
    }

    #[test]
    fn nothing_after_the_end_is_an_event() {
        let late = [end("stop"), delta(json!({"content": "late"})), end("length")];
        assert_eq!(run(&stream(&late)), (vec![finished(FinishReason::Stop)], None));
        let later = stream(&[end("stop")]) + "data: [DONE]\n\ndata: garbage\n\n";
        assert_eq!(run(&later), (vec![finished(FinishReason::Stop)], None));
    }

    #[test]
    fn errors_inside_the_stream_end_it() {
        let begun = stream(&[delta(json!({"content": "Hi"}))]);
        for (rest, kind) in [
            (
                "data: {\"error\": {\"message\": \"s3cret\", \"type\": \"rate_limit_error\"}}\n\n",
                ErrorKind::RateLimited,
            ),
            ("event: error\ndata: {\"message\": \"s3cret\"}\n\n", ErrorKind::Unavailable),
            ("data: {\"choices\": [s3cret\n\n", ErrorKind::Unexpected),
            ("data: {\"choices\": \"s3cret\"}\n\n", ErrorKind::Unexpected),
            ("data: {\"choices\": [{\"finish_reason\": \"error\"}]}\n\n", ErrorKind::Unavailable),
        ] {
            let events = decode([begun.as_bytes(), rest.as_bytes()]);
            assert_eq!(events[0].as_ref().unwrap(), &text("Hi"));
            let error = events[1].as_ref().unwrap_err();
            assert_eq!((error.kind(), events.len()), (kind, 2), "{rest}");
            assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
        }
    }

    #[test]
    fn answers_without_measure_are_refused() {
        let long = delta(json!({"content": "x".repeat(ARGUMENTS_BYTES_MAX)}));
        let chunks = vec![long; ANSWER_BYTES_MAX / ARGUMENTS_BYTES_MAX + 1];
        assert_eq!(run(&stream(&chunks)).1, Some(ErrorKind::Rejected));
        let long = calls(json!([{"index": 0, "id": "a", "function": {"arguments": "x".repeat(ARGUMENTS_BYTES_MAX)}}]));
        let more = calls(json!([{"index": 0, "function": {"arguments": "x"}}]));
        assert_eq!(run(&stream(&[long, more])), (vec![], Some(ErrorKind::Rejected)));
        let many: Vec<_> = (0..=TOOL_CALLS_MAX).map(|n| calls(json!([{"index": n}]))).collect();
        assert_eq!(run(&stream(&many)), (vec![], Some(ErrorKind::Rejected)));
        let nameless = [calls(json!([{"index": 0, "id": "a"}])), end("tool_calls")];
        assert_eq!(run(&stream(&nameless)), (vec![], Some(ErrorKind::Unexpected)));
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_one_finish_or_one_error(
            pieces in proptest::collection::vec(
                prop_oneof![
                    Just(stream(&[delta(json!({"content": "Hi"}))])),
                    Just(stream(&[calls(json!([{"index": 0, "id": "a", "function": {"name": "one", "arguments": "{}"}}]))])),
                    Just(stream(&[calls(json!([{"id": "", "function": {"arguments": "x"}}]))])),
                    Just(stream(&[end("stop")])),
                    Just(stream(&[end("tool_calls")])),
                    Just("data: [DONE]\n\n".to_owned()),
                    "(data|event|:)?[ :\\[\\]{}\"a-z\r\n]{0,20}",
                ],
                0..8,
            ),
            size in 1usize..40,
        ) {
            let bytes = pieces.concat();
            let events = decode(bytes.as_bytes().chunks(size));
            let ends = |event: &Result<LlmEvent>| matches!(event, Err(_) | Ok(LlmEvent::Finished { .. }));
            prop_assert_eq!(events.iter().filter(|event| ends(event)).count(), 1);
            prop_assert!(events.last().is_some_and(ends));
            let shown = |events: &[Result<LlmEvent>]| format!("{events:?}");
            prop_assert_eq!(shown(&decode([bytes.as_bytes()])), shown(&events));
        }
    }
}
