//! Returns memory to the operating system after a peak of connections or of the bytes held for clients. By itself, glibc keeps freed memory
//! that lies between allocations in use.

use std::sync::Weak;
use std::time::Duration;

use super::connections::Connections;

/// The interval at which the listener checks whether a peak is over.
const LOOK: Duration = Duration::from_secs(1);
/// The minimum drop of the bytes held for clients that ends a peak.
const PEAK_BYTES: u64 = 8 << 20;
/// The minimum drop of the number of connections that ends a peak. A connection takes about 10 KiB.
const PEAK_CONNECTIONS: usize = 256;

/// Returns memory to the operating system after each peak, as long as the listener exists.
pub(super) async fn trim_after_peaks(connections: Weak<Connections>) {
    let (mut most_bytes, mut most_connections) = (0, 0);
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(connections) = connections.upgrade() else { return };
        let (bytes, open) = (connections.held(), connections.count());
        (most_bytes, most_connections) = (most_bytes.max(bytes), most_connections.max(open));
        let is_over = |most: u64, now: u64, peak: u64| most - now >= peak.max(most / 2);
        if is_over(most_bytes, bytes, PEAK_BYTES)
            || is_over(most_connections as u64, open as u64, PEAK_CONNECTIONS as u64)
        {
            (most_bytes, most_connections) = (bytes, open);
            // The call walks all free memory and takes the allocator's locks one after another, so it must not run on a thread that
            // serves requests.
            let _ = tokio::task::spawn_blocking(trim_malloc).await;
        }
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "there is no safe way to tell malloc")]
fn trim_malloc() {
    // SAFETY: `malloc_trim` may be called at any time by any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Does nothing: other allocators than glibc's have no call that returns memory to the system.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim_malloc() {}
