//! The `watertight` binary: reads what it is asked, does it, and says how it went by its exit code: 0 fine, 1 refused or failed,
//! 2 not understood.

use std::process::ExitCode;

fn main() -> ExitCode {
    bound_what_malloc_keeps();
    watertight_disk::failpoint::init();
    watertight_cli::run(watertight_cli::Cli::read())
}

/// Left alone, glibc raises both numbers to 32 and 64 MiB once a large result was freed, and then each of its arenas, eight for a core, keeps
/// as much as that: after ten minutes of `make soak` 110 of 160 MB were free and not given back.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "there is no safe way to tell malloc")]
fn bound_what_malloc_keeps() {
    /// What is at least this large is given back when it is freed, in bytes: far above what most requests allocate.
    const MAPPED: i32 = 1 << 20;
    /// What an arena may keep at its end, in bytes.
    const KEPT: i32 = 4 << 20;
    // SAFETY: they set two numbers, while there is no other thread.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
    }
}

/// Other allocators have no such numbers.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn bound_what_malloc_keeps() {}
