//! What a caller has heard and what followers were told: a small model of it, to hold a call's transcript against.

use std::collections::BTreeMap;

use offhook::call::{CallEventKind, Command, CommandId, Input, Output, Progress, Speaker, TranscriptEntry};

/// Follows a call from outside.
#[derive(Debug, Default)]
pub(crate) struct Hearing {
    /// Pieces of speech in their order: the words of each and how many were heard whole.
    pieces: BTreeMap<CommandId, Piece>,
    told: Vec<TranscriptEntry>,
    /// A later piece was heard before an earlier one, as no carrier plays them: then nothing can be said of either.
    is_out_of_order: bool,
}

#[derive(Debug)]
struct Piece {
    text: String,
    heard: usize,
    is_open: bool,
}

impl Hearing {
    pub(crate) fn input(&mut self, input: &Input) {
        match input {
            Input::Completed(id, _) => self.heard(*id, usize::MAX),
            Input::Progress(id, Progress::Heard { text_end }) => self.heard(*id, *text_end),
            _ => {}
        }
        if let Input::Completed(id, _) | Input::Failed(id, _) = input {
            self.close(*id);
        }
    }

    pub(crate) fn output(&mut self, output: &Output) {
        match output {
            Output::Cancel(id) => self.close(*id),
            Output::Event(event) => self.event(&event.kind),
            Output::Start(id, Command::Speak { text, .. }) => {
                self.pieces.insert(*id, Piece { text: text.clone(), heard: 0, is_open: true });
            }
            Output::Start(..) => {}
        }
    }

    /// What does not hold of the transcript at the end of the call.
    pub(crate) fn check(&self, transcript: &[TranscriptEntry]) -> Option<String> {
        if self.told != transcript {
            return Some(format!("followers were told {:?}, the transcript is {transcript:?}", self.told));
        }
        if self.is_out_of_order {
            return None;
        }
        let agent = transcript.iter().filter(|entry| entry.speaker == Speaker::Agent);
        let mut written: Vec<_> = agent.flat_map(|entry| entry.text.split_whitespace()).collect();
        let mut heard: Vec<_> =
            self.pieces.values().flat_map(|piece| piece.text.split_whitespace().take(piece.heard)).collect();
        written.sort_unstable();
        heard.sort_unstable();
        (written != heard).then(|| format!("the caller heard {heard:?}, the transcript holds {written:?}"))
    }

    fn heard(&mut self, id: CommandId, text_end: usize) {
        let earlier_is_open = self.pieces.range(..id).any(|(_, piece)| piece.is_open);
        let Some(piece) = self.pieces.get_mut(&id).filter(|piece| piece.is_open) else { return };
        self.is_out_of_order |= earlier_is_open;
        let ends = piece
            .text
            .split_whitespace()
            .map(|word| word.as_ptr() as usize - piece.text.as_ptr() as usize + word.len());
        piece.heard = piece.heard.max(ends.take_while(|end| *end <= text_end).count());
    }

    fn close(&mut self, id: CommandId) {
        if let Some(piece) = self.pieces.get_mut(&id) {
            piece.is_open = false;
        }
    }

    fn event(&mut self, event: &CallEventKind) {
        match event {
            CallEventKind::Transcript { index, entry } if *index < self.told.len() => self.told[*index] = entry.clone(),
            CallEventKind::Transcript { entry, .. } => self.told.push(entry.clone()),
            CallEventKind::TranscriptTruncated { length } => self.told.truncate(*length),
            _ => {}
        }
    }
}
