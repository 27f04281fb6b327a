//! A call's recording on its way to the object store, in constant memory and never in the way of the sound.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::{StreamExt, stream};

use crate::audio::Recorder;
use crate::audio::record::HEADER_BYTES;
use crate::error::{Error, ErrorKind, Result};
use crate::provider::Blob;
use crate::provider::blob::BlobPart;
use crate::runtime::Runtime;

/// Frames that are written together: half a second.
const FRAMES_PER_PART: usize = 25;

/// Parts that wait for a slow store, half a minute; a recording that falls further behind is given up.
const PARTS_MAX: usize = 60;

/// A stereo recording: the caller on the left, the agent on the right.
pub(super) struct Recording {
    frames: usize,
    is_whole: Arc<AtomicBool>,
    location: async_channel::Receiver<Result<String>>,
    part: Vec<u8>,
    parts: async_channel::Sender<Result<BlobPart>>,
    patches_head: bool,
    recorder: Recorder,
}

impl Recording {
    pub(super) fn start(blob: Arc<dyn Blob>, runtime: &dyn Runtime, key: String, rate_hz: u32) -> Result<Self> {
        let recorder = Recorder::new(rate_hz)?;
        let (parts, queue) = async_channel::bounded(PARTS_MAX);
        let (done, location) = async_channel::bounded(1);
        let patches_head = blob.capabilities().head_bytes_max >= HEADER_BYTES;
        let part = recorder.header().to_vec();
        let is_whole = Arc::new(AtomicBool::new(false));
        // A queue that is closed before its end must not pass for a short recording.
        let whole = is_whole.clone();
        let end = stream::once(async move { whole.load(Ordering::Acquire) })
            .filter_map(|is_whole| ready((!is_whole).then(|| Err(cut_short()))));
        runtime.spawn(
            "recording",
            Box::pin(async move {
                // Nobody waits any more when the call was wound up without its recording.
                let _ = done.try_send(blob.put(key, queue.chain(end).boxed()).await);
            }),
        );
        Ok(Self { frames: 0, is_whole, location, part, parts, patches_head, recorder })
    }

    /// Adds 20 ms of both sides; false when the recording had to be given up.
    pub(super) fn write(&mut self, caller: &[i16], agent: &[i16]) -> bool {
        if let Err(error) = self.recorder.write_frame(caller, agent, &mut self.part) {
            tracing::warn!(%error, "the recording is cut");
            return false;
        }
        self.frames += 1;
        self.frames < FRAMES_PER_PART || self.send_part()
    }

    /// Completes the object and returns where it is.
    pub(super) async fn finish(mut self) -> Result<Option<String>> {
        // A closed channel is reported by the store's answer.
        let part = Bytes::from(std::mem::take(&mut self.part));
        let _ = self.parts.send(Ok(BlobPart::Append(part))).await;
        if self.patches_head {
            let header = Bytes::copy_from_slice(&self.recorder.finish());
            let _ = self.parts.send(Ok(BlobPart::PatchHead(header))).await;
        }
        self.is_whole.store(true, Ordering::Release);
        drop(self.parts);
        match self.location.recv().await {
            Ok(location) => location.map(Some),
            Err(_) => Ok(None),
        }
    }

    fn send_part(&mut self) -> bool {
        self.frames = 0;
        let part = Bytes::from(std::mem::take(&mut self.part));
        let sent = self.parts.try_send(Ok(BlobPart::Append(part))).is_ok();
        if !sent {
            tracing::warn!("the recording is given up: its store is too slow or has failed");
        }
        sent
    }
}

fn cut_short() -> Error {
    Error::new(ErrorKind::Conflict, "recording.write", "the recording was cut short")
}
