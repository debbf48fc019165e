//! The pool of one module's connections.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType, Timeouts,
};
use tokio_postgres::Config;
use tokio_postgres_rustls::MakeRustlsConnect;
use watertight_sql::SqlError;

use super::error::{UniqueColumns, translate};
use super::settings::Settings;

/// How long the server has to take the order to end a statement.
const CANCEL: Duration = Duration::from_secs(1);
/// What statements answer while no connection can be made.
const UNAVAILABLE: &str = "the database is not available";

/// The connections of one role.
pub(crate) struct Connections {
    pool: Pool,
    tls: MakeRustlsConnect,
    waiting: AtomicUsize,
    queue: usize,
    connect: Duration,
}

impl Connections {
    pub(crate) fn new(config: Config, tls: MakeRustlsConnect, settings: &Settings) -> Self {
        // Nothing that the policy allows changes a session, and a session that did not end cleanly is closed.
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(config, tls.clone(), recycling);
        let pool = Pool::builder(manager).max_size(settings.connections.max(1)).runtime(Runtime::Tokio1).build();
        let pool = pool.expect("a pool with a runtime can be built");
        Self { pool, tls, waiting: AtomicUsize::new(0), queue: settings.queue, connect: settings.connect }
    }

    /// Takes a connection. Waits for one until `deadline`.
    pub(crate) async fn take(&self, deadline: Instant) -> Result<Lease, SqlError> {
        let place = QueuePlace::enter(&self.waiting, self.queue).ok_or(SqlError::Busy)?;
        let left = deadline.saturating_duration_since(Instant::now());
        let timeouts = Timeouts { wait: Some(left), create: Some(self.connect.min(left)), recycle: Some(left) };
        let object = self.pool.timeout_get(&timeouts).await;
        drop(place);
        match object {
            Ok(object) => Ok(Lease { object: Some(object), tls: self.tls.clone(), clean: true }),
            Err(PoolError::Timeout(TimeoutType::Wait | TimeoutType::Recycle)) => Err(SqlError::Timeout),
            // The call's own deadline says nothing about the server.
            Err(PoolError::Timeout(TimeoutType::Create)) if Instant::now() >= deadline => Err(SqlError::Timeout),
            Err(PoolError::Timeout(TimeoutType::Create)) => Err(SqlError::Storage(UNAVAILABLE.to_owned())),
            Err(PoolError::Backend(error)) => Err(match translate(&error, &UniqueColumns::new()) {
                SqlError::Busy => SqlError::Busy,
                _ => {
                    tracing::warn!(%error, "no connection to PostgreSQL can be made");
                    SqlError::Storage(UNAVAILABLE.to_owned())
                }
            }),
            Err(PoolError::Closed) => Err(SqlError::Closed),
            Err(error @ (PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_))) => {
                tracing::error!(%error, "the pool of connections failed");
                Err(SqlError::Storage(UNAVAILABLE.to_owned()))
            }
        }
    }

    /// Closes idle connections now, and each of the others when it is returned.
    pub(crate) fn close(&self) {
        self.pool.close();
    }

    /// Forgets all prepared statements, because the schema has changed.
    pub(crate) fn forget_statements(&self) {
        self.pool.manager().statement_caches.clear();
    }
}

/// A counted place among those that wait.
struct QueuePlace<'a>(&'a AtomicUsize);

impl<'a> QueuePlace<'a> {
    fn enter(waiting: &'a AtomicUsize, most: usize) -> Option<Self> {
        // The place counts even if the queue is full. Dropping the place undoes the count.
        let place = Self(waiting);
        (waiting.fetch_add(1, SeqCst) < most).then_some(place)
    }
}

impl Drop for QueuePlace<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// A connection that was taken from the pool.
///
/// Dropping it returns it. While something runs on it, it is not clean: dropping it then ends what runs, on the server too, and
/// closes it.
pub(crate) struct Lease {
    /// Present until the lease is dropped.
    object: Option<Object>,
    tls: MakeRustlsConnect,
    clean: bool,
}

impl Lease {
    /// Says that something runs that must be ended if the lease is dropped.
    pub(crate) fn begin(&mut self) {
        self.clean = false;
    }

    /// Says that nothing runs, and that no transaction is open.
    pub(crate) fn end(&mut self) {
        self.clean = true;
    }
}

impl Deref for Lease {
    type Target = Object;

    fn deref(&self) -> &Object {
        self.object.as_ref().expect("a lease has its connection until it is dropped")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(object) = self.object.take().filter(|_| !self.clean) else { return };
        // The connection leaves the pool, so that a late order to end can't meet another statement on it.
        let client = Object::take(object);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (token, tls) = (client.cancel_token(), self.tls.clone());
        runtime.spawn(async move {
            if !client.is_closed() && !matches!(tokio::time::timeout(CANCEL, token.cancel_query(tls)).await, Ok(Ok(())))
            {
                tracing::warn!("PostgreSQL was not told to end a statement: it ends it by its own time limit");
            }
            drop(client);
        });
    }
}
