//! Tests of changes to a running application: the real binary, real sockets, and builds that the host has not seen before.
//!
//! After any request, and whenever the host ends, three invariants must hold: each request is answered by one published generation, no
//! request fails because of a change, and the history says what runs.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

mod disk;
mod drain;
mod emergency;
mod ends;
mod freed;
mod granted;
mod hostile;
mod languages;
mod migrations;
mod model;
mod restart;
mod rehearsals;
mod shop;
mod spoilt;
mod traffic;
mod unpublished;
mod versions;
mod waiting;
