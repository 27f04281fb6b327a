//! Spans as `ExportTraceServiceRequest` of OTLP 1.5 in the binary form of Protocol Buffers
//! (<https://github.com/open-telemetry/opentelemetry-proto>, `trace/v1/trace.proto`). It is written and never read, and needs
//! six messages: so this file stands where a generator and its runtime would.

use bytes::Bytes;
use offhook::time::Timestamp;
use offhook::trace::{Span, SpanKind, SpanValue};

/// `Span.SpanKind`
const INTERNAL: u64 = 1;
const SERVER: u64 = 2;
const CLIENT: u64 = 3;

/// `Status.StatusCode`
const ERROR: u64 = 2;

/// A request that exports `spans` of the service of that name.
pub(crate) fn request(service: &str, spans: &[Span]) -> Bytes {
    let mut scope = Message::default();
    scope.text(1, "offhook").text(2, env!("CARGO_PKG_VERSION"));
    let mut scope_spans = Message::default();
    scope_spans.message(1, &scope);
    for one in spans {
        scope_spans.message(2, &span(one));
    }
    let mut resource = Message::default();
    resource.message(1, &attribute("service.name", &service.into()));
    resource.message(1, &attribute("service.version", &env!("CARGO_PKG_VERSION").into()));
    let mut resource_spans = Message::default();
    resource_spans.message(1, &resource).message(2, &scope_spans);
    let mut request = Message::default();
    request.message(1, &resource_spans);
    request.0.into()
}

fn span(span: &Span) -> Message {
    let mut message = Message::default();
    message.bytes(1, &span.trace).bytes(2, &span.id);
    if let Some(parent) = &span.parent {
        message.bytes(4, parent);
    }
    message.text(5, span.kind.as_str());
    message.number(
        6,
        match span.kind {
            SpanKind::Call => SERVER,
            SpanKind::Function | SpanKind::Llm | SpanKind::Stt | SpanKind::Tts => CLIENT,
            _ => INTERNAL,
        },
    );
    message.moment(7, span.begin).moment(8, span.end);
    for (name, value) in &span.attributes {
        message.message(9, &attribute(name, value));
    }
    for (name, moment) in &span.events {
        let mut event = Message::default();
        event.moment(1, *moment).text(2, name);
        message.message(11, &event);
    }
    if let Some(failure) = &span.failure {
        let mut status = Message::default();
        status.text(2, failure).number(3, ERROR);
        message.message(15, &status);
    }
    message
}

fn attribute(name: &str, value: &SpanValue) -> Message {
    let mut message = Message::default();
    message.text(1, name).message(2, &any(value));
    message
}

fn any(value: &SpanValue) -> Message {
    let mut message = Message::default();
    match value {
        SpanValue::Flag(flag) => message.number(2, u64::from(*flag)),
        SpanValue::Integer(number) => message.number(3, number.cast_unsigned()),
        SpanValue::Text(text) => message.text(1, text),
        SpanValue::Texts(texts) => {
            let mut array = Message::default();
            for text in texts {
                array.message(1, &any(&text.as_str().into()));
            }
            message.message(5, &array)
        }
        // Whatever is not known here has no form.
        _ => &mut message,
    };
    message
}

/// A message's fields, as they are written.
#[derive(Default)]
struct Message(Vec<u8>);

/// How a field is written.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;

impl Message {
    fn number(&mut self, field: u64, number: u64) -> &mut Self {
        self.varint(field << 3 | VARINT);
        self.varint(number);
        self
    }

    fn moment(&mut self, field: u64, moment: Timestamp) -> &mut Self {
        let nanos = u64::try_from(moment.as_unix_micros()).unwrap_or(0).saturating_mul(1_000);
        self.varint(field << 3 | FIXED64);
        self.0.extend_from_slice(&nanos.to_le_bytes());
        self
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) -> &mut Self {
        self.varint(field << 3 | LENGTH);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(&mut self, field: u64, text: &str) -> &mut Self {
        self.bytes(field, text.as_bytes())
    }

    fn message(&mut self, field: u64, message: &Self) -> &mut Self {
        self.bytes(field, &message.0)
    }

    fn varint(&mut self, mut number: u64) {
        while number > 0x7f {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }
}
