//! Drains a retired generation: its requests finish on it, and then it is freed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;

use super::Generation;

/// The pause between two checks whether the last request has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// The time that requests have to end after they are cut off. A guest yields at each tick of the epoch, so this is ample.
const GRACE: Duration = Duration::from_secs(5);
/// The pause between two checks whether the last request has ended, after [`GRACE`] has passed.
const SLOW_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Waits until only this function holds `retired`, then frees the generation and gives `permit` back. After `time`, it cuts off the
/// requests that still run.
pub(super) async fn drain(retired: Arc<Generation>, time: Duration, permit: OwnedSemaphorePermit) {
    let number = retired.number;
    let start = Instant::now();
    let spare = retired.compartments().to_vec();
    // On a blocking thread, because unmapping an interpreter's memories takes milliseconds.
    if let Err(error) = tokio::task::spawn_blocking(move || spare.iter().for_each(|one| one.retire())).await {
        tracing::error!(generation = %number, %error, "idle instances of a retired generation could not be dropped before it is freed");
    }
    let cut_off = |generation: &Generation| {
        tracing::warn!(generation = %number, drain = ?time, "requests of a retired generation did not end in time and are cut off");
        generation.cut_off();
    };
    let stuck = || {
        tracing::error!(generation = %number, "a retired generation's requests run on after they were cut off; it still counts as draining");
    };
    let last = wait_for_sole_owner(retired, (start + time, GRACE), cut_off, stuck).await;
    // On a blocking thread as well, because freeing the generation unmaps its code and memories.
    let freed = tokio::task::spawn_blocking(move || drop(last)).await;
    let millis = start.elapsed().as_millis();
    match freed {
        Ok(()) => tracing::info!(generation = %number, millis, "a retired generation was freed"),
        Err(error) => {
            tracing::error!(generation = %number, %error, "a retired generation could not be freed; its memory possibly stays in use");
        }
    }
    drop(permit);
}

/// Waits until `shared` is the last handle and returns its value.
///
/// At `deadline` it calls `cut_off`, which must end the other holders. If some are left after `grace`, it calls `stuck` once and keeps
/// waiting, because a value in use cannot be freed.
async fn wait_for_sole_owner<T>(
    shared: Arc<T>,
    (deadline, grace): (Instant, Duration),
    cut_off: impl FnOnce(&T),
    stuck: impl FnOnce(),
) -> T {
    let shared = match try_wait_for_sole_owner(shared, POLL_INTERVAL, Some(deadline)).await {
        Ok(last) => return last,
        Err(shared) => shared,
    };
    cut_off(&shared);
    let shared = match try_wait_for_sole_owner(shared, POLL_INTERVAL, Some(Instant::now() + grace)).await {
        Ok(last) => return last,
        Err(shared) => shared,
    };
    stuck();
    match try_wait_for_sole_owner(shared, SLOW_POLL_INTERVAL, None).await {
        Ok(last) => last,
        Err(_) => unreachable!("without a deadline it waits until it is alone"),
    }
}

/// Waits until `shared` is the last handle and returns its value. Returns the handle if others are left at `deadline`; `None` waits without
/// end. `glance` is the pause between two checks.
async fn try_wait_for_sole_owner<T>(
    mut shared: Arc<T>,
    glance: Duration,
    deadline: Option<Instant>,
) -> Result<T, Arc<T>> {
    loop {
        // Others, such as the sampling of metrics, hold a handle for an instant, so one failed attempt means nothing.
        shared = match Arc::try_unwrap(shared) {
            Ok(last) => return Ok(last),
            Err(shared) => shared,
        };
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(shared);
        }
        tokio::time::sleep(glance).await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use super::*;

    #[tokio::test]
    async fn what_somebody_holds_is_not_free_however_long_that_takes() {
        let shared = Arc::new(7);
        let holder = shared.clone();
        let (cut, stuck) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (cuts, stucks) = (cut.clone(), stuck.clone());
        let times = (Instant::now() + Duration::from_millis(10), Duration::from_millis(10));
        let mut going = tokio::spawn(wait_for_sole_owner(
            shared,
            times,
            move |_| cuts.store(true, Relaxed),
            move || stucks.store(true, Relaxed),
        ));
        // The wait lasts far longer than deadline and grace together.
        assert!(tokio::time::timeout(Duration::from_millis(400), &mut going).await.is_err());
        assert!(cut.load(Relaxed) && stuck.load(Relaxed));
        drop(holder);
        assert_eq!(tokio::time::timeout(Duration::from_secs(20), going).await.unwrap().unwrap(), 7);
    }

    #[tokio::test]
    async fn what_nobody_holds_is_free_at_once() {
        let times = (Instant::now() + Duration::from_secs(60), Duration::ZERO);
        let last =
            wait_for_sole_owner(Arc::new(7), times, |_| panic!("nothing is left"), || panic!("nothing is left")).await;
        assert_eq!(last, 7);
    }
}
