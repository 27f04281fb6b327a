//! Streams whose items take their time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use offhook::provider::BoxStream;
use offhook::runtime::Runtime;

/// Yields each item so long after the one before it.
pub(super) fn paced<T: Send + 'static>(runtime: Arc<dyn Runtime>, items: Vec<(Duration, T)>) -> BoxStream<'static, T> {
    stream::unfold((runtime, items.into_iter()), |(runtime, mut items)| async move {
        let (delay, item) = items.next()?;
        pause(&*runtime, delay).await;
        Some((item, (runtime, items)))
    })
    .boxed()
}

/// Waits, if there is anything to wait for.
pub(super) async fn pause(runtime: &dyn Runtime, delay: Duration) {
    if !delay.is_zero() {
        runtime.sleep_until(runtime.now() + delay).await;
    }
}
