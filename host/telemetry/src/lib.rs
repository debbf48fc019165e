//! Metrics, traces and log levels of a host process.
//!
//! Counters belong to the process. They are named by what they count and never by a generation, so that no counter
//! decreases when a new generation takes over. Code on the request path looks its counters up in advance and then only
//! increments atomics.
//!
//! The number of series is bounded. Labels are routes, compartments and modules, and a process gives at most
//! [`MAX_NAMES`] of each their own series. No label's value comes from a client.

mod lines;
pub mod log;
mod snapshot;
mod recorder;
mod spans;
mod sql;
pub mod table;
pub mod trace;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry, TextEncoder};

use table::{
    CallFailure, CallOrigin, ChangeResult, CutOffReason, DropReason, LimitKind, Metric, OutboundOutcome, RefusalReason,
    ResumeMoment, ResumeOutcome,
};
use watertight_model::ids::{CompartmentName, ModuleName};

pub use lines::{LineRateLimit, logged_path};
pub use opentelemetry::trace::SpanKind;
pub use recorder::{ExporterError, Recorder};
pub use snapshot::Snapshot;
pub use spans::Span;
pub use sql::SqlMetrics;
pub use trace::Trace;

/// The most routes, compartments, pairs of compartments and modules that get series of their own, for each kind, in a
/// process's life. Names beyond that share one series.
pub const MAX_NAMES: usize = 4_096;
/// The value of a label for all names that have no series of their own.
const OTHER: &str = "other";
/// The value of the label `from` for calls that do not come from a compartment.
const OUTSIDE: &str = "outside";
/// The media type of the text that [`Telemetry::render`] returns.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Upper bounds of the request histogram's buckets, in seconds: from the time of a point query to the default deadline of
/// a request.
const REQUEST_BOUNDS: [f64; 16] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];
/// Upper bounds of the change histogram's buckets, in seconds: from the time of a rollback to that of compiling a
/// language's interpreter.
const CHANGE_BOUNDS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 20.0, 60.0];
/// Statuses that the host itself may answer to a request of any route.
const HOST_STATUSES: [u16; 14] = [206, 304, 400, 404, 405, 406, 408, 412, 413, 415, 500, 501, 503, 504];

/// All metrics of a host, and the recorder of its spans.
pub struct Telemetry {
    recorder: Option<Arc<Recorder>>,
    registry: Registry,
    requests: IntCounterVec,
    request_time: HistogramVec,
    calls: IntCounterVec,
    call_errors: IntCounterVec,
    limits: IntCounterVec,
    long_steps: IntCounterVec,
    instances_made: IntCounterVec,
    instances_dropped: IntCounterVec,
    outbound: IntCounterVec,
    panics: IntCounterVec,
    /// Counters of requests to the admin listener with a wrong token, and without a token.
    unauthorized: [IntCounter; 2],
    unauthorized_lines: LineRateLimit,
    changes: IntCounterVec,
    change_time: HistogramVec,
    statements: Arc<sql::Statements>,
    resumes: IntCounterVec,
    resume_time: HistogramVec,
    cut_off: IntCounterVec,
    refused: IntCounterVec,
    samplers: Mutex<Vec<Sampler>>,
    names: Mutex<Names>,
    unrouted: RouteMetrics,
}

/// A function that adds gauges to a snapshot when the metrics are rendered.
type Sampler = Box<dyn Fn(&mut Snapshot) + Send + Sync>;

/// The names of routes, compartments and modules that have series of their own.
#[derive(Default)]
struct Names {
    routes: BTreeSet<(String, String)>,
    compartments: BTreeSet<String>,
    outbound: BTreeSet<String>,
    statements: BTreeSet<String>,
    resumable: BTreeSet<String>,
    edges: BTreeSet<(String, String)>,
}

impl Telemetry {
    /// Creates the metrics, all zero, without a recorder of spans.
    pub fn new() -> Arc<Self> {
        Self::with_recorder(None)
    }

    /// Creates the metrics, all zero, with an optional recorder of spans.
    pub fn with_recorder(recorder: Option<Arc<Recorder>>) -> Arc<Self> {
        let registry = Registry::new();
        let requests = register(&registry, counters(&table::REQUESTS));
        let request_time = register(&registry, histograms(&table::REQUEST_TIME, &REQUEST_BOUNDS));
        let panics = register(&registry, counters(&table::PANICS));
        // The series exist with the value 0 from the start, so that a first panic shows as an increase.
        for listener in ["data", "admin", "probe"] {
            panics.with_label_values(&[listener]);
        }
        let unauthorized = register(&registry, counters(&table::UNAUTHORIZED));
        let unrouted = RouteMetrics::new(&requests, &request_time, (OTHER, OTHER), &[]);
        Arc::new(Self {
            recorder,
            calls: register(&registry, counters(&table::CALLS)),
            call_errors: register(&registry, counters(&table::CALL_ERRORS)),
            limits: register(&registry, counters(&table::LIMITS)),
            long_steps: register(&registry, counters(&table::LONG_STEPS)),
            instances_made: register(&registry, counters(&table::INSTANCES_MADE)),
            instances_dropped: register(&registry, counters(&table::INSTANCES_DROPPED)),
            outbound: register(&registry, counters(&table::OUTBOUND)),
            unauthorized: ["wrong", "missing"].map(|token| unauthorized.with_label_values(&[token])),
            unauthorized_lines: LineRateLimit::default(),
            panics,
            changes: register(&registry, counters(&table::CHANGES)),
            change_time: register(&registry, histograms(&table::CHANGE_TIME, &CHANGE_BOUNDS)),
            statements: sql::Statements::new(register(&registry, histograms(&table::SQL_TIME, &sql::BOUNDS))),
            resumes: register(&registry, counters(&table::RESUMES)),
            resume_time: register(&registry, histograms(&table::RESUME_TIME, &CHANGE_BOUNDS)),
            cut_off: register(&registry, counters(&table::CUT_OFF)),
            refused: register(&registry, counters(&table::REFUSED)),
            samplers: Mutex::default(),
            names: Mutex::default(),
            requests,
            request_time,
            unrouted,
            registry,
        })
    }

    /// Returns the counters of a route. `statuses` are the statuses that the route's configuration names; their series
    /// exist from the start.
    pub fn route(&self, method: &str, path: &str, statuses: &[u16]) -> RouteMetrics {
        let known = admit(&mut self.names().routes, (method.to_owned(), path.to_owned()));
        let labels = if known { (method, path) } else { (OTHER, OTHER) };
        RouteMetrics::new(&self.requests, &self.request_time, labels, statuses)
    }

    /// Returns the counters of requests that match no route.
    pub fn unrouted(&self) -> &RouteMetrics {
        &self.unrouted
    }

    /// Returns the counters of a compartment.
    pub fn compartment(&self, name: &CompartmentName) -> CompartmentMetrics {
        let known = admit(&mut self.names().compartments, name.to_string());
        let name = if known { name.as_str() } else { OTHER };
        CompartmentMetrics {
            calls: CallOrigin::ALL.map(|origin| self.calls.with_label_values(&[OUTSIDE, name, origin.as_str()])),
            errors: CallFailure::ALL.map(|why| self.call_errors.with_label_values(&[name, why.as_str()])),
            limits: LimitKind::ALL.map(|limit| self.limits.with_label_values(&[name, limit.as_str()])),
            long_steps: self.long_steps.with_label_values(&[name]),
            made: self.instances_made.with_label_values(&[name]),
            dropped: DropReason::ALL.map(|why| self.instances_dropped.with_label_values(&[name, why.as_str()])),
        }
    }

    /// Returns the counter of calls from one compartment to another.
    pub fn bridge(&self, from: &CompartmentName, to: &CompartmentName) -> IntCounter {
        let known = admit(&mut self.names().edges, (from.to_string(), to.to_string()));
        let (from, to) = if known { (from.as_str(), to.as_str()) } else { (OTHER, OTHER) };
        self.calls.with_label_values(&[from, to, "bridged"])
    }

    /// Returns the counters of a module's requests to other hosts.
    pub fn outbound(&self, module: &ModuleName) -> OutboundMetrics {
        let known = admit(&mut self.names().outbound, module.to_string());
        let name = if known { module.as_str() } else { OTHER };
        OutboundMetrics(OutboundOutcome::ALL.map(|outcome| self.outbound.with_label_values(&[name, outcome.as_str()])))
    }

    /// Returns the metrics of a module's SQL statements.
    pub fn sql(&self, module: &ModuleName) -> SqlMetrics {
        let known = admit(&mut self.names().statements, module.to_string());
        self.statements.of(if known { module.as_str() } else { OTHER })
    }

    /// Sets the duration from which an SQL statement is logged as slow. Until the first call no statement is logged.
    pub fn set_slow_sql(&self, time: Duration) {
        self.statements.set_slow(time);
    }

    /// Returns the counters of a listener: `data`, `admin` or `probe`.
    pub fn listener(&self, name: &str) -> ListenerMetrics {
        ListenerMetrics {
            cut_off: CutOffReason::ALL.map(|why| self.cut_off.with_label_values(&[name, why.as_str()])),
            refused: RefusalReason::ALL.map(|why| self.refused.with_label_values(&[name, why.as_str()])),
        }
    }

    /// Registers `sampler`, which adds gauges to every later snapshot of the metrics.
    pub fn register_sampler(&self, sampler: impl Fn(&mut Snapshot) + Send + Sync + 'static) {
        self.samplers.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(sampler));
    }

    /// Counts a request that the admin listener refused because its token was wrong or missing.
    ///
    /// Returns `Some` if the caller may log a line about a wrong token. The number in it counts the wrong tokens for which the rate limit
    /// suppressed a line in the last second before that had one. Returns `None` if no line may be logged. A missing token is never logged.
    pub fn count_refused_token(&self, is_wrong: bool) -> Option<u64> {
        let [wrong, missing] = &self.unauthorized;
        if is_wrong {
            wrong.inc();
            self.unauthorized_lines.try_acquire()
        } else {
            missing.inc();
            None
        }
    }

    /// Returns the recorder of spans. `None` if spans are not recorded.
    pub fn recorder(&self) -> Option<&Arc<Recorder>> {
        self.recorder.as_ref()
    }

    /// Sends the remaining spans to the collector. Later spans are lost. Blocks for at most 5 seconds.
    pub fn stop(&self) {
        if let Some(recorder) = &self.recorder {
            recorder.stop();
        }
    }

    /// Counts a panic of the host during a request of a listener: `data`, `admin` or `probe`.
    pub fn count_panic(&self, listener: &str) {
        self.panics.with_label_values(&[listener]).inc();
    }

    /// Counts a change of the application by its cause and outcome, and records its duration.
    pub fn record_change(&self, cause: &str, result: ChangeResult, time: Duration) {
        self.changes.with_label_values(&[cause, result.as_str()]).inc();
        self.change_time.with_label_values(&[cause, result.as_str()]).observe(time.as_secs_f64());
    }

    /// Counts a run of a module's `resume`, and records its duration.
    pub fn record_resume(&self, module: &ModuleName, moment: ResumeMoment, outcome: ResumeOutcome, time: Duration) {
        let known = admit(&mut self.names().resumable, module.to_string());
        let module = if known { module.as_str() } else { OTHER };
        self.resumes.with_label_values(&[module, moment.as_str(), outcome.as_str()]).inc();
        self.resume_time.with_label_values(&[module, moment.as_str()]).observe(time.as_secs_f64());
    }

    /// Renders all metrics in Prometheus' text exposition format. `sample` and the registered samplers add the gauges.
    pub fn render(&self, sample: impl FnOnce(&mut Snapshot)) -> String {
        let mut now = Snapshot::default();
        sample(&mut now);
        for sampler in self.samplers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            sampler(&mut now);
        }
        let mut families = self.registry.gather();
        families.extend(now.gather());
        families.sort_by(|one, other| one.name().cmp(other.name()));
        TextEncoder::new().encode_to_string(&families).expect("the table has names that can be written")
    }

    fn names(&self) -> std::sync::MutexGuard<'_, Names> {
        // A panic during an insertion leaves the sets valid, so a poisoned lock is safe to use.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether `name` has series of its own in the metrics. A new name gets them while there are fewer than [`MAX_NAMES`].
fn admit<T: Ord>(names: &mut BTreeSet<T>, name: T) -> bool {
    names.contains(&name) || (names.len() < MAX_NAMES && names.insert(name))
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> C {
    registry.register(Box::new(collector.clone())).expect("the table has each metric once");
    collector
}

fn counters(metric: &Metric) -> IntCounterVec {
    IntCounterVec::new(Opts::new(metric.name, metric.help), metric.labels).expect("the table has good names")
}

fn histograms(metric: &Metric, bounds: &[f64]) -> HistogramVec {
    let options = HistogramOpts::new(metric.name, metric.help).buckets(bounds.to_vec());
    HistogramVec::new(options, metric.labels).expect("the table has good names")
}

/// The counters of requests to one route.
pub struct RouteMetrics {
    requests: IntCounterVec,
    method: String,
    path: String,
    /// The counters of answers by HTTP status. Each is looked up when its status first occurs.
    statuses: Box<[(u16, OnceLock<IntCounter>)]>,
    time: Histogram,
}

impl RouteMetrics {
    fn new(requests: &IntCounterVec, time: &HistogramVec, (method, path): (&str, &str), own: &[u16]) -> Self {
        let all: BTreeSet<u16> = own.iter().chain(&HOST_STATUSES).copied().collect();
        let metrics = Self {
            requests: requests.clone(),
            method: method.to_owned(),
            path: path.to_owned(),
            statuses: all.into_iter().map(|status| (status, OnceLock::new())).collect(),
            time: time.with_label_values(&[method, path]),
        };
        // The statuses of the configuration exist with the value 0 from the start, so that a first error shows as an
        // increase.
        for (status, counter) in metrics.statuses.iter().filter(|(status, _)| own.contains(status)) {
            counter.get_or_init(|| metrics.counter(*status));
        }
        metrics
    }

    fn counter(&self, status: u16) -> IntCounter {
        self.requests.with_label_values(&[&*self.method, &*self.path, &status.to_string()])
    }

    /// Counts an answer by its status, and records the time it took.
    pub fn record_answer(&self, status: u16, time: Duration) {
        match self.statuses.iter().find(|(known, _)| *known == status) {
            Some((_, counter)) => counter.get_or_init(|| self.counter(status)).inc(),
            None => self.counter(status).inc(),
        }
        self.time.observe(time.as_secs_f64());
    }
}

/// The counters of calls into one compartment, shared by all its generations.
pub struct CompartmentMetrics {
    calls: [IntCounter; CallOrigin::ALL.len()],
    errors: [IntCounter; CallFailure::ALL.len()],
    limits: [IntCounter; LimitKind::ALL.len()],
    long_steps: IntCounter,
    made: IntCounter,
    dropped: [IntCounter; DropReason::ALL.len()],
}

impl CompartmentMetrics {
    /// Counts a call into the compartment that does not come from another compartment.
    pub fn count_call(&self, from: CallOrigin) {
        self.calls[from as usize].inc();
    }

    /// Counts a call into the compartment that gave no result.
    pub fn count_failure(&self, why: CallFailure) {
        self.errors[why as usize].inc();
    }

    /// Counts a call into the compartment that met a limit.
    pub fn count_limit(&self, limit: LimitKind) {
        self.limits[limit as usize].inc();
    }

    /// Counts a computation of more than 10 ms without a yield.
    pub fn count_long_step(&self) {
        self.long_steps.inc();
    }

    /// Counts an instance that was created for the compartment.
    pub fn count_created(&self) {
        self.made.inc();
    }

    /// Counts instances of the compartment that were dropped for the reason `why`.
    pub fn count_dropped(&self, why: DropReason, instances: usize) {
        self.dropped[why as usize].inc_by(instances as u64);
    }
}

/// The counters of the connections and requests of one listener.
pub struct ListenerMetrics {
    cut_off: [IntCounter; CutOffReason::ALL.len()],
    refused: [IntCounter; RefusalReason::ALL.len()],
}

impl ListenerMetrics {
    /// Counts a connection or a request that the host ended.
    pub fn count_cut_off(&self, why: CutOffReason) {
        self.cut_off[why as usize].inc();
    }

    /// Counts input that was refused before it became a request.
    pub fn count_refused(&self, why: RefusalReason) {
        self.refused[why as usize].inc();
    }
}

/// The counters of one module's requests to other hosts.
pub struct OutboundMetrics([IntCounter; OutboundOutcome::ALL.len()]);

impl OutboundMetrics {
    /// Counts a request by its outcome.
    pub fn count(&self, outcome: OutboundOutcome) {
        self.0[outcome as usize].inc();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::table::SqlOutcome;
    use super::*;

    #[test]
    fn labels_stand_at_their_places() {
        assert!(CallOrigin::ALL.iter().enumerate().all(|(place, label)| *label as usize == place));
        assert!(CallFailure::ALL.iter().enumerate().all(|(place, label)| *label as usize == place));
        assert!(LimitKind::ALL.iter().enumerate().all(|(place, label)| *label as usize == place));
        assert!(CutOffReason::ALL.iter().enumerate().all(|(place, label)| *label as usize == place));
        assert!(RefusalReason::ALL.iter().enumerate().all(|(place, label)| *label as usize == place));
        assert!(DropReason::ALL.iter().enumerate().all(|(place, label)| *label as usize == place));
        assert!(SqlOutcome::ALL.iter().enumerate().all(|(place, label)| *label as usize == place));
    }

    #[test]
    fn what_a_route_may_answer_is_there_as_zero_and_the_rest_when_it_comes() {
        let telemetry = Telemetry::new();
        let route = telemetry.route("GET", "/a/{b}", &[200, 404]);
        let count = |text: &str, status: &str| {
            let start =
                format!(r#"watertight_http_requests_total{{method="GET",route="/a/{{b}}",status="{status}"}} "#);
            text.lines().find_map(|line| line.strip_prefix(&start)).map(str::to_owned)
        };
        let text = telemetry.render(|_| {});
        assert_eq!(
            ["200", "404", "500"].map(|status| count(&text, status)),
            [Some("0".to_owned()), Some("0".to_owned()), None]
        );
        route.record_answer(500, Duration::from_millis(3));
        // The counters of a route continue in the next generation.
        telemetry.route("GET", "/a/{b}", &[200]).record_answer(500, Duration::from_millis(3));
        telemetry.route("GET", "/a/{b}", &[200]).record_answer(299, Duration::from_secs(60));
        let text = telemetry.render(|_| {});
        assert_eq!((count(&text, "500"), count(&text, "299")), (Some("2".to_owned()), Some("1".to_owned())));
    }

    #[test]
    fn names_without_end_share_series() {
        let telemetry = Telemetry::new();
        for number in 0..MAX_NAMES + 100 {
            telemetry.route("GET", &format!("/{number}"), &[]).record_answer(500, Duration::ZERO);
        }
        // A name that has series keeps them.
        telemetry.route("GET", "/0", &[]).record_answer(500, Duration::ZERO);
        let text = telemetry.render(|_| {});
        let lines: Vec<&str> =
            text.lines().filter(|line| line.starts_with("watertight_http_requests_total{")).collect();
        assert_eq!(lines.len(), MAX_NAMES + 1);
        let shared = r#"watertight_http_requests_total{method="other",route="other",status="500"} 100"#;
        assert!(lines.contains(&shared), "{}", lines[lines.len() - 1]);
        assert!(lines.contains(&r#"watertight_http_requests_total{method="GET",route="/0",status="500"} 2"#));
    }
}
