//! The stored form of an entry.
//!
//! ```text
//! kind and flags     1 byte
//! time               varint, µs since the entry before it, or since the clock's origin if it stands alone
//! check value        4 bytes, if flagged: of all outputs before the entry; else it is that of the entry before it
//! body               as the kind wants it, up to the end
//! ```
//!
//! Inputs that come many times a second have a kind of their own: some bytes each. All others are JSON. A transcript
//! begins where it differs from the one before it, because each interim one repeats its predecessor and adds a word.

use bytes::Bytes;

use super::{Digest, Entry, VERSION, rejected};
use crate::call::{CallConfig, CommandId, Input, Offer, Outcome, Progress};
use crate::error::Result;
use crate::provider::llm::LlmEvent;
use crate::time::Instant;

/// Bytes of a text that are taken from the one before it at most, so that a small file cannot become a huge journal.
const SHARED_MAX: usize = 1_024;

/// The entry does not count on the one before it.
const ALONE: u8 = 0x80;
/// A check value follows the time.
const CHECKED: u8 = 0x40;

const START: u8 = 0;
const END: u8 = 1;
const TIMEOUT: u8 = 2;
const OTHER: u8 = 3;
const DONE: u8 = 4;
const FINAL: u8 = 5;
const FUNCTION: u8 = 6;
const HEARD: u8 = 7;
const INTERIM: u8 = 8;
const PLAYING: u8 = 9;
const SPEECH_ENDED: u8 = 10;
const SPEECH_STARTED: u8 = 11;
const TEXT: u8 = 12;
const FINISHED: u8 = 13;
const USAGE: u8 = 14;

/// What an entry says, apart from its time.
#[derive(Clone, Copy)]
pub(super) enum Body<'a> {
    End { digest: &'a Digest, outputs: u64 },
    Input(&'a Input),
    Start { config: &'a CallConfig, offer: &'a Offer },
    Timeout,
}

/// What is known from the entries before, on either side.
#[derive(Clone, Debug, Default)]
pub(super) struct Codec {
    at: Instant,
    check: u32,
    text: String,
}

/// An entry that may follow any other.
pub(super) fn alone(at: Instant, body: Body<'_>) -> Bytes {
    let mut bytes = vec![ALONE];
    put_number(&mut bytes, at.as_micros());
    bytes[0] |= put_body(&mut bytes, at, body, &mut String::new());
    bytes.into()
}

impl Codec {
    /// An entry that follows the one before it.
    pub(super) fn encode(&mut self, at: Instant, body: Body<'_>, check: u32) -> Bytes {
        let mut bytes = vec![0];
        // Time never runs backwards in a call; a journal of something else still holds what it is given.
        let is_late = at < self.at;
        put_number(&mut bytes, at.as_micros() - if is_late { 0 } else { self.at.as_micros() });
        if check != self.check || is_late {
            bytes[0] |= CHECKED;
            bytes.extend_from_slice(&check.to_le_bytes());
        }
        if is_late {
            bytes[0] |= ALONE;
            self.text.clear();
        }
        bytes[0] |= put_body(&mut bytes, at, body, &mut self.text);
        (self.at, self.check) = (at, check);
        bytes.into()
    }

    /// An entry that stands alone, in between.
    pub(super) fn pass(&mut self, entry: &Entry) -> Bytes {
        self.at = entry.at();
        self.text.clear();
        if let Entry::Input {
            input: Input::Progress(_, Progress::Interim { text } | Progress::Final { language: None, text }),
            ..
        } = entry
        {
            self.text.push_str(text);
        }
        entry.encode()
    }

    /// Reads an entry, and the check value of the outputs before it.
    pub(super) fn decode(&mut self, bytes: &[u8]) -> Result<(Entry, Option<u32>)> {
        let mut bytes = Reader { rest: bytes };
        let [head] = bytes.array()?;
        let mut at = bytes.number()?;
        if head & ALONE != 0 {
            self.text.clear();
        } else {
            at = self.at.as_micros().checked_add(at).ok_or_else(unreadable)?;
        }
        let at = Instant::from_micros(at);
        let check = match (head & CHECKED != 0, head & ALONE != 0) {
            (true, _) => Some(u32::from_le_bytes(bytes.array()?)),
            (false, true) => None,
            (false, false) => Some(self.check),
        };
        let entry = take_entry(head & !(ALONE | CHECKED), at, &mut bytes, &mut self.text)?;
        self.at = at;
        self.check = check.unwrap_or(self.check);
        Ok((entry, check))
    }
}

/// Writes a body and returns its kind.
fn put_body(bytes: &mut Vec<u8>, at: Instant, body: Body<'_>, before: &mut String) -> u8 {
    match body {
        Body::End { digest, outputs } => {
            bytes.extend_from_slice(digest);
            put_number(bytes, outputs);
            END
        }
        Body::Input(Input::Completed(id, Outcome::Done)) => {
            put_id(bytes, *id);
            DONE
        }
        Body::Input(Input::Completed(id, Outcome::Function(value))) => {
            put_id(bytes, *id);
            put_json(bytes, value);
            FUNCTION
        }
        Body::Input(Input::Progress(id, progress)) => {
            let kept = bytes.len();
            put_id(bytes, *id);
            put_progress(bytes, at, progress, before).unwrap_or_else(|| {
                bytes.truncate(kept);
                put_json(bytes, &Input::Progress(*id, progress.clone()));
                OTHER
            })
        }
        Body::Input(input) => {
            put_json(bytes, input);
            OTHER
        }
        Body::Start { config, offer } => {
            put_number(bytes, VERSION);
            put_json(bytes, &(config, offer));
            START
        }
        Body::Timeout => TIMEOUT,
    }
}

/// Writes what comes often and returns its kind; `None` for everything else.
fn put_progress(bytes: &mut Vec<u8>, at: Instant, progress: &Progress, before: &mut String) -> Option<u8> {
    Some(match progress {
        Progress::Final { language: None, text } => {
            put_text(bytes, text, before);
            FINAL
        }
        Progress::Generated(LlmEvent::Finished { reason }) => {
            put_json(bytes, reason);
            FINISHED
        }
        Progress::Generated(LlmEvent::Text(text)) => {
            bytes.extend_from_slice(text.as_bytes());
            TEXT
        }
        Progress::Generated(LlmEvent::Usage { cached_tokens, input_tokens, output_tokens }) => {
            put_number(bytes, *input_tokens);
            put_number(bytes, *output_tokens);
            put_number(bytes, *cached_tokens);
            USAGE
        }
        Progress::Heard { text_end } => {
            put_number(bytes, *text_end as u64);
            HEARD
        }
        Progress::Interim { text } => {
            put_text(bytes, text, before);
            INTERIM
        }
        Progress::Playing => PLAYING,
        Progress::SpeechEnded { at: spoken } => {
            put_signed(bytes, at, *spoken);
            SPEECH_ENDED
        }
        Progress::SpeechStarted { at: spoken } => {
            put_signed(bytes, at, *spoken);
            SPEECH_STARTED
        }
        _ => return None,
    })
}

fn take_entry(kind: u8, at: Instant, bytes: &mut Reader<'_>, before: &mut String) -> Result<Entry> {
    let input = match kind {
        END => {
            let (digest, outputs) = (bytes.array()?, bytes.number()?);
            return bytes.finish(Entry::End { at, digest, outputs });
        }
        START => {
            let version = bytes.number()?;
            if version != VERSION {
                return Err(rejected("the journal is of another version").with_context("version", version));
            }
            let (config, offer) = bytes.json()?;
            return Ok(Entry::Start { at, config: Box::new(config), offer });
        }
        TIMEOUT => return bytes.finish(Entry::Timeout { at }),
        OTHER => bytes.json()?,
        DONE => {
            let id = bytes.id()?;
            bytes.finish(Input::Completed(id, Outcome::Done))?
        }
        FINISHED => Input::Progress(bytes.id()?, Progress::Generated(LlmEvent::Finished { reason: bytes.json()? })),
        FUNCTION => Input::Completed(bytes.id()?, Outcome::Function(bytes.json()?)),
        FINAL => Input::Progress(bytes.id()?, Progress::Final { language: None, text: bytes.shared_text(before)? }),
        HEARD => {
            let (id, text_end) = (bytes.id()?, bytes.number()?);
            let text_end = usize::try_from(text_end).map_err(|_| unreadable())?;
            bytes.finish(Input::Progress(id, Progress::Heard { text_end }))?
        }
        INTERIM => Input::Progress(bytes.id()?, Progress::Interim { text: bytes.shared_text(before)? }),
        PLAYING => {
            let id = bytes.id()?;
            bytes.finish(Input::Progress(id, Progress::Playing))?
        }
        SPEECH_ENDED => {
            let (id, spoken) = (bytes.id()?, bytes.signed(at)?);
            bytes.finish(Input::Progress(id, Progress::SpeechEnded { at: spoken }))?
        }
        SPEECH_STARTED => {
            let (id, spoken) = (bytes.id()?, bytes.signed(at)?);
            bytes.finish(Input::Progress(id, Progress::SpeechStarted { at: spoken }))?
        }
        TEXT => Input::Progress(bytes.id()?, Progress::Generated(LlmEvent::Text(bytes.text()?.to_owned()))),
        USAGE => {
            let (id, input_tokens, output_tokens) = (bytes.id()?, bytes.number()?, bytes.number()?);
            let usage = LlmEvent::Usage { cached_tokens: bytes.number()?, input_tokens, output_tokens };
            bytes.finish(Input::Progress(id, Progress::Generated(usage)))?
        }
        _ => return Err(unreadable()),
    };
    Ok(Entry::Input { at, input })
}

fn put_id(bytes: &mut Vec<u8>, id: CommandId) {
    put_number(bytes, id.get().into());
}

fn put_json(bytes: &mut Vec<u8>, value: &impl serde::Serialize) {
    // Numbers, texts and maps with text keys: this cannot fail.
    let _ = serde_json::to_writer(bytes, value);
}

/// LEB128: seven bits a byte, the lowest first.
pub(super) fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// How long before `at` it was, with the sign in the lowest bit.
fn put_signed(bytes: &mut Vec<u8>, at: Instant, moment: Instant) {
    let before = at.as_micros().wrapping_sub(moment.as_micros()).cast_signed();
    put_number(bytes, ((before << 1) ^ (before >> 63)).cast_unsigned());
}

/// How much of the text before it is repeated, and the rest.
fn put_text(bytes: &mut Vec<u8>, text: &str, before: &mut String) {
    let equal = text.bytes().zip(before.bytes()).take(SHARED_MAX).take_while(|(a, b)| a == b).count();
    let shared = text.floor_char_boundary(equal);
    put_number(bytes, shared as u64);
    bytes.extend_from_slice(&text.as_bytes()[shared..]);
    before.truncate(shared);
    before.push_str(&text[shared..]);
}

/// Takes bytes from the front.
pub(super) struct Reader<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (array, rest) = self.rest.split_first_chunk().ok_or_else(unreadable)?;
        self.rest = rest;
        Ok(*array)
    }

    fn finish<T>(&self, value: T) -> Result<T> {
        if self.rest.is_empty() { Ok(value) } else { Err(unreadable()) }
    }

    fn id(&mut self) -> Result<CommandId> {
        u32::try_from(self.number()?).map(CommandId::new).map_err(|_| unreadable())
    }

    fn json<T: serde::de::DeserializeOwned>(&mut self) -> Result<T> {
        serde_json::from_slice(self.rest).map_err(|error| unreadable().with_source(error))
    }

    pub(super) fn number(&mut self) -> Result<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(unreadable())
    }

    fn shared_text(&mut self, before: &mut String) -> Result<String> {
        let shared = usize::try_from(self.number()?).map_err(|_| unreadable())?;
        let rest = self.text()?;
        let kept = before.get(..shared).filter(|kept| kept.len() <= SHARED_MAX).ok_or_else(unreadable)?;
        *before = format!("{kept}{rest}");
        Ok(before.clone())
    }

    fn signed(&mut self, at: Instant) -> Result<Instant> {
        let coded = self.number()?;
        let before = (coded >> 1).cast_signed() ^ -((coded & 1).cast_signed());
        Ok(Instant::from_micros(at.as_micros().wrapping_sub(before.cast_unsigned())))
    }

    fn text(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.rest).map_err(|error| unreadable().with_source(error))
    }
}

fn unreadable() -> crate::Error {
    rejected("the entry cannot be read")
}
