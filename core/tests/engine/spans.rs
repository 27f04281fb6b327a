//! Spans of calls: whose part each is, and that they agree with what the call itself tells.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use offhook::call::CallEventKind;
use offhook::engine::Engine;
use offhook::provider::telephony::HangupCause;
use offhook::time::Timestamp;
use offhook::trace::{Span, SpanKind, SpanValue, TraceParent};
use offhook_testkit::runtime::VirtualRuntime;

use crate::world::World;

const SPEECH: u8 = 0x80;
const SILENCE: u8 = 0xff;
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn a_call_is_told_in_spans_that_agree_with_its_events() {
    let told = call(None, 1_000);
    let [call] = told.of(SpanKind::Call)[..] else { panic!("{:?}", told.spans) };
    assert_eq!((call.parent, &call.trace[..]), (None, &told.call_id[..]));
    assert_eq!(call.end.saturating_since(call.begin), told.length);
    assert_eq!(attribute(call, "offhook.call.end_reason"), Some(&SpanValue::Text("caller_hang_up".to_owned())));

    // The greeting, the question about the appointment, and thanks.
    let turns = told.of(SpanKind::Turn);
    assert_eq!(turns.len(), 3);
    assert!(turns.iter().all(|turn| turn.parent == Some(call.id)));
    let kinds = |turn: &Span| {
        let mut kinds: Vec<_> = told.parts(turn).iter().map(|span| span.kind).collect();
        kinds.sort();
        kinds.dedup();
        kinds
    };
    use SpanKind::{FirstAudio, Function, Llm, Stt, Tts};
    assert_eq!(kinds(turns[1]), [FirstAudio, Function, Llm, Stt, Tts]);
    assert_eq!(kinds(turns[2]), [FirstAudio, Llm, Stt, Tts]);
    assert!(!kinds(turns[0]).contains(&Stt), "nobody has spoken before the greeting");

    let mut ids: Vec<_> = told.spans.iter().map(|span| span.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), told.spans.len());
    for span in &told.spans {
        assert!(span.begin <= span.end, "{span:?}");
        let Some(parent) = told.spans.iter().find(|parent| Some(parent.id) == span.parent) else { continue };
        assert!(parent.begin <= span.begin && span.end <= parent.end, "{span:?} leaves {parent:?}");
    }
    let waits: Vec<_> =
        told.of(FirstAudio).iter().map(|span| (span.end, span.end.saturating_since(span.begin))).collect();
    assert_eq!(waits, told.answers);
    let llm = told.of(Llm)[0];
    assert_eq!(attribute(llm, "gen_ai.operation.name"), Some(&SpanValue::Text("chat".to_owned())));
    assert!(llm.events.iter().any(|(name, moment)| *name == "first_token" && (llm.begin..=llm.end).contains(moment)));
}

#[test]
fn a_call_is_a_part_of_what_placed_it() {
    let parent: TraceParent = PARENT.parse().unwrap();
    let told = call(Some(parent), 1_000);
    assert!(told.spans.iter().all(|span| span.trace == parent.trace));
    assert_eq!(told.of(SpanKind::Call)[0].parent, Some(parent.span));

    let unwanted = TraceParent { is_sampled: false, ..parent };
    assert!(call(Some(unwanted), 1_000).spans.is_empty());
}

#[test]
fn spans_for_which_there_is_no_room_hold_nobody_up() {
    let (some, all) = (call(None, 2), call(None, 1_000));
    assert_eq!((some.spans.len(), some.length), (2, all.length));
}

struct Told {
    /// What the call's events say of each first sound: when, and after how long a wait.
    answers: Vec<(Timestamp, Duration)>,
    call_id: [u8; 16],
    length: Duration,
    /// In the order of their beginnings.
    spans: Vec<Span>,
}

impl Told {
    fn of(&self, kind: SpanKind) -> Vec<&Span> {
        self.spans.iter().filter(|span| span.kind == kind).collect()
    }

    fn parts(&self, whole: &Span) -> Vec<&Span> {
        self.spans.iter().filter(|span| span.parent == Some(whole.id)).collect()
    }
}

/// A call of three turns.
fn call(parent: Option<TraceParent>, room: usize) -> Told {
    let runtime = VirtualRuntime::new(11);
    runtime.block_on(async {
        let mut world = World::new(Arc::new(runtime.clone()), &["When is my appointment?", "Thank you."]).await;
        let (sender, spans) = async_channel::bounded(room);
        let mut settings = offhook_testkit::settings();
        settings.spans = Some(sender);
        world.engine = Engine::with_settings(world.providers.clone(), settings).under(parent);
        let (mut handle, caller) = world.ring();
        let call_id = handle.id().as_uuid().into_bytes();
        let started_at = world.runtime.wall_clock();
        for _ in 0..2 {
            caller.sound(SILENCE, Duration::from_millis(3_000)).await;
            caller.sound(SPEECH, Duration::from_millis(700)).await;
        }
        caller.sound(SILENCE, Duration::from_millis(4_000)).await;
        caller.hang_up(HangupCause::NORMAL_CLEARING);
        let (mut answers, mut length) = (Vec::new(), Duration::ZERO);
        while let Some(event) = handle.next_event().await {
            if let CallEventKind::TurnAnswered { latency } = event.kind {
                answers.push((started_at + event.at, latency));
            }
            length = event.at;
        }
        world.wait(Duration::from_millis(100)).await;
        let mut spans: Vec<Span> = std::iter::from_fn(|| spans.try_recv().ok()).collect();
        spans.sort_by_key(|span| span.begin);
        Told { answers, call_id, length, spans }
    })
}

fn attribute<'a>(span: &'a Span, name: &str) -> Option<&'a SpanValue> {
    let attributes: BTreeMap<_, _> = span.attributes.iter().map(|(name, value)| (*name, value)).collect();
    attributes.get(name).copied()
}
