//! Tests of changes to a running application: the real binary, real sockets, and builds that the host has not seen before.
//!
//! After any request, and whenever the host ends, three invariants must hold: each request is answered by one published generation, no
//! request fails because of a change, and the history says what runs.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

#[path = "swap/disk.rs"]
mod disk;
#[path = "swap/drain.rs"]
mod drain;
#[path = "swap/emergency.rs"]
mod emergency;
#[path = "swap/ends.rs"]
mod ends;
#[path = "swap/freed.rs"]
mod freed;
#[path = "swap/granted.rs"]
mod granted;
#[path = "swap/hostile.rs"]
mod hostile;
#[path = "swap/languages.rs"]
mod languages;
#[path = "swap/migrations.rs"]
mod migrations;
#[path = "swap/model.rs"]
mod model;
#[path = "swap/restart.rs"]
mod restart;
#[path = "swap/rehearsals.rs"]
mod rehearsals;
#[path = "swap/shop.rs"]
mod shop;
#[path = "swap/spoilt.rs"]
mod spoilt;
#[path = "swap/traffic.rs"]
mod traffic;
#[path = "swap/unpublished.rs"]
mod unpublished;
#[path = "swap/versions.rs"]
mod versions;
