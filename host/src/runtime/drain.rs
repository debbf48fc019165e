//! What becomes of a generation that another took the place of: requests that began on it end on it, then it is freed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;

use super::Generation;

/// How often it is looked whether the last request has ended.
const GLANCE: Duration = Duration::from_millis(5);
/// How long what was told to end may take to do so: a call gives way at each tick of the epoch.
const GRACE: Duration = Duration::from_secs(5);

/// Waits until nobody holds `retired` any more, for at most `time`; ends what is left, and frees it. `place` is given back then.
pub(super) async fn drain(retired: Arc<Generation>, time: Duration, place: OwnedSemaphorePermit) {
    let number = retired.number;
    let start = Instant::now();
    let spare = retired.compartments().to_vec();
    // Unmapping an interpreter's memories takes milliseconds: not on a thread that requests wait for.
    if let Err(error) = tokio::task::spawn_blocking(move || spare.iter().for_each(|one| one.retire())).await {
        tracing::error!(generation = %number, %error, "retiring a generation's instances failed");
    }
    if !unused(&retired, start + time).await {
        tracing::warn!(generation = %number, drain = ?time, "requests of a retired generation did not end in time and are cut off");
        retired.end();
        if !unused(&retired, Instant::now() + GRACE).await {
            tracing::error!(generation = %number, "a retired generation is still in use");
        }
    }
    // Again not on a thread that requests wait for.
    let freed = tokio::task::spawn_blocking(move || drop(retired)).await;
    let millis = start.elapsed().as_millis();
    match freed {
        Ok(()) => tracing::info!(generation = %number, millis, "freed"),
        Err(error) => tracing::error!(generation = %number, %error, "freeing a generation failed"),
    }
    drop(place);
}

/// Whether the caller's handle is the last one, by `deadline`. Nobody can take a new one: the generation is not current any more.
async fn unused(retired: &Arc<Generation>, deadline: Instant) -> bool {
    while Arc::strong_count(retired) > 1 {
        if Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(GLANCE).await;
    }
    true
}
