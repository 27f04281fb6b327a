//! The caller's side of one stream, without I/O: it does with what it is sent what a carrier does with it.
//!
//! Every 20 ms one frame is heard and one is spoken, silence when there is nothing else: a telephone line never pauses.
//! Audio from the application waits in a buffer and is heard in real time, a mark is returned when all audio before it
//! was heard, and `clear` empties the buffer and returns its marks at once.

use std::collections::VecDeque;

use offhook::audio::FRAME_DURATION;
use offhook::provider::telephony::{DtmfDigit, MediaCommand, MediaEvent};
use offhook::time::Instant;

use crate::end::EndReason;
use crate::play_buffer::{Full, PlayBuffer};
use crate::tongue::{Heard, Tongue};
use crate::twilio::writer::CarrierWriter;
use crate::voxcore::writer::DiallerWriter;

/// Frames that are caught up with when the clock was read late; more are skipped.
pub const CATCH_UP_FRAMES_MAX: u64 = 250;

/// The caller's side of one stream, once its handshake has been sent.
///
/// Total, and ends exactly once.
#[derive(Debug)]
pub struct Line {
    ear: PlayBuffer<String>,
    ended: bool,
    frames: u64,
    mouth: PlayBuffer<u64>,
    outputs: VecDeque<Output>,
    started_at: Instant,
    tongue: Tongue,
}

/// What the line does.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Output {
    /// The line is over.
    Ended(EndReason),
    /// Tell whoever holds the telephone: audio is heard, marks are of the audio spoken.
    Event(MediaEvent),
    /// Send this to the application.
    Send(String),
}

impl Line {
    /// Twilio's line of the stream `stream_sid`; its first frame is due one frame after `now`.
    pub fn twilio(now: Instant, stream_sid: &str, writer: CarrierWriter) -> Self {
        Self::new(now, Tongue::twilio(stream_sid, writer))
    }

    /// A VoxCore dialler's line of the stream `stream_id`; its first frame is due one frame after `now`.
    pub fn voxcore(now: Instant, stream_id: &str, writer: DiallerWriter) -> Self {
        Self::new(now, Tongue::voxcore(stream_id, writer))
    }

    pub(crate) fn new(now: Instant, tongue: Tongue) -> Self {
        let silence = tongue.silence();
        Self {
            ear: PlayBuffer::new(silence),
            ended: false,
            frames: 0,
            mouth: PlayBuffer::new(silence),
            outputs: VecDeque::new(),
            started_at: now,
            tongue,
        }
    }

    /// Takes a text message from the application.
    pub fn handle_message(&mut self, text: &str) {
        if !self.ended
            && let Err(reason) = self.handle(text)
        {
            self.end(reason);
        }
    }

    /// Takes a binary message from the application.
    pub fn handle_binary(&mut self) {
        self.end(EndReason::Binary);
    }

    /// Takes the end of the socket: by a close, which is how an application hangs up, or by a failure.
    pub fn handle_close(&mut self, failed: bool) {
        self.end(if failed { EndReason::Disconnected } else { EndReason::ClosedByApp });
    }

    /// Whether it takes a command now; it always does once some more was spoken.
    pub fn takes_commands(&self) -> bool {
        !self.mouth.is_full()
    }

    /// Takes what is to be said. The line ends when it [takes none](Self::takes_commands).
    pub fn handle_command(&mut self, command: MediaCommand) {
        if self.ended {
            return;
        }
        let done = match command {
            MediaCommand::Audio(audio) => self.mouth.push_audio(audio),
            MediaCommand::Clear => {
                let marks = self.mouth.clear();
                self.report(marks);
                Ok(())
            }
            MediaCommand::Mark(number) => self.mouth.push_mark(number),
            _ => Ok(()),
        };
        if done == Err(Full) {
            self.end(EndReason::Overflow);
        }
    }

    /// Presses keys.
    pub fn handle_dtmf(&mut self, digits: &[DtmfDigit]) {
        if !self.ended {
            self.outputs.extend(digits.iter().map(|digit| Output::Send(self.tongue.dtmf(*digit))));
        }
    }

    /// Hangs up: the protocol's last message is sent, and nothing comes after it.
    pub fn hang_up(&mut self) {
        if !self.ended {
            self.ended = true;
            self.outputs.push_back(Output::Send(self.tongue.hang_up()));
        }
    }

    /// When the next frame is due: exactly a whole number of frames after the start. `None` when the line is over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!self.ended).then(|| self.due_at(self.frames + 1))
    }

    /// Plays and speaks the frames that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let behind = now.saturating_since(self.due_at(self.frames)).as_micros() / FRAME_DURATION.as_micros();
        let behind = u64::try_from(behind).unwrap_or(u64::MAX);
        self.frames += behind.saturating_sub(CATCH_UP_FRAMES_MAX);
        while !self.ended && self.due_at(self.frames + 1) <= now {
            self.frames += 1;
            self.handle_frame();
        }
    }

    /// What the line does, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn handle(&mut self, text: &str) -> Result<(), EndReason> {
        let done = match self.tongue.read(text)? {
            Heard::Audio(audio) => self.ear.push_audio(audio),
            Heard::Clear => {
                let marks = self.ear.clear();
                self.return_marks(marks);
                Ok(())
            }
            Heard::HangUp { answer } => {
                self.outputs.push_back(Output::Send(answer));
                return Err(EndReason::ClosedByApp);
            }
            Heard::Mark(name) => self.ear.push_mark(name),
            Heard::Nothing => Ok(()),
        };
        done.map_err(|Full| EndReason::Overflow)
    }

    fn handle_frame(&mut self) {
        let (spoken, said) = self.mouth.play();
        let (heard, audio) = self.ear.play();
        self.report(spoken);
        self.outputs.push_back(Output::Send(self.tongue.media(&said)));
        self.return_marks(heard);
        self.outputs.push_back(Output::Event(MediaEvent::Audio(audio)));
    }

    fn report(&mut self, marks: Vec<u64>) {
        self.outputs.extend(marks.into_iter().map(|mark| Output::Event(MediaEvent::Marked(mark))));
    }

    fn return_marks(&mut self, marks: Vec<String>) {
        self.outputs.extend(marks.iter().filter_map(|name| self.tongue.mark(name)).map(Output::Send));
    }

    fn end(&mut self, reason: EndReason) {
        if !self.ended {
            self.ended = true;
            self.outputs.push_back(Output::Ended(reason));
        }
    }

    fn due_at(&self, frames: u64) -> Instant {
        let frame_micros = u64::try_from(FRAME_DURATION.as_micros()).unwrap_or(u64::MAX);
        Instant::from_micros(self.started_at.as_micros().saturating_add(frames.saturating_mul(frame_micros)))
    }
}
