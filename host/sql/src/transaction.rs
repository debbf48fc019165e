//! A write transaction as its caller holds it.
//!
//! Statements run on the writer's thread. A transaction holds the caller's end of the writer's lease. Dropping it rolls
//! back without waiting.

use std::fmt;
use std::sync::mpsc::TrySendError;
use std::time::Instant;

use tokio::sync::oneshot;

use super::Database;
use super::durability::Reply;
use super::error::SqlError;
use super::limits::check_input;
use super::value::{Rows, Value};
use super::writer::{BoundStatement, Lease, TransactionRequest};

/// A write transaction. It holds the database's writer.
///
/// It is rolled back after [`lease`](super::Settings::lease) without a statement, or at its deadline. Every later call
/// then answers [`SqlError::Timeout`].
///
/// A failed statement changes nothing, and the transaction goes on. Three failures end the transaction instead:
/// `Timeout`, a failing disk, and a statement that can't be undone alone (`OR ROLLBACK`, `OR FAIL`, or a `RETURNING`
/// above the limits).
///
/// Data that a transaction reads may not be on the disk yet. [`commit`](Self::commit) waits for it. A caller that ends a
/// transaction without a commit must call [`rollback`](Self::rollback) or [`Database::wait_until_synced`] before it reveals data
/// that it read.
pub struct Transaction {
    lease: Lease,
    database: Database,
    deadline: Instant,
}

impl Transaction {
    pub(super) fn new(lease: Lease, database: Database, deadline: Instant) -> Self {
        Self { lease, database, deadline }
    }

    /// Runs one statement, which may also write, and returns its rows.
    ///
    /// # Errors
    /// Any [`SqlError`]; `Closed` if the transaction has ended.
    pub async fn query(&mut self, sql: &str, parameters: Vec<Value>) -> Result<Rows, SqlError> {
        let statement = self.bind(sql, parameters)?;
        self.ask(|reply| TransactionRequest::Query(statement, reply)).await
    }

    /// Runs one writing statement, and returns the number of changed rows.
    ///
    /// # Errors
    /// Any [`SqlError`]; `Closed` if the transaction has ended.
    pub async fn execute(&mut self, sql: &str, parameters: Vec<Value>) -> Result<u64, SqlError> {
        let statement = self.bind(sql, parameters)?;
        self.ask(|reply| TransactionRequest::Execute(statement, reply)).await
    }

    /// Commits, and returns once the changes are on the disk.
    ///
    /// # Errors
    /// `Constraint` for a deferred foreign key without its row; `Timeout` or `Closed` if the transaction had ended;
    /// `Storage`. Nothing was committed, except that the outcome is unknown for a `Storage` after a failed sync.
    pub async fn commit(self) -> Result<(), SqlError> {
        self.ask(TransactionRequest::Commit).await.map(drop)
    }

    /// Rolls back, and returns once all data that the transaction may have read is on the disk.
    ///
    /// # Errors
    /// `Timeout` if the deadline passes first; `Storage` if the disk failed.
    pub async fn rollback(self) -> Result<(), SqlError> {
        let Self { lease, database, deadline } = self;
        drop(lease);
        database.wait_until_synced(deadline).await
    }

    fn bind(&self, sql: &str, parameters: Vec<Value>) -> Result<BoundStatement, SqlError> {
        check_input(sql, &parameters, self.database.settings(), &self.database.limits)?;
        Ok(BoundStatement { sql: sql.to_owned(), parameters })
    }

    /// Sends a request to the writing thread and waits for the answer. That thread ends the transaction at its deadline, so
    /// the wait needs no timeout.
    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> TransactionRequest) -> Result<T, SqlError> {
        let (reply, answer) = oneshot::channel();
        match self.lease.requests.try_send(request(reply)) {
            Ok(()) => {}
            // An earlier call was dropped while it ran, and its request still occupies the writer.
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
