//! The settings of the C library's memory allocator.

/// Limits the freed memory that glibc's malloc keeps.
///
/// By default glibc raises the two thresholds that are set here to 32 and 64 MiB after a large allocation is freed. Each of its arenas,
/// eight for each core, then keeps that much. After ten minutes of `make soak`, 110 of 160 MB were free but not returned to the system.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "there is no safe way to tell malloc")]
pub(super) fn bound_kept_memory() {
    /// The size from which an allocation is returned to the system when it is freed, in bytes. Most requests allocate far less.
    const MAPPED: i32 = 1 << 20;
    /// The free memory that an arena of malloc may keep at its end, in bytes.
    const KEPT: i32 = 4 << 20;
    // SAFETY: the calls set two numbers, and no other thread exists yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
    }
}

/// Does nothing: allocators other than glibc's have no such thresholds.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn bound_kept_memory() {}
