//! Tests of builds that cost the host much time or memory before they run.
//!
//! They have a test binary of their own, since they load all processors for seconds, which would slow other tests down.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

mod builds;
