//! The deadline of a call: a fixed time, or one that moves with the pieces of a stream.
//!
//! The call of an HTTP handler has `limits.request` for the head of its answer. From then on, each piece of a body gives it
//! `limits.stream.idle` more, up to `limits.stream.total`. All other calls have a fixed deadline, which is a plain time. A call from another
//! compartment that streams follows the deadline of its caller.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;
use tokio::task::coop::unconstrained;
use tokio::time::{Sleep, sleep_until};

use watertight_model::config::{Limits, StreamLimits};

/// The time that the call of a handler has left when its client goes away.
pub const CLIENT_GRACE: Duration = Duration::from_secs(5);
/// The time of a stream without `limits.stream.total`: longer than a process lives.
const UNLIMITED: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The time limit behind a deadline that has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeLimit {
    /// `limits.request`: the longest time of a call, or of a handler until the head of its answer.
    Request(Duration),
    /// `limits.stream.idle`: the longest time between two pieces of a handler's bodies.
    StreamIdle(Duration),
    /// `limits.stream.total`: the longest time of a handler's whole exchange.
    StreamTotal(Duration),
}

impl fmt::Display for TimeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(limit) => write!(f, "it had {limit:?} at most"),
            Self::StreamIdle(limit) => write!(f, "no piece of a body moved for {limit:?}"),
            Self::StreamTotal(limit) => write!(f, "its stream had {limit:?} at most"),
        }
    }
}

/// The time by which a call must have ended.
#[derive(Debug, Clone)]
pub enum Deadline {
    /// A time that does not change.
    Fixed(Instant),
    /// The deadline of a handler's call. Its clones move together.
    Stream(Arc<StreamDeadline>),
    /// The deadline of a handler's call, for a call in another compartment that streams on its behalf.
    Following(Arc<StreamDeadline>),
}

impl From<Instant> for Deadline {
    fn from(at: Instant) -> Self {
        Self::Fixed(at)
    }
}

impl Deadline {
    /// Returns the time by which the call must have ended, as far as that is known now.
    pub fn time(&self) -> Instant {
        match self {
            Self::Fixed(at) => *at,
            Self::Stream(stream) | Self::Following(stream) => stream.time(),
        }
    }

    /// Returns this deadline for a call in another compartment that streams on behalf of the call. It moves along, but the task of that call
    /// is not woken when the deadline comes closer: the end of its caller ends it.
    #[must_use]
    pub fn following(&self) -> Self {
        match self {
            Self::Fixed(at) => Self::Fixed(*at),
            Self::Stream(stream) | Self::Following(stream) => Self::Following(stream.clone()),
        }
    }

    /// Returns the latest time to which the deadline can move.
    pub fn latest(&self) -> Instant {
        match self {
            Self::Fixed(at) => *at,
            Self::Stream(stream) | Self::Following(stream) => stream.end(),
        }
    }

    /// Returns whether the deadline can move.
    pub fn moves(&self) -> bool {
        matches!(self, Self::Stream(_) | Self::Following(_))
    }

    /// Returns whether the deadline has passed.
    pub fn has_passed(&self) -> bool {
        Instant::now() >= self.time()
    }

    /// Returns the limit of a stream that set the deadline. `None` if `limits.request` did, or a client that went away.
    pub fn stream_limit(&self) -> Option<TimeLimit> {
        match self {
            Self::Fixed(_) => None,
            Self::Stream(stream) | Self::Following(stream) => stream.limit(),
        }
    }

    /// Resolves when the deadline has passed. `timer` must be `None` at the first poll and stay the same value after it.
    pub fn poll_passed(&self, timer: &mut Option<Pin<Box<Sleep>>>, context: &mut Context<'_>) -> Poll<()> {
        // Registered before the time is read, so that no earlier deadline is missed. Later ones are noticed when the timer fires.
        if let Self::Stream(stream) = self {
            stream.task.register(context.waker());
        }
        loop {
            let at = self.time();
            timer.take_if(|timer| timer.deadline().into_std() > at);
            let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(self.next_look(at).into())));
            // Unconstrained, because Tokio's cooperative budget also counts timers. Work that uses the whole budget in each poll would
            // otherwise keep the timer from firing.
            ready!(pin!(unconstrained(timer.as_mut())).poll(context));
            match self {
                Self::Stream(stream) | Self::Following(stream) if Instant::now() < stream.time() => {
                    let again = stream.time();
                    timer.as_mut().reset(self.next_look(again).into());
                }
                _ => return Poll::Ready(()),
            }
        }
    }

    /// Returns when to look whether the deadline, which is `at` now, has passed. It can be a later one then. A stream's deadline may also
    /// come closer while the host waits for a client, but never by more than the idle time from now.
    fn next_look(&self, at: Instant) -> Instant {
        match self {
            Self::Fixed(_) => at,
            Self::Stream(stream) | Self::Following(stream) => at.min(Instant::now() + stream.limits.idle),
        }
    }

    /// Runs `work`. Returns `None` if the deadline passes first.
    pub async fn bound<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let (mut work, mut timer) = (pin!(work), None);
        poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => self.poll_passed(&mut timer, context).map(|()| None),
        })
        .await
    }
}

/// The movable deadline of a handler's call.
#[derive(Debug)]
pub struct StreamDeadline {
    /// The arrival of the request.
    start: Instant,
    limits: StreamLimits,
    /// The deadline, in nanoseconds after `start`.
    at: AtomicU64,
    phase: Mutex<Phase>,
    /// The task of the call. It must look again if the deadline comes closer.
    task: AtomicWaker,
    /// Whether the call shares its instance. If the call outlives its deadline, others fail with it, so it keeps its time when its client
    /// goes away.
    is_shared: bool,
}

/// What the deadline of a handler's call depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The handler has not answered.
    Unanswered,
    /// The host waits for the handler's next piece, or both wait for a piece of the client.
    Idle,
    /// The client has not taken the handler's last piece. The listener's own limits end clients that are too slow.
    Sending,
    /// The client has gone away.
    Abandoned,
}

impl StreamDeadline {
    /// Creates the deadline of a request that arrived at `start`, in a compartment with these limits.
    ///
    /// `is_shared` tells whether other calls use the same instance.
    pub fn new(start: Instant, limits: &Limits, is_shared: bool) -> Arc<Self> {
        let at = AtomicU64::new(nanos(limits.request));
        let phase = Mutex::new(Phase::Unanswered);
        Arc::new(Self { start, limits: limits.stream, at, phase, task: AtomicWaker::new(), is_shared })
    }

    /// Records that the handler has answered: the deadline depends on the stream from now on.
    pub fn answered(&self) {
        self.advance(|phase| *phase == Phase::Unanswered, Phase::Idle);
    }

    /// Records that a piece of the request's body has arrived.
    pub fn received(&self) {
        self.advance(|phase| *phase == Phase::Idle, Phase::Idle);
    }

    /// Records that a piece of the answer's body is on its way to the client.
    pub fn sending(&self) {
        self.advance(|phase| *phase == Phase::Idle, Phase::Sending);
    }

    /// Records that the client has taken the last piece of the answer's body.
    pub fn sent(&self) {
        self.advance(|phase| *phase == Phase::Sending, Phase::Idle);
    }

    /// Records that the client has gone away. The call has [`CLIENT_GRACE`] left, unless its deadline comes first. If it shares its
    /// instance, it keeps the time that it has to write its next piece, by which it notices.
    pub fn abandon(&self) {
        let mut phase = self.phase();
        if *phase != Phase::Abandoned {
            let left = match *phase {
                _ if !self.is_shared => CLIENT_GRACE,
                Phase::Unanswered => UNLIMITED,
                _ => self.limits.idle,
            };
            *phase = Phase::Abandoned;
            self.set(self.time().min(Instant::now() + left));
            self.task.wake();
        }
    }

    /// Returns whether the client has gone away.
    pub fn is_abandoned(&self) -> bool {
        *self.phase() == Phase::Abandoned
    }

    fn advance(&self, applies: impl FnOnce(&Phase) -> bool, next: Phase) {
        let mut phase = self.phase();
        if applies(&phase) {
            *phase = next;
            let end = self.end();
            self.set(if next == Phase::Sending { end } else { end.min(Instant::now() + self.limits.idle) });
        }
    }

    fn set(&self, at: Instant) {
        self.at.store(nanos(at.saturating_duration_since(self.start)), Relaxed);
    }

    fn time(&self) -> Instant {
        self.start + Duration::from_nanos(self.at.load(Relaxed))
    }

    /// Returns the end of the whole exchange.
    fn end(&self) -> Instant {
        self.start + self.limits.total.unwrap_or(UNLIMITED)
    }

    fn limit(&self) -> Option<TimeLimit> {
        match (*self.phase(), self.limits) {
            (Phase::Unanswered | Phase::Abandoned, _) => None,
            (_, StreamLimits { total: Some(total), .. }) if self.time() >= self.end() => {
                Some(TimeLimit::StreamTotal(total))
            }
            (_, StreamLimits { idle, .. }) => Some(TimeLimit::StreamIdle(idle)),
        }
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        // A poisoned mutex is used all the same: no panic leaves the phase half changed.
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn stream(request: u64, idle: u64, total: Option<u64>) -> (Instant, Arc<StreamDeadline>) {
        let start = Instant::now();
        let millis = Duration::from_millis;
        let limits = StreamLimits { idle: millis(idle), total: total.map(millis) };
        (
            start,
            StreamDeadline::new(
                start,
                &Limits { request: millis(request), stream: limits, ..Limits::default() },
                false,
            ),
        )
    }

    #[test]
    fn the_deadline_follows_the_pieces_of_a_stream_and_never_passes_its_end() {
        let (start, stream) = stream(30_000, 60_000, Some(90_000));
        let deadline = Deadline::Stream(stream.clone());
        stream.received();
        assert_eq!((deadline.time(), deadline.stream_limit()), (start + Duration::from_secs(30), None));
        stream.answered();
        let idle = deadline.time();
        assert!(idle >= start + Duration::from_secs(60) && idle < start + Duration::from_secs(90));
        assert_eq!(deadline.stream_limit(), Some(TimeLimit::StreamIdle(Duration::from_secs(60))));
        // While a piece is on its way to the client, only the end of the whole counts.
        stream.sending();
        stream.received();
        assert_eq!((deadline.time(), deadline.latest()), (start + Duration::from_secs(90), deadline.time()));
        assert_eq!(deadline.stream_limit(), Some(TimeLimit::StreamTotal(Duration::from_secs(90))));
        stream.sent();
        assert!(deadline.time() < start + Duration::from_secs(90));
        stream.abandon();
        let left = deadline.time();
        assert!(left <= Instant::now() + CLIENT_GRACE && stream.is_abandoned());
        // Nothing gives more time to a call whose client has gone.
        stream.answered();
        stream.sending();
        assert_eq!((deadline.time(), deadline.stream_limit()), (left, None));
    }

    #[test]
    fn a_client_that_leaves_takes_no_time_from_a_call_that_shares_its_instance() {
        let limits = StreamLimits { idle: Duration::from_secs(20), total: None };
        let limits = Limits { request: Duration::from_secs(30), stream: limits, ..Limits::default() };
        let start = Instant::now();
        for (answers, most) in [(false, 30), (true, 20)] {
            let stream = StreamDeadline::new(start, &limits, true);
            if answers {
                stream.answered();
                stream.sending();
            }
            stream.abandon();
            let left = stream.time() - start;
            assert!(left >= Duration::from_secs(most) && left < Duration::from_secs(most + 5), "{left:?}");
        }
    }

    #[tokio::test]
    async fn work_ends_at_a_deadline_that_moves() {
        let (start, stream) = stream(50, 300, None);
        let deadline = Deadline::Stream(stream.clone());
        let moving = async {
            stream.answered();
            for _ in 0..4 {
                stream.sending();
                tokio::time::sleep(Duration::from_millis(100)).await;
                stream.sent();
            }
            std::future::pending::<()>().await;
        };
        assert!(deadline.bound(moving).await.is_none());
        assert!(start.elapsed() >= Duration::from_millis(700));
        assert_eq!(deadline.bound(async { 7 }).await, Some(7));
    }

    #[derive(Default)]
    struct WakeCount(AtomicU64);

    impl std::task::Wake for WakeCount {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[tokio::test]
    async fn a_deadline_that_comes_closer_wakes_its_task() {
        let (_, stream) = stream(3_600_000, 3_600_000, None);
        let (deadline, wakes, mut timer) = (Deadline::Stream(stream.clone()), Arc::<WakeCount>::default(), None);
        let waker = wakes.clone().into();
        let mut context = Context::from_waker(&waker);
        assert!(deadline.poll_passed(&mut timer, &mut context).is_pending());
        let first = timer.as_ref().unwrap().deadline();
        stream.abandon();
        assert_eq!(wakes.0.load(Relaxed), 1);
        assert!(deadline.poll_passed(&mut timer, &mut context).is_pending());
        assert!(timer.unwrap().deadline() < first);
    }
}
