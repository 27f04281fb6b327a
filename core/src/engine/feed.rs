//! What a recogniser is fed with: a bounded queue that tells its reader once for all that was put in.
//!
//! The reader mostly lives in the same task as the writer, which polls it anyway: waking it for each frame would only run
//! that task twice as often.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::Stream;

use crate::provider::stt::SttInput;

/// Inputs that wait for a slow recogniser: five seconds of frames. One that falls further behind is given up.
const WAITING_MAX: usize = 250;

/// The writer's end; dropping it ends the stream.
pub(super) struct Feed {
    shared: Arc<Mutex<Shared>>,
}

/// The recogniser's end.
pub(super) struct FeedStream {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    is_over: bool,
    reader: Option<Waker>,
    waiting: VecDeque<SttInput>,
}

/// The recogniser is too far behind to take more.
#[derive(Debug)]
pub(super) struct Behind;

impl Feed {
    pub(super) fn new() -> (Self, FeedStream) {
        let shared = Arc::new(Mutex::default());
        (Self { shared: shared.clone() }, FeedStream { shared })
    }

    /// Puts `input` in; [`Feed::wake`] has to follow.
    pub(super) fn push(&self, input: SttInput) -> Result<(), Behind> {
        let mut shared = lock(&self.shared);
        if shared.waiting.len() >= WAITING_MAX {
            return Err(Behind);
        }
        shared.waiting.push_back(input);
        Ok(())
    }

    /// Wakes the reader if there is something that it has not taken.
    pub(super) fn wake(&self) {
        let mut shared = lock(&self.shared);
        let reader = if shared.waiting.is_empty() { None } else { shared.reader.take() };
        drop(shared);
        reader.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let mut shared = lock(&self.shared);
        shared.is_over = true;
        let reader = shared.reader.take();
        drop(shared);
        reader.into_iter().for_each(Waker::wake);
    }
}

impl Stream for FeedStream {
    type Item = SttInput;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<SttInput>> {
        let mut shared = lock(&self.shared);
        if let Some(input) = shared.waiting.pop_front() {
            return Poll::Ready(Some(input));
        }
        if shared.is_over {
            return Poll::Ready(None);
        }
        match &mut shared.reader {
            Some(reader) => reader.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // Nothing that runs under the lock can panic half way.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use futures_util::{FutureExt, StreamExt};

    use super::*;

    #[test]
    fn what_is_put_in_comes_out_in_order_and_then_the_end() {
        let (feed, mut stream) = Feed::new();
        assert!(stream.next().now_or_never().is_none());
        feed.push(SttInput::Audio(vec![1])).unwrap();
        feed.push(SttInput::Finalize).unwrap();
        drop(feed);
        assert_eq!(stream.next().now_or_never(), Some(Some(SttInput::Audio(vec![1]))));
        assert_eq!(stream.next().now_or_never(), Some(Some(SttInput::Finalize)));
        assert_eq!(stream.next().now_or_never(), Some(None));
    }

    #[test]
    fn a_reader_that_is_behind_is_told_to_the_writer() {
        let (feed, mut stream) = Feed::new();
        (0..WAITING_MAX).for_each(|_| feed.push(SttInput::Finalize).unwrap());
        feed.push(SttInput::Finalize).unwrap_err();
        stream.next().now_or_never();
        feed.push(SttInput::Finalize).unwrap();
    }

    #[test]
    fn a_reader_elsewhere_is_woken_once_for_all_and_at_the_end() {
        #[derive(Default)]
        struct Woken(AtomicUsize);

        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }

        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut context = Context::from_waker(&waker);
        let (feed, mut stream) = Feed::new();
        assert!(stream.poll_next_unpin(&mut context).is_pending());
        feed.wake();
        feed.push(SttInput::Finalize).unwrap();
        feed.push(SttInput::Finalize).unwrap();
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        feed.wake();
        feed.wake();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        while stream.poll_next_unpin(&mut context).is_ready() {}
        drop(feed);
        assert_eq!(woken.0.load(Ordering::Relaxed), 2);
    }
}
