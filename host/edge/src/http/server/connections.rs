//! The open connections of one listener: their number, and the choice of connections that are closed to make room for others.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::connection::Connection;
use super::{ListenerLimits, Refusals};
use watertight_telemetry::table::{self, CutOffReason};
use watertight_telemetry::{ListenerMetrics, Snapshot, Telemetry};

/// A full listener closes at most this fraction of its connections at once: their maximum number divided by this number.
const EVICTION_DIVISOR: usize = 8;
/// The interval at which a full listener checks whether it can close an idle connection.
const RECHECK_INTERVAL: Duration = Duration::from_millis(10);

/// The open connections of a listener.
pub(super) struct Connections {
    name: &'static str,
    bounds: ListenerLimits,
    metrics: ListenerMetrics,
    refusals: Refusals,
    open: Mutex<HashMap<u64, Arc<Connection>>>,
    /// The number of bytes that are held in memory for all clients.
    pub(super) held: AtomicU64,
    /// Whether the listener stops.
    stopping: AtomicBool,
    /// Notifies waiting tasks when a connection has ended.
    changed: Notify,
}

impl Connections {
    pub(super) fn new(name: &'static str, bounds: ListenerLimits, telemetry: &Telemetry) -> Arc<Self> {
        let all = Arc::new(Self {
            name,
            bounds,
            metrics: telemetry.listener(name),
            refusals: Refusals::default(),
            open: Mutex::default(),
            held: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            changed: Notify::new(),
        });
        let sampled = Arc::downgrade(&all);
        telemetry.register_sampler(move |now| {
            if let Some(all) = sampled.upgrade() {
                all.sample(now);
            }
        });
        all
    }

    fn sample(&self, now: &mut Snapshot) {
        now.add(&table::CONNECTIONS, &[self.name], self.count() as u64);
        now.add(&table::HELD_BYTES, &[self.name], self.held());
    }

    pub(super) fn limits(&self) -> &ListenerLimits {
        &self.bounds
    }

    pub(super) fn metrics(&self) -> &ListenerMetrics {
        &self.metrics
    }

    pub(super) fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    pub(super) fn count(&self) -> usize {
        self.all().len()
    }

    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        // Inserting and removing are the only changes of the map. A panic within either cannot leave it half changed.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a connection. Dropping the returned guard removes it.
    pub(super) fn add(self: &Arc<Self>, number: u64, peer: SocketAddr) -> ConnectionGuard {
        let connection = Connection::new(self.clone(), number, peer);
        self.all().insert(number, connection.clone());
        ConnectionGuard(connection)
    }

    /// Waits until there is room for another connection. Closes idle connections for it; those that have been idle longest go first.
    pub(super) async fn wait_for_room(&self) {
        while !self.has_room() {
            let changed = self.changed.notified();
            let _ = tokio::time::timeout(RECHECK_INTERVAL, changed).await;
        }
    }

    /// Returns whether another connection may be accepted. If not, tells idle connections to end.
    fn has_room(&self) -> bool {
        let all = self.all();
        let untrusted = |connection: &Connection| !connection.is_trusted();
        let is_full = all.len() >= self.bounds.connections as usize;
        let share = self.bounds.tokenless.map_or(usize::MAX, |share| share.connections as usize);
        let is_crowded = share < usize::MAX && all.values().filter(|c| untrusted(c)).count() >= share;
        if !is_full && !is_crowded {
            return true;
        }
        self.evict_idle(&all, |connection| is_full || untrusted(connection));
        false
    }

    /// Tells idle connections to end, those that have been idle longest first. Used if a resource has run out, such as file descriptors.
    pub(super) fn evict_any_idle(&self) {
        self.evict_idle(&self.all(), |_| true);
    }

    fn evict_idle(&self, all: &HashMap<u64, Arc<Connection>>, may_go: impl Fn(&Connection) -> bool) {
        let most = (self.bounds.connections as usize / EVICTION_DIVISOR).max(1);
        let already = all.values().filter(|connection| connection.is_leaving()).count();
        let most = most.saturating_sub(already);
        let staying = || all.values().filter(|connection| !connection.is_leaving() && may_go(connection));
        let mut idle: Vec<_> = staying()
            .map(|c| (c.idle(), c))
            .filter(|(idle, _)| *idle >= self.bounds.min_idle_before_eviction)
            .collect();
        idle.sort_unstable_by_key(|(idle, _)| std::cmp::Reverse(*idle));
        idle.truncate(most);
        for (_, connection) in &idle {
            self.metrics.count_cut_off(CutOffReason::Room);
            if connection.has_sent_request() {
                connection.make_room();
            } else {
                // The connection has sent no request, so none is lost.
                connection.close_now();
            }
        }
        // A client without the token must not keep its connection by leaving a response unread.
        if let Some(tokenless) = self.bounds.tokenless
            && idle.is_empty()
            && most > 0
        {
            let oldest = staying().filter(|connection| !connection.is_trusted()).max_by_key(|c| c.age());
            if let Some(oldest) = oldest.filter(|connection| connection.age() >= tokenless.idle) {
                self.metrics.count_cut_off(CutOffReason::Room);
                oldest.close_now();
            }
        }
    }

    /// Ends the connection for which the most bytes are held in memory, because more bytes are held than allowed. Returns whether there is
    /// room now or soon. Returns false if that connection is `own`.
    pub(super) fn make_room_for_bytes(&self, own: &Arc<Connection>) -> bool {
        let all = self.all();
        let ending: u64 = all.values().filter(|connection| connection.is_ending()).map(|c| c.held()).sum();
        if self.held().saturating_sub(ending) <= self.bounds.max_held_bytes {
            return true;
        }
        let others = all.values().filter(|connection| !connection.is_ending());
        match others.max_by_key(|connection| connection.held()) {
            Some(largest) if largest.number() != own.number() && largest.held() > 0 => {
                self.metrics.count_cut_off(CutOffReason::Held);
                largest.close_now();
                true
            }
            _ => false,
        }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// From now on, each client is told with its next response that its connection ends. HTTP/2 clients are told at once.
    pub(super) fn announce_stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.all().values().for_each(|connection| connection.announce_stop());
    }

    /// Waits until every connection has an open request, was told that it ends, or has ended.
    pub(super) async fn none_idle(&self) {
        while self.all().values().any(|connection| connection.is_idle()) {
            let _ = tokio::time::timeout(RECHECK_INTERVAL, self.changed.notified()).await;
        }
    }

    /// Tells all connections to end once they have answered the requests that arrived.
    pub(super) fn close_when_idle(&self) {
        self.all().values().for_each(|connection| connection.close_when_idle());
    }

    /// Waits until all connections have ended.
    pub(super) async fn all_ended(&self) {
        while self.count() > 0 {
            let _ = tokio::time::timeout(RECHECK_INTERVAL, self.changed.notified()).await;
        }
    }
}

/// Guard of a connection in the set of open connections. Dropping it removes the connection.
pub(super) struct ConnectionGuard(pub(super) Arc<Connection>);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let all = self.0.listener();
        all.all().remove(&self.0.number());
        all.changed.notify_one();
    }
}
