//! Reads outside transactions, on a pool of read-only connections.
//!
//! A short read runs on the calling thread, because moving it to another thread and back costs more than a point query. A
//! read that exceeds its budget is stopped and restarted on a thread that may block. It wrote nothing, so the second run
//! is equivalent. This file must never keep an async thread for longer than that budget.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::task::JoinHandle;

use super::connection::{ConnectionMonitor, GuardedConnection, StatementKind};
use super::counters::Counters;
use super::deadline::StatementDeadline;
use super::durability::Durability;
use super::error::SqlError;
use super::settings::Settings;
use super::value::{Rows, Value};
use watertight_model::config::SqlLimits;

/// The pool of read connections.
pub(super) struct Readers {
    idle: Mutex<Vec<GuardedConnection>>,
    /// A semaphore with one permit for each connection.
    permits: Arc<Semaphore>,
    closed: AtomicBool,
    settings: Arc<Settings>,
    durability: Arc<Durability>,
    counters: Arc<Counters>,
}

/// The result of a read, and the number of the newest commit that it may have seen.
struct Read {
    result: Result<Rows, SqlError>,
    seen: u64,
}

impl Readers {
    pub(super) fn new(
        idle: Vec<GuardedConnection>,
        settings: Arc<Settings>,
        durability: Arc<Durability>,
        counters: Arc<Counters>,
    ) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(idle.len()));
        Arc::new(Self {
            idle: Mutex::new(idle),
            permits,
            closed: AtomicBool::new(false),
            settings,
            durability,
            counters,
        })
    }

    /// Closes idle connections now, and each of the others when it is returned.
    pub(super) fn close(&self) {
        self.closed.store(true, SeqCst);
        self.permits.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Runs one read-only statement.
    pub(super) async fn query(
        self: &Arc<Self>,
        sql: &str,
        parameters: Vec<Value>,
        limits: &SqlLimits,
        deadline: Instant,
    ) -> Result<Rows, SqlError> {
        // A read that never waits would never yield its thread. This call yields after about a hundred reads.
        tokio::task::coop::consume_budget().await;
        let reader = self.take(deadline).await?;
        let now = Instant::now();
        if now >= deadline {
            return Err(SqlError::Timeout);
        }
        let inline = now + self.settings.inline_budget;
        let due = StatementDeadline::new(deadline, limits);
        reader.watch().arm(inline.min(due.at));
        let mut read = reader.read(sql, &parameters, limits);
        let in_time = read.result != Err(SqlError::Timeout);
        self.counters.read(in_time);
        if in_time {
            drop(reader);
        } else if inline < due.at {
            reader.watch().arm(due.at);
            read = Box::pin(LongRead::start(reader, sql.to_owned(), parameters, *limits).join()).await?;
        }
        self.durability.wait(read.seen, deadline).await?;
        due.explain_timeout(read.result)
    }

    /// Takes a reading connection from the pool. Waits only if none is idle.
    async fn take(self: &Arc<Self>, deadline: Instant) -> Result<BorrowedReader, SqlError> {
        let permit = match self.permits.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(TryAcquireError::Closed) => return Err(SqlError::Closed),
            // The rare case is boxed, so that it does not enlarge the future of every read.
            Err(TryAcquireError::NoPermits) => Box::pin(self.wait_for_permit(deadline)).await?,
        };
        let guarded = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        // A permit guarantees a connection, unless the pool was closed in between.
        let guarded = guarded.ok_or(SqlError::Closed)?;
        Ok(BorrowedReader { guarded: Some(guarded), pool: self.clone(), _permit: permit })
    }

    async fn wait_for_permit(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, SqlError> {
        let waiting = QueueSlot::enter(&self.counters, self.settings.read_queue).ok_or(SqlError::Busy)?;
        let permit = tokio::time::timeout_at(deadline.into(), self.permits.clone().acquire_owned()).await;
        drop(waiting);
        permit.map_err(|_| SqlError::Timeout)?.map_err(|_| SqlError::Closed)
    }
}

/// A counted place in the queue of waiting reads.
struct QueueSlot<'a>(&'a Counters);

impl<'a> QueueSlot<'a> {
    fn enter(counters: &'a Counters, most: usize) -> Option<Self> {
        let queue = counters.read_queue();
        // The place counts even if the queue is full. Dropping the place undoes the count.
        let place = Self(counters);
        (queue.fetch_add(1, SeqCst) < most).then_some(place)
    }
}

impl Drop for QueueSlot<'_> {
    fn drop(&mut self) {
        self.0.read_queue().fetch_sub(1, SeqCst);
    }
}

/// A reading connection that one read has borrowed from the pool. Dropping it returns the connection and then frees the permit.
struct BorrowedReader {
    /// Present until the reader is dropped.
    guarded: Option<GuardedConnection>,
    pool: Arc<Readers>,
    _permit: OwnedSemaphorePermit,
}

impl BorrowedReader {
    fn guarded(&self) -> &GuardedConnection {
        self.guarded.as_ref().expect("a reader has its connection until it is dropped")
    }

    fn watch(&self) -> &Arc<ConnectionMonitor> {
        self.guarded().watch()
    }

    /// Runs the statement until it ends or the connection's watch stops it.
    fn read(&self, sql: &str, parameters: &[Value], limits: &SqlLimits) -> Read {
        let pool = &self.pool;
        // A failure to prepare has seen only the schema, and the schema is synced before the database is used.
        let mut seen = 0;
        let result =
            self.guarded().query(sql, parameters, StatementKind::Reads, limits, || seen = pool.durability.issued());
        Read { result, seen }
    }
}

impl Drop for BorrowedReader {
    fn drop(&mut self) {
        let mut idle = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.pool.closed.load(SeqCst) {
            idle.extend(self.guarded.take());
        }
    }
}

/// A read on a thread of its own. Dropping it stops the read.
struct LongRead {
    task: JoinHandle<(BorrowedReader, Read)>,
    monitor: Arc<ConnectionMonitor>,
}

impl LongRead {
    /// Starts the read. The reader's watch must be armed already, so that arming does not overwrite a stop.
    fn start(reader: BorrowedReader, sql: String, parameters: Vec<Value>, limits: SqlLimits) -> Self {
        let monitor = reader.watch().clone();
        let task = tokio::task::spawn_blocking(move || {
            reader.watch().set_long(true);
            let read = reader.read(&sql, &parameters, &limits);
            reader.watch().set_long(false);
            // The reader is returned with the result. Until the result is taken, nobody else can get the reader and be
            // stopped in place of this read.
            (reader, read)
        });
        Self { task, monitor }
    }

    async fn join(mut self) -> Result<Read, SqlError> {
        match (&mut self.task).await {
            Ok((reader, read)) => {
                // The reader is returned only after this long read can no longer stop it.
                drop(self);
                drop(reader);
                Ok(read)
            }
            Err(_) => Err(SqlError::Storage("the database failed".to_owned())),
        }
    }
}

impl Drop for LongRead {
    fn drop(&mut self) {
        self.monitor.stop();
    }
}
