//! The bounds of one module's sessions, each with its reason.

use std::time::Duration;

use watertight_model::config::SqlLimits;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The bounds of one module's database: every queue, wait and size has one here.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The most connections, and so the most statements and transactions at once. 8: PostgreSQL has a process for each, and
    /// 100 for all by default.
    pub connections: usize,
    /// The most calls that wait for a connection. A further one is answered `Busy`. 1,024, as for SQLite.
    pub queue: usize,
    /// How long making a connection may take. 5 seconds.
    pub connect: Duration,
    /// How long a transaction may keep its connection between two statements. 100 ms, as the contract `watertight:sql` promises.
    pub lease: Duration,
    /// How long a commit may take beyond the call's deadline. After it the outcome is unknown. 5 seconds: a commit waits for the
    /// server's disk, and sometimes for a replica.
    pub commit: Duration,
    /// How long after the host the server itself ends a statement or an idle transaction. 5 seconds: the host ends them first,
    /// and this is for a host that is gone.
    pub behind: Duration,
    /// The longest text of one statement, in bytes. 64 KiB, as for SQLite.
    pub max_statement_bytes: usize,
    /// The largest value of a parameter, in bytes. 4 MiB, as for SQLite.
    pub max_value_bytes: usize,
    /// The number of prepared statements of each connection, and of checked statements of the module. 128: more than a module
    /// has. When it is reached, all are forgotten.
    pub cached_statements: usize,
    /// The limits of statements that are run through a handle without limits of its own.
    pub limits: SqlLimits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections: 8,
            queue: 1024,
            connect: Duration::from_secs(5),
            lease: Duration::from_millis(100),
            commit: Duration::from_secs(5),
            behind: Duration::from_secs(5),
            max_statement_bytes: 64 * KIB,
            max_value_bytes: 4 * MIB,
            cached_statements: 128,
            limits: SqlLimits::default(),
        }
    }
}
