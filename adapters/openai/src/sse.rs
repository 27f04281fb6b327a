//! Server-sent events, incrementally: bytes in at any split, events out.
//!
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream>, of which `id` and `retry`
//! are left out: nothing here reconnects.

use offhook::{Error, ErrorKind, Result};

use crate::answer::OPERATION;

/// Longest event, its lines together.
pub const EVENT_BYTES_MAX: usize = 1024 * 1024;
/// Longest line.
pub const LINE_BYTES_MAX: usize = 512 * 1024;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One event that carries data.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Event {
    /// Lines are joined by line feeds; what is not UTF-8 is replaced.
    pub(crate) data: String,
    /// The `event` field; empty when there is none.
    pub(crate) name: String,
}

/// An event stream under way.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    data: Vec<u8>,
    line: Vec<u8>,
    name: Vec<u8>,
    /// The last byte was a carriage return, which a line feed completes.
    returned: bool,
    /// The first line has been seen, before which a byte order mark may stand.
    started: bool,
}

impl Parser {
    /// Takes the next bytes and hands each event that they complete to `found`, until that fails.
    ///
    /// `Rejected` once a line or an event is too long; nothing may be fed after a failure.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut found: impl FnMut(Event) -> Result<()>) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if std::mem::take(&mut self.returned) && rest[0] == b'\n' {
                rest = &rest[1..];
                continue;
            }
            let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                return self.extend_line(rest);
            };
            self.extend_line(&rest[..end])?;
            self.returned = rest[end] == b'\r';
            rest = &rest[end + 1..];
            if let Some(event) = self.end_line()? {
                found(event)?;
            }
        }
        Ok(())
    }

    fn extend_line(&mut self, bytes: &[u8]) -> Result<()> {
        if self.line.len() + bytes.len() > LINE_BYTES_MAX {
            return Err(too_long("a line of the stream is too long"));
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self) -> Result<Option<Event>> {
        let mut line = std::mem::take(&mut self.line);
        let mut content = line.as_slice();
        if !std::mem::replace(&mut self.started, true) {
            content = content.strip_prefix(BYTE_ORDER_MARK).unwrap_or(content);
        }
        let event = if content.is_empty() {
            self.dispatch()
        } else {
            self.field(content)?;
            None
        };
        // The buffer is kept for the next line.
        line.clear();
        self.line = line;
        Ok(event)
    }

    fn field(&mut self, line: &[u8]) -> Result<()> {
        let (name, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                if self.data.len() + value.len() + 1 > EVENT_BYTES_MAX {
                    return Err(too_long("an event of the stream is too long"));
                }
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
            }
            b"event" => self.name = value.to_vec(),
            // A comment has an empty name.
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self) -> Option<Event> {
        let name = std::mem::take(&mut self.name);
        let lines = self.data.strip_suffix(b"\n")?;
        let event = Event {
            data: String::from_utf8_lossy(lines).into_owned(),
            name: String::from_utf8_lossy(&name).into_owned(),
        };
        self.data.clear();
        Some(event)
    }
}

fn too_long(what: &'static str) -> Error {
    Error::new(ErrorKind::Rejected, OPERATION, what)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_comments_and_line_ends_of_every_kind() {
        let stream = "\u{feff}: a comment\ndata: one\n\nevent: error\r\ndata:two\r\ndata:  three\r\n\r\nid: 7\rdata\r\r\
                      data-not: x\nretry: 1\n\nevent: lost\n\ndata: never ended\n";
        let expected = [("", "one"), ("error", "two\n three"), ("", "")]
            .map(|(name, data)| Event { data: data.into(), name: name.into() });
        assert_eq!(parse([stream.as_bytes()]).unwrap(), expected);
    }

    #[test]
    fn a_byte_order_mark_is_skipped_at_the_start_only() {
        let stream = "\u{feff}data: a\n\n\u{feff}data: b\n\n";
        assert_eq!(parse([stream.as_bytes()]).unwrap(), [Event { data: "a".into(), name: String::new() }]);
    }

    #[test]
    fn bytes_that_are_not_text_are_replaced() {
        assert_eq!(parse([&b"data: a\xff\n\n"[..]]).unwrap()[0].data, "a\u{fffd}");
    }

    #[test]
    fn endless_lines_and_events_are_refused() {
        let line = vec![b'x'; LINE_BYTES_MAX];
        assert!(parse([&line[..]]).is_ok());
        assert_eq!(parse([&line[..], b"x"]).unwrap_err().kind(), ErrorKind::Rejected);
        let mut event = b"data:".to_vec();
        event.extend_from_slice(&line[..LINE_BYTES_MAX - 5]);
        event.push(b'\n');
        assert!(parse([&event[..]; 2]).is_ok());
        assert_eq!(parse([&event[..]; 3]).unwrap_err().kind(), ErrorKind::Rejected);
    }

    proptest! {
        #[test]
        fn events_survive_any_line_end_and_any_split(
            events in vec((vec("[^\r\n\u{feff}]{0,12}", 1..4), "[a-z]{0,6}", any::<bool>()), 0..6),
            line_end in prop_oneof![Just("\n"), Just("\r"), Just("\r\n")],
            size in 1usize..9,
        ) {
            let mut stream = String::new();
            for (lines, name, comment) in &events {
                stream += &if *comment { format!(": ping{line_end}") } else { String::new() };
                stream += &format!("event: {name}{line_end}");
                stream.extend(lines.iter().map(|line| format!("data: {line}{line_end}")));
                stream += line_end;
            }
            let expected: Vec<_> =
                events.iter().map(|(lines, name, _)| Event { data: lines.join("\n"), name: name.clone() }).collect();
            prop_assert_eq!(parse(stream.as_bytes().chunks(size)).unwrap(), expected);
        }

        #[test]
        fn any_bytes_mean_the_same_at_any_split(bytes in vec(
            prop_oneof![Just(b'\n'), Just(b'\r'), Just(b':'), Just(b' '), Just(b'd'), any::<u8>()], 0..200,
        ), size in 1usize..9) {
            let spelled = [b"data: x\ndata", &bytes[..]].concat();
            prop_assert_eq!(parse(spelled.chunks(size)).unwrap(), parse([&spelled[..]]).unwrap());
        }
    }

    fn parse<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Event>> {
        let mut parser = Parser::default();
        let mut events = Vec::new();
        for piece in pieces {
            parser.feed(piece, |event| {
                events.push(event);
                Ok(())
            })?;
        }
        Ok(events)
    }
}
