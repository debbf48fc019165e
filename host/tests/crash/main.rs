//! Crash tests: however and wherever the host ends, what it acknowledged holds, nobody is charged twice, and nothing is left unfinished.
//!
//! The real binary runs the real shop. It is ended at crash points, by `kill -9`, and by power cuts that are replayed from its system
//! calls. Other tests let its disk fail. No test may open a database file of a host that is not running: closing the file would move the
//! content of SQLite's write-ahead log into the database, and the next start would have nothing to recover.

#![allow(clippy::unwrap_used, clippy::print_stderr, unreachable_pub, missing_docs, reason = "a test")]

mod backup;
mod client;
mod code;
mod disk;
mod durability;
mod full;
mod kills;
mod leaving;
mod ledger;
mod lost;
mod points;
mod power;
mod races;
mod recovery;
mod restarts;
mod restore;
mod steps;
mod trace;
