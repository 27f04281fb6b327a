//! Conversations with the clinic's receptionist.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "helpers of tests fail tests")]

use futures_lite::future::block_on;
use futures_util::stream::StreamExt as _;
use offhook::error::ErrorKind;
use offhook::provider::llm::{FinishReason, Llm as _, LlmEvent, LlmRequest, Message, Tool, ToolCall};
use offhook_local::brain::RulesBrain;
use serde_json::{Value, json};

#[test]
fn questions_find_their_answers() {
    for (question, word) in [
        ("Hello, what are your opening hours?", "Monday"),
        ("Hi, I was wondering when you're open on Saturdays.", "Saturdays"),
        ("Uh, could you please tell me until when you are open today?", "Monday"),
        ("What are your opening ours", "Monday"),
        ("How much does a check-up cost?", "forty"),
        ("Can you tell me your prices?", "forty"),
        ("And where is the clinic?", "Garden Street"),
        ("What is your adress?", "Garden Street"),
        ("Can I park my car there?", "car park"),
        ("Do you take my insurance?", "insurance"),
        ("I'd like to cancel my appointment.", "confirmation"),
        ("Am I talking to a robot?", "automatic"),
        ("Thank you.", "welcome"),
        ("Thank you very much.", "welcome"),
        ("The moon is made of green cheese.", "did not catch"),
        ("", "did not catch"),
    ] {
        let answer = Talk::new(&[]).ask(question);
        assert!(answer.text.contains(word), "{question} -> {}", answer.text);
        assert_eq!((answer.calls.len(), answer.reason), (0, FinishReason::Stop), "{question}");
    }
}

#[test]
fn an_appointment_is_looked_up_and_told() {
    let mut talk = Talk::new(&["check_appointment", "end_call"]);
    let answer = talk.ask("Can you check whether plus 6281, 2345 6789 has an appointment?");
    assert_eq!(answer.reason, FinishReason::ToolCalls);
    let [call] = &answer.calls[..] else { panic!("{answer:?}") };
    assert_eq!(call.name, "check_appointment");
    assert_eq!(parse(&call.arguments), json!({ "phone_number": "+628123456789" }));
    let found = json!({ "found": true, "day": "tomorrow", "time": "half past ten", "doctor": "Doctor Sari" });
    let answer = talk.result(&found.to_string());
    assert_eq!(
        answer.text,
        "Yes, there is an appointment for plus 6 2 8, 1 2 3, 4 5 6, 7 8 9: tomorrow at half past ten, with Doctor Sari."
    );
    // Another number alone is the same question again.
    let answer = talk.ask("And plus 62 812 3456 780?");
    assert_eq!(parse(&answer.calls[0].arguments), json!({ "phone_number": "+628123456780" }));
    assert!(talk.result(r#"{"found":false}"#).text.starts_with("I find no appointment for plus 6 2 8"));
    let answer = talk.ask("Thank you very much. Goodbye.");
    assert_eq!(answer.text, "Thank you for calling. Goodbye!");
    assert_eq!(answer.calls[0].name, "end_call");
}

#[test]
fn a_missing_number_is_asked_for_and_put_together() {
    let mut talk = Talk::new(&["check_appointment"]);
    assert!(talk.ask("Do I have an appointment?").text.contains("telephone number"));
    assert!(talk.ask("Plus six two eight one").text.contains("digit by digit"));
    let answer = talk.ask("two three four five six seven eight nine");
    assert_eq!(parse(&answer.calls[0].arguments), json!({ "phone_number": "+628123456789" }));
}

#[test]
fn a_number_said_in_two_breaths_is_one_number() {
    let mut talk = Talk::new(&["check_appointment"]);
    talk.say("Does the number plus six two eight one two");
    let answer = talk.ask("three four five six seven eight nine have an appointment?");
    assert_eq!(parse(&answer.calls[0].arguments), json!({ "phone_number": "+628123456789" }));
}

#[test]
fn whoever_gives_no_number_is_not_asked_for_ever() {
    let mut talk = Talk::new(&["check_appointment"]);
    talk.ask("Do I have an appointment?");
    for _ in 0..2 {
        assert!(talk.ask("I lost my green umbrella.").text.contains("digit by digit"));
    }
    assert!(talk.ask("I lost my green umbrella.").text.contains("opening hours"));
}

#[test]
fn another_question_is_answered_in_between() {
    let mut talk = Talk::new(&["check_appointment"]);
    talk.ask("Do I have an appointment?");
    assert!(talk.ask("Wait, what are your opening hours?").text.contains("Monday"));
}

#[test]
fn slots_are_asked_in_order_and_filled_from_anywhere() {
    let mut talk = Talk::new(&["book_appointment"]);
    assert!(talk.ask("I'd like to book an appointment for next Monday.").text.contains("name"));
    assert!(talk.ask("My name is Peter Parker.").text.contains("what time"));
    let answer = talk.ask("At 3 p.m. please.");
    let expected = json!({ "name": "Peter Parker", "day": "next monday", "time": "3 pm" });
    assert_eq!(parse(&answer.calls[0].arguments), expected);
    assert_eq!(talk.result("{}").text, "Done. I have booked next monday, 3 pm, for Peter Parker.");
}

#[test]
fn a_function_that_fails_or_is_not_there_is_owned_up_to() {
    let mut talk = Talk::new(&["check_appointment"]);
    talk.ask("Does +628123456789 have an appointment?");
    assert!(talk.result(r#"{"error":"timed_out"}"#).text.contains("cannot reach"));
    assert!(talk.ask("Is there an appointment for +628123456789").calls.len() == 1);
    assert!(talk.result("no JSON").text.contains("no appointment"));
    let answer = Talk::new(&[]).ask("Does +628123456789 have an appointment?");
    assert!(answer.text.contains("no access") && answer.calls.is_empty());
    let answer = Talk::new(&[]).ask("Goodbye!");
    assert!(answer.text.contains("Goodbye") && answer.calls.is_empty());
}

#[test]
fn the_last_answer_is_repeated() {
    let mut talk = Talk::new(&[]);
    let first = talk.ask("Where is the clinic?");
    assert_eq!(talk.ask("Sorry, can you repeat that?").text, first.text);
}

#[test]
fn fallbacks_take_turns() {
    let mut talk = Talk::new(&[]);
    let answers: Vec<_> = (0..4).map(|_| talk.ask("Purple monkey dishwasher").text).collect();
    assert_ne!(answers[0], answers[1]);
    assert_ne!(answers[1], answers[2]);
    assert_eq!(answers[0], answers[3]);
}

#[test]
fn the_same_conversation_has_the_same_answer() {
    let ask = || Talk::new(&["check_appointment"]).ask("Does +628123456789 have an appointment?");
    assert_eq!(ask(), ask());
}

#[test]
fn text_comes_word_by_word_and_no_longer_than_asked() {
    let brain = RulesBrain::clinic().unwrap();
    let mut request = LlmRequest::new(vec![Message::User { text: "Where is the clinic?".into() }]);
    request.tokens_max = Some(3);
    let events: Vec<_> = block_on(async { brain.generate(request).await.unwrap().collect().await });
    let events: Vec<_> = events.into_iter().map(Result::unwrap).collect();
    assert_eq!(
        events,
        [
            LlmEvent::Text("You ".into()),
            LlmEvent::Text("find ".into()),
            LlmEvent::Text("us ".into()),
            LlmEvent::Usage { cached_tokens: 0, input_tokens: 4, output_tokens: 3 },
            LlmEvent::Finished { reason: FinishReason::Length },
        ]
    );
}

#[test]
fn rules_are_read_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rules.toml");
    std::fs::write(&path, "name='x'\nfallback=['What?']\n[[intents]]\nname='a'\nexamples=['ping']\nsay='Pong'")
        .unwrap();
    let brain = RulesBrain::load(&path).unwrap();
    let mut talk = Talk { brain, request: LlmRequest::default() };
    assert_eq!(talk.ask("ping!").text, "Pong");
    assert_eq!(RulesBrain::load(folder.path().join("none")).unwrap_err().kind(), ErrorKind::NotFound);
}

struct Talk {
    brain: RulesBrain,
    request: LlmRequest,
}

#[derive(Debug, PartialEq)]
struct Answer {
    text: String,
    calls: Vec<ToolCall>,
    reason: FinishReason,
}

impl Talk {
    fn new(tools: &[&str]) -> Self {
        let tool = |name: &&str| Tool {
            description: String::new(),
            name: (*name).to_owned(),
            parameters: json!({ "type": "object" }),
        };
        let system = Message::System { text: "You are a receptionist.".into() };
        let request = LlmRequest::new(vec![system]).with_tools(tools.iter().map(tool).collect());
        Self { brain: RulesBrain::clinic().unwrap(), request }
    }

    fn say(&mut self, text: &str) {
        self.request.messages.push(Message::User { text: text.to_owned() });
    }

    fn ask(&mut self, text: &str) -> Answer {
        self.say(text);
        self.answer()
    }

    fn result(&mut self, content: &str) -> Answer {
        let Some(Message::Assistant { tool_calls, .. }) = self.request.messages.last() else { panic!("no call") };
        let call_id = tool_calls[0].id.clone();
        self.request.messages.push(Message::Tool { call_id, content: content.to_owned() });
        self.answer()
    }

    fn answer(&mut self) -> Answer {
        let request = self.request.clone();
        let events: Vec<_> = block_on(async { self.brain.generate(request).await.unwrap().collect().await });
        let mut answer = Answer { text: String::new(), calls: Vec::new(), reason: FinishReason::ContentFilter };
        for event in events {
            match event.unwrap() {
                LlmEvent::Text(text) => answer.text.push_str(&text),
                LlmEvent::ToolCall(call) => answer.calls.push(call),
                LlmEvent::Finished { reason } => answer.reason = reason,
                _ => {}
            }
        }
        let message = Message::Assistant { text: answer.text.clone(), tool_calls: answer.calls.clone() };
        self.request.messages.push(message);
        answer
    }
}

fn parse(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}
