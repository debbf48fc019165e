//! The whole host from outside: the real binary, real components, real sockets. Nothing in here reaches into the host.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

#[path = "support/host.rs"]
mod host;

#[test]
fn it_starts() {
    let t = std::time::Instant::now();
    let host = host::Launch::shop().start();
    eprintln!("{:?} {}", t.elapsed(), host.log());
}
