//! One connection: what it has open, what it holds, and when it must end.

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
use watertight_telemetry::table::CutOff;

/// How long a connection that was asked to end has for that, once nothing is open on it.
const FAREWELL: Duration = Duration::from_secs(1);
/// The same, where others wait for its place.
const SHORT_FAREWELL: Duration = Duration::from_millis(100);

/// Nobody asked the connection to end.
const STAY: u8 = 0;
/// It ends once its requests are answered.
const LEAVE: u8 = 1;
/// The same, with [`SHORT_FAREWELL`].
const MAKE_ROOM: u8 = 2;
/// It ends now.
const END: u8 = 3;

/// One connection of a listener.
pub struct Connection {
    all: Arc<Connections>,
    number: u64,
    peer: SocketAddr,
    start: Instant,
    /// When a request last ended, in milliseconds since the start.
    last: AtomicU64,
    /// Requests from their head to the end of their answer.
    open: AtomicU32,
    /// Requests of it that have a place in flight, those that it left behind included.
    places: AtomicU32,
    /// Bytes that are held for its client.
    held: AtomicU64,
    /// Whether it has sent the token.
    trusted: AtomicBool,
    /// Whether it has sent a request.
    has_asked: AtomicBool,
    /// Whether what it sent was refused, and noted.
    was_refused: AtomicBool,
    /// Whether something came since the last whole head: a part of the next one.
    has_part: AtomicBool,
    /// Bytes that were written to it.
    written: AtomicU64,
    order: AtomicU8,
    waker: AtomicWaker,
}

/// What the task of a connection must do.
pub(super) enum Order {
    /// Tell the client that no further request is taken, and end once those that came are answered.
    Leave,
    /// End now.
    End,
}

impl Connection {
    pub(super) fn new(all: Arc<Connections>, number: u64, peer: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            all,
            number,
            peer,
            start: Instant::now(),
            last: AtomicU64::new(0),
            open: AtomicU32::new(0),
            places: AtomicU32::new(0),
            held: AtomicU64::new(0),
            trusted: AtomicBool::new(false),
            has_asked: AtomicBool::new(false),
            was_refused: AtomicBool::new(false),
            has_part: AtomicBool::new(false),
            written: AtomicU64::new(0),
            order: AtomicU8::new(STAY),
            waker: AtomicWaker::new(),
        })
    }

    pub(super) fn all(&self) -> &Arc<Connections> {
        &self.all
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Where it comes from.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Notes that its client has sent the token: it isn't among those that are let go first.
    pub fn trust(&self) {
        self.trusted.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_trusted(&self) -> bool {
        self.trusted.load(Ordering::Relaxed)
    }

    pub(super) fn has_asked(&self) -> bool {
        self.has_asked.load(Ordering::Relaxed)
    }

    /// Counts a request as open for as long as the guard lives.
    pub(super) fn open(self: &Arc<Self>) -> OpenRequest {
        if !self.has_asked() {
            self.has_asked.store(true, Ordering::Relaxed);
            self.all.first_request();
        }
        self.has_part.store(false, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        OpenRequest(self.clone())
    }

    /// Takes one of `free` places in flight for a request of this connection: none where it has more than are free, so that others get
    /// some too. `take` takes the place itself.
    pub fn take_place<T>(self: &Arc<Self>, free: usize, take: impl FnOnce() -> Option<T>) -> Option<(T, PlaceShare)> {
        let own = self.places.fetch_add(1, Ordering::Relaxed);
        let share = PlaceShare(self.clone());
        if own > 0 && own as usize >= free {
            return None;
        }
        Some((take()?, share))
    }

    /// Counts `bytes` as held for the client.
    ///
    /// # Errors
    ///
    /// There is no room for them.
    pub fn hold(self: &Arc<Self>, bytes: u64) -> Result<HeldBytes, NoRoom> {
        let mut held = HeldBytes { connection: self.clone(), bytes: 0 };
        held.grow(bytes)?;
        Ok(held)
    }

    pub(super) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Notes that what it sent was refused; returns whether that is known already.
    pub(super) fn refuse(&self) -> bool {
        self.was_refused.swap(true, Ordering::Relaxed)
    }

    /// Notes that something came.
    pub(super) fn read(&self) {
        self.has_part.store(true, Ordering::Relaxed);
    }

    pub(super) fn wrote(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// How long it has been there.
    pub(super) fn age(&self) -> Duration {
        self.start.elapsed()
    }

    /// How long nothing has been open on it and nothing was held for it.
    pub(super) fn idle(&self) -> Duration {
        match self.is_quiet() {
            true => self.start.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed))),
            false => Duration::ZERO,
        }
    }

    /// How long it may be idle.
    fn idle_limit(&self) -> Duration {
        let limits = self.all.limits();
        match limits.tokenless {
            Some(tokenless) if !self.is_trusted() => tokenless.idle.min(limits.header_timeout),
            _ => limits.header_timeout,
        }
    }

    fn is_quiet(&self) -> bool {
        self.open.load(Ordering::SeqCst) == 0 && self.held.load(Ordering::SeqCst) == 0
    }

    /// Notes that it is quiet from now on, if it is.
    fn note(&self) {
        if self.is_quiet() {
            let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.last.store(millis, Ordering::Relaxed);
        }
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.order.load(Ordering::Relaxed) != STAY
    }

    pub(super) fn is_ending(&self) -> bool {
        self.order.load(Ordering::Relaxed) == END
    }

    pub(super) fn leave(&self) {
        self.command(LEAVE);
    }

    pub(super) fn make_room(&self) {
        self.command(MAKE_ROOM);
    }

    pub(super) fn end(&self) {
        self.command(END);
    }

    fn command(&self, order: u8) {
        self.order.fetch_max(order, Ordering::Release);
        self.waker.wake();
    }
}

/// A request that is open: from its head to the end of its answer.
pub(super) struct OpenRequest(Arc<Connection>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
        self.0.note();
    }
}

/// A connection's share in a place in flight: given back when dropped.
pub struct PlaceShare(Arc<Connection>);

impl Drop for PlaceShare {
    fn drop(&mut self) {
        self.0.places.fetch_sub(1, Ordering::Relaxed);
    }
}

/// There is no room for more bytes.
#[derive(Debug, thiserror::Error)]
#[error("more bytes are held for clients than may be")]
pub struct NoRoom;

/// Bytes that are held for a client: given back when dropped.
pub struct HeldBytes {
    connection: Arc<Connection>,
    bytes: u64,
}

impl HeldBytes {
    /// Holds further bytes.
    ///
    /// # Errors
    ///
    /// There is no room for them; what was held before stays.
    pub fn grow(&mut self, bytes: u64) -> Result<(), NoRoom> {
        let own = self.connection.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let all = self.connection.all.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.bytes += bytes;
        let limits = self.connection.all.limits();
        // What is alone on its connection has its own limits: those of bodies and results.
        let too_much = own > limits.held / super::HELD_SHARE && own > self.bytes;
        if too_much || (all > limits.held && !self.connection.all.make_room_for_bytes(&self.connection)) {
            self.release(bytes);
            self.connection.all.metrics().cut_off(CutOff::Held);
            return Err(NoRoom);
        }
        Ok(())
    }

    fn release(&mut self, bytes: u64) {
        self.connection.held.fetch_sub(bytes, Ordering::SeqCst);
        self.connection.all.held.fetch_sub(bytes, Ordering::Relaxed);
        self.bytes -= bytes;
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.release(self.bytes);
        self.connection.note();
    }
}

/// Tells the task of a connection when it must end.
pub(super) struct Clock {
    timer: Pin<Box<Sleep>>,
    /// How long the connection has after it was told to leave.
    farewell: Option<Duration>,
    /// When the last request had ended that a part of a head came after, as [`Connection::last`] has it: that part was given time already.
    part_after: Option<u64>,
    /// How much was written to the connection when it was last looked at while answers waited to be written, and when that was.
    written: Option<(u64, Instant)>,
}

impl Clock {
    /// Of a connection that begins now.
    pub(super) fn new(connection: &Connection) -> Self {
        Self { timer: Box::pin(sleep(connection.idle_limit())), farewell: None, part_after: None, written: None }
    }

    /// Ready when there is something to do. To be polled after the connection itself.
    pub(super) fn poll_order(&mut self, connection: &Connection, context: &mut Context<'_>) -> Poll<Order> {
        connection.waker.register(context.waker());
        let farewell = match connection.order.load(Ordering::Acquire) {
            END => return Poll::Ready(Order::End),
            LEAVE => Some(FAREWELL),
            MAKE_ROOM => Some(SHORT_FAREWELL),
            _ => None,
        };
        if let Some(farewell) = farewell
            && self.farewell.is_none()
        {
            return Poll::Ready(self.leave(farewell));
        }
        while self.timer.as_mut().poll(context).is_ready() {
            let (quiet, limit) = (connection.idle(), self.farewell.unwrap_or(connection.idle_limit()));
            if quiet >= limit && self.farewell.is_some() {
                return Poll::Ready(Order::End);
            }
            if quiet >= limit && self.gives_time(connection) {
                self.timer.as_mut().reset(tokio::time::Instant::now() + limit);
                continue;
            }
            if quiet >= limit {
                connection.all.metrics().cut_off(CutOff::Idle);
                return Poll::Ready(self.leave(FAREWELL));
            }
            if self.is_stuck(connection) {
                connection.all.metrics().cut_off(CutOff::AnswerStalled);
                return Poll::Ready(Order::End);
            }
            self.timer.as_mut().reset(tokio::time::Instant::now() + (limit - quiet));
        }
        Poll::Pending
    }

    /// Whether a head has begun to come, which gets the same time as another: once.
    fn gives_time(&mut self, connection: &Connection) -> bool {
        let last = connection.last.load(Ordering::Relaxed);
        let is_new = connection.has_part.load(Ordering::Relaxed) && self.part_after != Some(last);
        if is_new {
            self.part_after = Some(last);
        }
        is_new
    }

    /// Whether answers wait to be written, their streams have ended, and nothing of them could be written for as long as that may last. A
    /// client of HTTP/2 takes back what it allowed, for instance.
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
        since.elapsed() >= connection.all.limits().stall
    }

    fn leave(&mut self, farewell: Duration) -> Order {
        self.farewell = Some(farewell);
        self.timer.as_mut().reset(tokio::time::Instant::now() + farewell);
        Order::Leave
    }
}
