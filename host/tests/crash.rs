//! Crash tests: however and wherever the host ends, what it acknowledged holds, nobody is charged twice, and nothing is left unfinished.
//!
//! The real binary runs the real shop. It is ended at crash points, by `kill -9`, and by power cuts that are replayed from its system
//! calls. Other tests let its disk fail. No test may open a database file of a host that is not running: closing the file would checkpoint
//! the log that the next start must recover from.

#![allow(clippy::unwrap_used, clippy::print_stderr, unreachable_pub, missing_docs, reason = "a test")]

#[path = "crash/backup.rs"]
mod backup;
#[path = "crash/client.rs"]
mod client;
#[path = "crash/code.rs"]
mod code;
#[path = "crash/disk.rs"]
mod disk;
#[path = "crash/durability.rs"]
mod durability;
#[path = "crash/full.rs"]
mod full;
#[path = "crash/kills.rs"]
mod kills;
#[path = "crash/leaving.rs"]
mod leaving;
#[path = "crash/ledger.rs"]
mod ledger;
#[path = "crash/lost.rs"]
mod lost;
#[path = "crash/points.rs"]
mod points;
#[path = "crash/power.rs"]
mod power;
#[path = "crash/races.rs"]
mod races;
#[path = "crash/recovery.rs"]
mod recovery;
#[path = "crash/restarts.rs"]
mod restarts;
#[path = "crash/restore.rs"]
mod restore;
#[path = "crash/steps.rs"]
mod steps;
#[path = "crash/trace.rs"]
mod trace;
