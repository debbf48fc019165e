//! The state of one connection: its open requests, the bytes that are held in memory for its client, and the decision when the connection
//! must end.

use std::future::Future as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;
use tokio::time::{Sleep, sleep};

use super::connections::Connections;
use super::progress::PROGRESS;
use watertight_telemetry::table::CutOffReason;

/// How long a connection may stay open after it was told to end, once it has no open request.
const CLOSE_GRACE: Duration = Duration::from_secs(1);
/// How long a connection may stay open after it was told to end, if other clients wait to be connected.
const SHORT_CLOSE_GRACE: Duration = Duration::from_millis(100);

/// The connection goes on.
const COMMAND_NONE: u8 = 0;
/// The connection ends once its requests are answered.
const COMMAND_CLOSE_WHEN_IDLE: u8 = 1;
/// The connection ends once its requests are answered, and within [`SHORT_CLOSE_GRACE`] after that.
const COMMAND_CLOSE_SOON: u8 = 2;
/// The connection ends now.
const COMMAND_CLOSE_NOW: u8 = 3;

/// One connection of a listener.
pub struct Connection {
    listener: Arc<Connections>,
    number: u64,
    peer: SocketAddr,
    start: Instant,
    /// The time at which the connection last became idle, in milliseconds since `start`.
    idle_since: AtomicU64,
    /// The number of open requests. A request is open from its head to the end of its response.
    open: AtomicU32,
    /// The number of this connection's permits for requests in flight. Calls that continue after their client disconnected count too.
    places: AtomicU32,
    /// The number of bytes that are held in memory for the client.
    held: AtomicU64,
    /// Whether the client has sent the listener's token.
    trusted: AtomicBool,
    /// Whether the client has sent a request.
    has_asked: AtomicBool,
    /// Whether the client sent something that is not HTTP, and the refusal is counted.
    was_refused: AtomicBool,
    /// Whether bytes have arrived since the last complete head: the beginning of the next one.
    has_partial_head: AtomicBool,
    is_http2: AtomicBool,
    /// Whether the next read must ask the kernel, even if it has not announced any bytes.
    reads_unannounced: AtomicBool,
    /// The number of bytes that were written to the socket so far.
    written: AtomicU64,
    /// Whether the socket has not taken all bytes that it was given. They wait outside of it, although their response may have ended.
    has_unwritten: AtomicBool,
    command: AtomicU8,
    waker: AtomicWaker,
}

/// An instruction for the task that serves a connection.
pub(super) enum ConnectionCommand {
    /// Tell the client that no further request is accepted. End the connection once the requests that arrived are answered.
    CloseWhenIdle,
    /// End the connection now.
    CloseNow,
}

impl Connection {
    pub(super) fn new(all: Arc<Connections>, number: u64, peer: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            listener: all,
            number,
            peer,
            start: Instant::now(),
            idle_since: AtomicU64::new(0),
            open: AtomicU32::new(0),
            places: AtomicU32::new(0),
            held: AtomicU64::new(0),
            trusted: AtomicBool::new(false),
            has_asked: AtomicBool::new(false),
            was_refused: AtomicBool::new(false),
            has_partial_head: AtomicBool::new(false),
            is_http2: AtomicBool::new(false),
            reads_unannounced: AtomicBool::new(false),
            written: AtomicU64::new(0),
            has_unwritten: AtomicBool::new(false),
            command: AtomicU8::new(COMMAND_NONE),
            waker: AtomicWaker::new(),
        })
    }

    pub(super) fn listener(&self) -> &Arc<Connections> {
        &self.listener
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The address of the client.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Records that the client has sent the listener's token. The connection is then no longer among those that are closed first.
    pub fn mark_trusted(&self) {
        self.trusted.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_trusted(&self) -> bool {
        self.trusted.load(Ordering::Relaxed)
    }

    pub(super) fn has_sent_request(&self) -> bool {
        self.has_asked.load(Ordering::Relaxed)
    }

    /// Counts a request as open until the returned guard is dropped.
    pub(super) fn open(self: &Arc<Self>) -> OpenRequest {
        self.has_asked.store(true, Ordering::Relaxed);
        self.has_partial_head.store(false, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        OpenRequest(self.clone())
    }

    /// Takes a permit for a request of this connection. `free` is the number of free permits, and `take` takes one of them. Returns
    /// `None` if no permit is free, or if the connection already has at least as many permits as are free. So one connection cannot take
    /// them all.
    pub fn acquire_permit<T>(
        self: &Arc<Self>,
        free: usize,
        take: impl FnOnce() -> Option<T>,
    ) -> Option<(T, PermitShare)> {
        let own = self.places.fetch_add(1, Ordering::Relaxed);
        let share = PermitShare(self.clone());
        if own > 0 && own as usize >= free {
            return None;
        }
        Some((take()?, share))
    }

    /// Counts `bytes` as held in memory for the client.
    ///
    /// # Errors
    ///
    /// [`NoRoom`] if the client or all clients together would hold more than the limit.
    pub fn hold(self: &Arc<Self>, bytes: u64) -> Result<HeldBytes, NoRoom> {
        let mut held = HeldBytes { connection: self.clone(), bytes: 0 };
        held.grow(bytes)?;
        Ok(held)
    }

    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Records that input of this client was refused because it is not HTTP. Returns whether that was recorded before.
    pub(super) fn mark_refused(&self) -> bool {
        self.was_refused.swap(true, Ordering::Relaxed)
    }

    /// Records that bytes have arrived from the client.
    pub(super) fn mark_received(&self) {
        self.has_partial_head.store(true, Ordering::Relaxed);
    }

    /// Returns whether a part of the next request's head has arrived.
    pub(super) fn has_partial_head(&self) -> bool {
        self.has_partial_head.load(Ordering::Relaxed)
    }

    /// Records that the client speaks HTTP/2. What has arrived is its preface, not the beginning of a request.
    pub(super) fn mark_http2(&self) {
        self.is_http2.store(true, Ordering::Relaxed);
        self.has_partial_head.store(false, Ordering::Relaxed);
    }

    /// Makes the next read ask the kernel for bytes that have arrived, even if the kernel has not announced them.
    pub(super) fn read_unannounced(&self) {
        self.reads_unannounced.store(true, Ordering::Relaxed);
    }

    /// Returns whether the next read must ask the kernel. It is asked once.
    pub(super) fn must_read_unannounced(&self) -> bool {
        self.reads_unannounced.load(Ordering::Relaxed) && self.reads_unannounced.swap(false, Ordering::Relaxed)
    }

    /// Returns whether the listener stops.
    pub(super) fn is_stopping(&self) -> bool {
        self.listener.is_stopping()
    }

    /// Returns whether the client could send another request and has not been told that the connection ends.
    pub(super) fn is_idle(&self) -> bool {
        !self.is_leaving() && self.open.load(Ordering::SeqCst) == 0
    }

    /// Tells an HTTP/2 client that has sent a request that no further one is accepted. With HTTP/1.1, the next response says so.
    pub(super) fn announce_stop(&self) {
        if self.is_http2.load(Ordering::Relaxed) && self.has_sent_request() {
            self.close_when_idle();
        }
    }

    pub(super) fn add_written(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Records that bytes wait because the client does not read. The connection is busy until they are written.
    pub(super) fn mark_unwritten(&self) {
        self.has_unwritten.store(true, Ordering::SeqCst);
    }

    /// Records that the socket has taken all bytes.
    pub(super) fn mark_flushed(&self) {
        if self.has_unwritten.load(Ordering::Relaxed) {
            self.has_unwritten.store(false, Ordering::SeqCst);
            self.record_idle_start();
        }
    }

    /// Returns how long the connection has been open.
    pub(super) fn age(&self) -> Duration {
        self.start.elapsed()
    }

    /// Returns how long the connection has been idle: without an open request, without held bytes, and without bytes that wait to be written.
    pub(super) fn idle(&self) -> Duration {
        match self.is_quiet() {
            true => self.start.elapsed().saturating_sub(Duration::from_millis(self.idle_since.load(Ordering::Relaxed))),
            false => Duration::ZERO,
        }
    }

    /// Returns how long the connection may be idle.
    fn idle_limit(&self) -> Duration {
        let limits = self.listener.limits();
        match limits.tokenless {
            Some(tokenless) if !self.is_trusted() => tokenless.idle.min(limits.header_timeout),
            _ => limits.header_timeout,
        }
    }

    fn is_quiet(&self) -> bool {
        self.open.load(Ordering::SeqCst) == 0
            && self.held.load(Ordering::SeqCst) == 0
            && !self.has_unwritten.load(Ordering::SeqCst)
    }

    /// Records the time at which the connection becomes idle, if it is idle now.
    fn record_idle_start(&self) {
        if self.is_quiet() {
            let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.idle_since.store(millis, Ordering::Relaxed);
        }
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.command.load(Ordering::Relaxed) != COMMAND_NONE
    }

    pub(super) fn is_ending(&self) -> bool {
        self.command.load(Ordering::Relaxed) == COMMAND_CLOSE_NOW
    }

    pub(super) fn close_when_idle(&self) {
        self.command(COMMAND_CLOSE_WHEN_IDLE);
    }

    pub(super) fn make_room(&self) {
        self.command(COMMAND_CLOSE_SOON);
    }

    pub(super) fn close_now(&self) {
        self.command(COMMAND_CLOSE_NOW);
    }

    fn command(&self, order: u8) {
        self.command.fetch_max(order, Ordering::Release);
        self.waker.wake();
    }
}

/// Guard of an open request. A request is open from its head to the end of its response.
pub(super) struct OpenRequest(Arc<Connection>);

impl OpenRequest {
    /// Whether the connection waits to write bytes that it was given before.
    pub(super) fn has_unwritten(&self) -> bool {
        self.0.has_unwritten.load(Ordering::Relaxed)
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
        self.0.record_idle_start();
    }
}

/// Guard that counts one permit for a request in flight as taken by a connection. Dropping it reduces the connection's count.
pub struct PermitShare(Arc<Connection>);

impl Drop for PermitShare {
    fn drop(&mut self) {
        self.0.places.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The error that the host already holds as many bytes in memory for clients as its limit allows.
#[derive(Debug, thiserror::Error)]
#[error("too many bytes are held in memory for clients")]
pub struct NoRoom;

/// Guard of bytes that are held in memory for a client. Dropping it frees them.
pub struct HeldBytes {
    connection: Arc<Connection>,
    bytes: u64,
}

impl HeldBytes {
    /// Counts `bytes` more as held.
    ///
    /// # Errors
    ///
    /// [`NoRoom`] if the client or all clients together would hold more than the limit. The bytes that were held before stay held.
    pub fn grow(&mut self, bytes: u64) -> Result<(), NoRoom> {
        let own = self.connection.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let all = self.connection.listener.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.bytes += bytes;
        let limits = self.connection.listener.limits();
        // A single request or response of a connection may exceed the connection's share. The limits of bodies and results bound it.
        let too_much = own > limits.max_held_bytes / super::HELD_BYTES_DIVISOR && own > self.bytes;
        if too_much || (all > limits.max_held_bytes && !self.connection.listener.make_room_for_bytes(&self.connection))
        {
            self.release(bytes);
            self.connection.listener.metrics().count_cut_off(CutOffReason::Held);
            return Err(NoRoom);
        }
        Ok(())
    }

    /// Takes over what `other` counts. Both must be of one connection.
    pub fn absorb(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Counts `bytes` of those held as held no more.
    pub fn shrink(&mut self, bytes: u64) {
        self.release(bytes.min(self.bytes));
    }

    fn release(&mut self, bytes: u64) {
        self.connection.held.fetch_sub(bytes, Ordering::SeqCst);
        self.connection.listener.held.fetch_sub(bytes, Ordering::Relaxed);
        self.bytes -= bytes;
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.release(self.bytes);
        self.connection.record_idle_start();
    }
}

/// The timers of a connection. It decides when the connection must end.
pub(super) struct ConnectionTimer {
    timer: Pin<Box<Sleep>>,
    /// How long the connection may stay idle before it is closed, if it was told to end. `None` if it was not told to end.
    farewell: Option<Duration>,
    /// The value of [`Connection::idle_since`] when a partial head was last given more time. Each partial head gets more time only once.
    extended_at: Option<u64>,
    /// The number of bytes that were written and the time, both at the last progress of responses that wait to be written. `None` if none
    /// wait.
    written: Option<(u64, Instant)>,
}

impl ConnectionTimer {
    /// Creates the timers of a new connection.
    pub(super) fn new(connection: &Connection) -> Self {
        Self { timer: Box::pin(sleep(connection.idle_limit())), farewell: None, extended_at: None, written: None }
    }

    /// Resolves with the next instruction to end the connection. Poll the connection itself first.
    pub(super) fn poll_command(
        &mut self,
        connection: &Connection,
        context: &mut Context<'_>,
    ) -> Poll<ConnectionCommand> {
        connection.waker.register(context.waker());
        let farewell = match connection.command.load(Ordering::Acquire) {
            COMMAND_CLOSE_NOW => return Poll::Ready(ConnectionCommand::CloseNow),
            COMMAND_CLOSE_WHEN_IDLE => Some(CLOSE_GRACE),
            COMMAND_CLOSE_SOON => Some(SHORT_CLOSE_GRACE),
            _ => None,
        };
        if let Some(farewell) = farewell
            && self.farewell.is_none()
        {
            return Poll::Ready(self.close_when_idle(farewell));
        }
        while self.timer.as_mut().poll(context).is_ready() {
            // A request that had begun to arrive before the stop may take its time.
            let is_late = connection.is_stopping() && connection.has_partial_head();
            let farewell = self.farewell.filter(|_| !is_late);
            let (quiet, limit) = (connection.idle(), farewell.unwrap_or(connection.idle_limit()));
            if quiet >= limit && self.farewell.is_some() {
                return Poll::Ready(ConnectionCommand::CloseNow);
            }
            if quiet >= limit && self.extends_for_partial_head(connection) {
                self.timer.as_mut().reset(tokio::time::Instant::now() + limit);
                continue;
            }
            if quiet >= limit {
                connection.listener.metrics().count_cut_off(CutOffReason::Idle);
                return Poll::Ready(self.close_when_idle(CLOSE_GRACE));
            }
            if self.is_stuck(connection) {
                connection.listener.metrics().count_cut_off(CutOffReason::AnswerStalled);
                return Poll::Ready(ConnectionCommand::CloseNow);
            }
            self.timer.as_mut().reset(tokio::time::Instant::now() + (limit - quiet));
        }
        Poll::Pending
    }

    /// Returns whether a part of a request's head has arrived whose rest may take the idle time once more. Each head gets that time only
    /// once.
    fn extends_for_partial_head(&mut self, connection: &Connection) -> bool {
        let last = connection.idle_since.load(Ordering::Relaxed);
        let is_new = connection.has_partial_head.load(Ordering::Relaxed) && self.extended_at != Some(last);
        if is_new {
            self.extended_at = Some(last);
        }
        is_new
    }

    /// Returns whether the connection is stuck: responses wait to be written although their streams have ended, and too little was written
    /// for [`ListenerLimits::progress_timeout`](super::ListenerLimits::progress_timeout). For instance, an HTTP/2 client may take back
    /// flow-control window that it granted.
    fn is_stuck(&mut self, connection: &Connection) -> bool {
        if connection.open.load(Ordering::SeqCst) > 0 || connection.held() == 0 {
            self.written = None;
            return false;
        }
        let now = connection.written.load(Ordering::Relaxed);
        let (before, since) = *self.written.get_or_insert_with(|| (now, Instant::now()));
        if now - before >= PROGRESS {
            self.written = Some((now, Instant::now()));
            return false;
        }
        since.elapsed() >= connection.listener.limits().progress_timeout
    }

    fn close_when_idle(&mut self, farewell: Duration) -> ConnectionCommand {
        self.farewell = Some(farewell);
        self.timer.as_mut().reset(tokio::time::Instant::now() + farewell);
        ConnectionCommand::CloseWhenIdle
    }
}
