//! A write transaction in the hands of its caller.
//!
//! The statements run on the writer's thread; this is the near end of its lease. Dropping it rolls back without waiting.

use std::fmt;
use std::sync::mpsc::TrySendError;
use std::time::Instant;

use tokio::sync::oneshot;

use super::Database;
use super::durability::Reply;
use super::error::SqlError;
use super::limits::check_input;
use super::value::{Rows, Value};
use super::writer::{Bound, Lease, Request};

/// A write transaction. It holds the database's writer: without a statement for [`lease`](super::Settings::lease), or past the
/// deadline that it was begun with, it is rolled back, and every later call answers [`SqlError::Timeout`].
///
/// After a statement that failed the transaction is as it was before it and goes on, with three exceptions that end it: `Timeout`, a
/// failing disk, and a statement that itself asks not to be undone alone (`OR ROLLBACK`, `OR FAIL`, or a `RETURNING` over the limits).
///
/// What a transaction reads may not be on the disk yet; [`commit`](Self::commit) waits for it. Whoever lets anything out of a
/// transaction that was *not* committed calls [`rollback`](Self::rollback) or [`Database::settle`] first.
pub struct Transaction {
    lease: Lease,
    database: Database,
    deadline: Instant,
}

impl Transaction {
    pub(super) fn new(lease: Lease, database: Database, deadline: Instant) -> Self {
        Self { lease, database, deadline }
    }

    /// Runs one statement, which may write as well, and returns its rows.
    ///
    /// # Errors
    /// Any [`SqlError`]; `Closed` where the transaction has ended.
    pub async fn query(&mut self, sql: &str, parameters: Vec<Value>) -> Result<Rows, SqlError> {
        let statement = self.bind(sql, parameters)?;
        self.ask(|reply| Request::Query(statement, reply)).await
    }

    /// Runs one statement that writes; returns how many rows it changed.
    ///
    /// # Errors
    /// Any [`SqlError`]; `Closed` where the transaction has ended.
    pub async fn execute(&mut self, sql: &str, parameters: Vec<Value>) -> Result<u64, SqlError> {
        let statement = self.bind(sql, parameters)?;
        self.ask(|reply| Request::Execute(statement, reply)).await
    }

    /// Commits, and returns once that is on the disk.
    ///
    /// # Errors
    /// `Constraint` for a deferred reference that leads nowhere; `Timeout` and `Closed` where the transaction had ended; `Storage`. But for
    /// a `Storage` after a failed sync, of which nobody can know, nothing was committed.
    pub async fn commit(self) -> Result<(), SqlError> {
        self.ask(Request::Commit).await.map(drop)
    }

    /// Rolls back, and returns once everything that the transaction can have read is on the disk.
    ///
    /// # Errors
    /// `Timeout` where the disk takes longer than the deadline; `Storage` where it failed.
    pub async fn rollback(self) -> Result<(), SqlError> {
        let Self { lease, database, deadline } = self;
        drop(lease);
        database.settle(deadline).await
    }

    fn bind(&self, sql: &str, parameters: Vec<Value>) -> Result<Bound, SqlError> {
        check_input(sql, &parameters, self.database.settings(), &self.database.limits)?;
        Ok(Bound { sql: sql.to_owned(), parameters })
    }

    /// Asks the writer, and waits for what it says: it keeps the deadline itself, so that no answer is ever a guess.
    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, SqlError> {
        let (reply, answer) = oneshot::channel();
        match self.lease.requests.try_send(request(reply)) {
            Ok(()) => {}
            // A call before this one was dropped while it ran.
            Err(TrySendError::Full(_)) => return Err(SqlError::Busy),
            Err(TrySendError::Disconnected(_)) => return Err(self.lease.end.error()),
        }
        match answer.await {
            Ok(result) => result,
            Err(_) => Err(self.lease.end.error()),
        }
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("database", &self.database).finish_non_exhaustive()
    }
}
