//! A transaction as its caller holds it.
//!
//! It is serializable. As on SQLite, a failed statement changes nothing and the transaction goes on: each statement has a
//! savepoint. `BEGIN` and savepoints travel with the statement that needs them, so they cost no round trip.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use watertight_sql::{Rows, SqlError, Value};

use super::database::{Database, Failure, Inner, Outcome};
use super::error::{UNKNOWN, is_lost, is_retried, is_stale};
use super::lease::Lease;
use super::settings::Settings;

const BEGIN: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE; SAVEPOINT watertight";
const NEXT: &str = "RELEASE SAVEPOINT watertight; SAVEPOINT watertight";
const UNDO: &str = "ROLLBACK TO SAVEPOINT watertight";

/// A transaction. It holds a connection.
///
/// It is rolled back after [`lease`](Settings::lease) without a statement, or at its deadline. Every later call then answers
/// `Timeout`. It also ends when others are in the way of it for good: the statement answers `Busy`, and later ones `Closed`.
pub struct Transaction {
    slot: Arc<Slot>,
    database: Database,
    deadline: Instant,
}

/// The part of a transaction that its database can end.
struct Slot {
    state: tokio::sync::Mutex<State>,
    /// Since when no statement runs. `None` while one does, and after the end.
    idle: Mutex<Option<Instant>>,
}

struct State {
    /// `None` once the transaction has ended.
    lease: Option<Lease>,
    begun: bool,
    /// What later calls answer.
    end: SqlError,
}

impl Slot {
    fn set_idle(&self, since: Option<Instant>) {
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn idle(&self) -> Option<Instant> {
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transaction {
    pub(crate) fn new(lease: Lease, database: Database, deadline: Instant) -> Self {
        let state = State { lease: Some(lease), begun: false, end: SqlError::Closed };
        let slot = Arc::new(Slot { state: state.into(), idle: Mutex::new(Some(Instant::now())) });
        database.open_transactions().add(&slot);
        Self { slot, database, deadline }
    }

    /// Runs one statement, which may also write, and returns its rows.
    ///
    /// # Errors
    /// Any [`SqlError`]; `Closed` if the transaction has ended.
    pub async fn query(&mut self, sql: &str, parameters: Vec<Value>) -> Result<Rows, SqlError> {
        self.statement(sql, parameters, false).await
    }

    /// Runs one writing statement, and returns the number of changed rows.
    ///
    /// # Errors
    /// Any [`SqlError`]; `Closed` if the transaction has ended.
    pub async fn execute(&mut self, sql: &str, parameters: Vec<Value>) -> Result<u64, SqlError> {
        self.statement(sql, parameters, true).await
    }

    async fn statement<T: Outcome>(
        &mut self,
        sql: &str,
        parameters: Vec<Value>,
        must_write: bool,
    ) -> Result<T, SqlError> {
        self.slot.set_idle(None);
        let answer = self.run(sql, parameters, must_write).await;
        self.slot.set_idle(Some(Instant::now()));
        answer
    }

    async fn run<T: Outcome>(&mut self, sql: &str, parameters: Vec<Value>, must_write: bool) -> Result<T, SqlError> {
        let allowed = self.database.allow(sql, &parameters).await?;
        if must_write && !allowed.writes {
            return Err(SqlError::Syntax("`execute` takes a statement that writes".to_owned()));
        }
        let mut state = self.slot.state.lock().await;
        let prefix = if state.begun { NEXT } else { BEGIN };
        state.begun = true;
        // A call that is dropped while it runs leaves no lease, so that the transaction ends with it.
        let Some(mut lease) = state.lease.take() else { return Err(state.end.clone()) };
        lease.begin();
        let (due, late) = self.database.due(self.deadline);
        state.end = late.clone();
        let work = async {
            // Both are sent before either is answered.
            let (saved, answer) =
                futures::join!(lease.batch_execute(prefix), self.database.run::<T>(&lease, &allowed, parameters));
            saved?;
            answer
        };
        let Ok(outcome) = tokio::time::timeout_at(due.into(), work).await else { return Err(late) };
        let error = match outcome {
            Ok(value) => {
                state.lease = Some(lease);
                return Ok(value);
            }
            Err(Failure::Own(error)) => error,
            Err(Failure::Server(error)) => {
                let translated = self.database.translate(&error);
                if is_lost(&error) {
                    state.end = SqlError::Closed;
                    return Err(translated);
                }
                if is_retried(&error) {
                    // The server refuses the rest of the transaction, whatever it is.
                    state.end = SqlError::Closed;
                    end(lease, self.database.settings());
                    return Err(translated);
                }
                if is_stale(&error) {
                    // The statement can run again, prepared anew.
                    lease.statement_cache.clear();
                    SqlError::Busy
                } else {
                    translated
                }
            }
        };
        match tokio::time::timeout_at(due.into(), lease.batch_execute(UNDO)).await {
            Ok(Ok(())) => state.lease = Some(lease),
            Ok(Err(_)) => state.end = SqlError::Closed,
            Err(_) => {}
        }
        Err(error)
    }

    /// Commits, and returns once the changes are on the server's disk.
    ///
    /// # Errors
    /// `Constraint` for a deferred foreign key without its row; `Busy` if others were in the way; `Timeout` or `Closed` if the
    /// transaction had ended; `Storage`. Nothing was committed, except that the outcome is unknown for a `Storage` that says so.
    pub async fn commit(self) -> Result<(), SqlError> {
        self.slot.set_idle(None);
        let mut state = self.slot.state.lock().await;
        let Some(mut lease) = state.lease.take() else { return Err(state.end.clone()) };
        if !state.begun {
            lease.end();
            return Ok(());
        }
        let until = self.deadline.max(Instant::now()) + self.database.settings().commit;
        match tokio::time::timeout_at(until.into(), lease.batch_execute("COMMIT")).await {
            Ok(Ok(())) => {
                lease.end();
                Ok(())
            }
            Ok(Err(error)) if !is_lost(&error) => {
                lease.end();
                Err(self.database.translate(&error))
            }
            Ok(Err(_)) | Err(_) => Err(SqlError::Storage(UNKNOWN.to_owned())),
        }
    }

    /// Rolls back.
    ///
    /// # Errors
    /// `Storage` if the connection was lost. The server rolls back then, too.
    pub async fn rollback(self) -> Result<(), SqlError> {
        self.slot.set_idle(None);
        let mut state = self.slot.state.lock().await;
        let Some(mut lease) = state.lease.take() else { return Ok(()) };
        if state.begun {
            lease.batch_execute("ROLLBACK").await.map_err(|error| self.database.translate(&error))?;
        }
        lease.end();
        Ok(())
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.slot.set_idle(None);
        let Ok(mut state) = self.slot.state.try_lock() else { return };
        let begun = state.begun;
        match state.lease.take() {
            Some(lease) if begun => end(lease, self.database.settings()),
            Some(mut lease) => lease.end(),
            None => {}
        }
    }
}

/// Rolls back without waiting for it, and returns the connection to the pool then.
fn end(mut lease: Lease, settings: &Settings) {
    let allowed = settings.connect;
    lease.begin();
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    runtime.spawn(async move {
        if let Ok(Ok(())) = tokio::time::timeout(allowed, lease.batch_execute("ROLLBACK")).await {
            lease.end();
        }
    });
}

/// The open transactions of a database. A task ends those that run no statement for too long.
#[derive(Default)]
pub(crate) struct OpenTransactions(Mutex<Vec<Weak<Slot>>>);

impl OpenTransactions {
    fn add(&self, slot: &Arc<Slot>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(slot));
    }

    /// Starts the task. It ends with the database.
    pub(crate) fn watch(inner: &Arc<Inner>) {
        let lease = inner.settings.lease;
        let inner = Arc::downgrade(inner);
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval((lease / 4).max(std::time::Duration::from_millis(1)));
            loop {
                ticks.tick().await;
                let Some(inner) = inner.upgrade() else { return };
                inner.open.end_idle(&inner.settings);
            }
        });
    }

    fn end_idle(&self, settings: &Settings) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|slot| {
            let Some(slot) = slot.upgrade() else { return false };
            if slot.idle().is_none_or(|since| since.elapsed() < settings.lease) {
                return true;
            }
            // Whoever has the lock runs a statement.
            let Ok(mut state) = slot.state.try_lock() else { return true };
            if let Some(lease) = state.lease.take() {
                state.end = SqlError::Timeout;
                end(lease, settings);
            }
            false
        });
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("database", &self.database).finish_non_exhaustive()
    }
}
