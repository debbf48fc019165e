//! The table of every metric: name, labels and help text. The page `docs/metrics.md` is generated from it.

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number that only grows during the life of the process.
    Counter,
    /// A number that grows and shrinks.
    Gauge,
    /// Counts of observations in buckets by size.
    Histogram,
}

impl Kind {
    /// The kind's name in the exposition format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric of the host.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// The metric's name. It is stable, because dashboards depend on it.
    pub name: &'static str,
    /// The metric's kind.
    pub kind: Kind,
    /// The names of the metric's labels.
    pub labels: &'static [&'static str],
    /// The help text in the exposition and in the documentation.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($(#[doc = $help:literal])* $name:ident = $kind:ident $text:literal [$($label:literal),*];)*) => {
        $(
            $(#[doc = $help])*
            pub const $name: Metric = Metric {
                name: $text,
                kind: Kind::$kind,
                labels: &[$($label),*],
                help: concat!($($help),*).trim_ascii(),
            };
        )*

        /// All metrics, in the order of the documentation.
        pub const ALL: &[Metric] = &[$($name,)*];
    };
}

metrics! {
    /// Requests that were answered, by the method and the path's template of their route. Where no route was found, or none was
    /// looked for since too many requests were there, both are `other`.
    REQUESTS = Counter "watertight_http_requests_total" ["method", "route", "status"];
    /// Time from a request's head to its answer's.
    REQUEST_TIME = Histogram "watertight_http_request_duration_seconds" ["method", "route"];
    /// Requests that the host itself failed to answer by a panic, by listener: `data`, `admin` or `probe`. Each was answered 500 (`host-failed`).
    PANICS = Counter "watertight_request_panics_total" ["listener"];
    /// Connections that are open, by listener: `data`, `admin` or `probe`.
    CONNECTIONS = Gauge "watertight_http_connections" ["listener"];
    /// Connections and requests that the host ended by itself, by why: `idle` (nothing was asked for), `room` (idle, and others waited for a
    /// connection), `request-stalled` (a request's body didn't come), `answer-stalled` (a stream's answer wasn't taken), `connection-stalled`
    /// (nothing was taken from the connection), `held` (more bytes were held for clients than may be).
    CUT_OFF = Counter "watertight_http_cut_off_total" ["listener", "reason"];
    /// What was refused before it was a request, by why: `malformed` (400), `target-too-long` (414), `head-too-large` (431), `protocol` (an
    /// HTTP/2 connection that broke the rules).
    REFUSED = Counter "watertight_http_refused_total" ["listener", "reason"];
    /// Bytes that are held for clients: bodies of requests, answers until they were taken, and heads of open HTTP/2 streams.
    HELD_BYTES = Gauge "watertight_http_held_bytes" ["listener"];
    /// Requests to the admin listener that were refused for their token: it was `wrong`, or `missing`.
    UNAUTHORIZED = Counter "watertight_admin_unauthorized_total" ["token"];
    /// Calls into a compartment: from another one (`bridged`), or from `outside` for a request (`route`), an operator (`operator`) or
    /// by the host itself, at a start or on a schedule (`resume`). Calls within a compartment are fused: the host doesn't see them, and they aren't counted.
    CALLS = Counter "watertight_calls_total" ["from", "to", "kind"];
    /// Calls into a compartment that gave no result, by why. A module's typed errors are results.
    CALL_ERRORS = Counter "watertight_call_errors_total" ["compartment", "kind"];
    /// Limits that calls into a compartment met, by their key in the manifest: `memory`, `cpu`, `transfer`, `handles`, `log`, `sql.rows`
    /// and so on; and `stack`, `table`, `sql.text`, `sql.value` and `sql.transaction`, which are fixed. What meets `log` only loses lines, and a
    /// guest that meets one of `sql` is told and goes on.
    LIMITS = Counter "watertight_limits_total" ["compartment", "limit"];
    /// Times that a call computed for more than 10 ms without giving way: a large result was copied out, or memory was filled. Calls of
    /// that function run on threads of their own then, some at once, so that others needn't wait.
    LONG_STEPS = Counter "watertight_long_steps_total" ["compartment"];
    /// Instances of a compartment that were made.
    INSTANCES_MADE = Counter "watertight_instances_made_total" ["compartment"];
    /// Instances that were thrown away, by why: `trap`, `limit`, `deadline`, `callee` (a callee failed, and the caller with it),
    /// `dropped` (its call was given up), `max-calls`, `idle`, `memory` (it held more than is kept), `fresh` (the mode), `retired`
    /// (with its generation).
    INSTANCES_DROPPED = Counter "watertight_instances_dropped_total" ["compartment", "reason"];
    /// Instances that wait for their next call.
    INSTANCES_WARM = Gauge "watertight_instances_warm" ["compartment"];
    /// Calls of a module that run now, each on an instance of its own: those that enter its compartment there, on all generations.
    CALLS_RUNNING = Gauge "watertight_module_calls_running" ["module"];
    /// Calls that wait for a place.
    CALLS_WAITING = Gauge "watertight_module_calls_waiting" ["module"];
    /// Calls that may run at once: `limits.calls` of the current generation.
    CALLS_LIMIT = Gauge "watertight_module_calls_limit" ["module"];
    /// The number of the current generation.
    GENERATION = Gauge "watertight_generation" [];
    /// Generations that are not freed: the current one and those that drain.
    GENERATIONS_ALIVE = Gauge "watertight_generations_alive" [];
    /// Requests in flight on each generation that is not freed.
    IN_FLIGHT = Gauge "watertight_generation_requests_in_flight" ["generation"];
    /// Changes of the application by what asked for them (`run` is a start of the host) and what came of them: `published`,
    /// `unchanged`, `planned` (only the plan was asked for), `refused`, `busy` (too many waited).
    CHANGES = Counter "watertight_changes_total" ["cause", "outcome"];
    /// Time that changes took, from the start of the work to its end.
    CHANGE_TIME = Histogram "watertight_change_duration_seconds" ["cause", "outcome"];
    /// Times that a module was asked to resume what was left unfinished, at a `start` or on its `schedule`, by how that ended: `finished`
    /// (nothing was left), `unfinished` (it had more than one time may take), `failed` (by an error, a trap or a limit).
    RESUMES = Counter "watertight_resumes_total" ["module", "moment", "outcome"];
    /// How long one such time took, with all calls of it.
    RESUME_TIME = Histogram "watertight_resume_duration_seconds" ["module", "moment"];
    /// Requests of modules to other hosts, by what came of them: `answered`, `denied` (the manifest doesn't allow it, or the name
    /// stands for a private address), `limit` (of `http`; one whose answer is too large was answered as well), `failed`.
    OUTBOUND = Counter "watertight_outbound_requests_total" ["module", "outcome"];
    /// Transactions of a module's database that wrote something and are on the disk.
    COMMITS = Counter "watertight_database_commits_total" ["module"];
    /// Syncs of the write-ahead log. Commits by syncs are the size of a batch.
    SYNCS = Counter "watertight_database_syncs_total" ["module"];
    /// The most commits that one sync covered.
    LARGEST_BATCH = Gauge "watertight_database_largest_batch" ["module"];
    /// Transactions rolled back, whatever the reason.
    ROLLBACKS = Counter "watertight_database_rollbacks_total" ["module"];
    /// Times the write-ahead log was copied into the database file.
    CHECKPOINTS = Counter "watertight_database_checkpoints_total" ["module"];
    /// Reads by where they ended: on the calling thread (`inline`), or begun again on one of their own (`thread`).
    READS = Counter "watertight_database_reads_total" ["module", "place"];
    /// How long modules' statements took, their waiting for the writer or a connection and for the disk included, by what came of them:
    /// `ok`, or as `watertight:sql` has it; `limit` is a limit of `sql`, `full` a full disk. Beginning, committing and rolling back a
    /// transaction count, and so does what `wasi:keyvalue` is asked.
    SQL_TIME = Histogram "watertight_database_statement_duration_seconds" ["module", "outcome"];
    /// Writes and transactions that wait for the writer.
    WRITER_QUEUE = Gauge "watertight_database_writer_queue" ["module"];
    /// Reads that wait for a connection.
    READ_QUEUE = Gauge "watertight_database_read_queue" ["module"];
}

/// Defines a closed set of a label's values.
macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $word:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name {
            $($(#[$word_doc])* $word,)+
        }

        impl $name {
            /// All values. The index of each is its discriminant.
            pub const ALL: [Self; [$($text),+].len()] = [$(Self::$word),+];

            /// The label's text.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$word => $text,)+
                }
            }
        }
    };
}

labels! {
    /// The origin of a call into a compartment that does not come from another compartment.
    Origin {
        /// A request to a route.
        Route = "route",
        /// An operator, by the admin listener or the command line.
        Operator = "operator",
        /// The host, which calls `resume` at a start or on a schedule.
        Resume = "resume",
    }
}

labels! {
    /// The occasion on which the host calls a module's `resume`.
    ResumeMoment {
        /// A start of the host.
        Start = "start",
        /// The module's schedule, while the host serves.
        Schedule = "schedule",
    }
}

labels! {
    /// Why the host ended a connection or a request.
    CutOff {
        /// The client sent no request in time.
        Idle = "idle",
        /// The connection was idle, and other clients waited for a connection.
        Room = "room",
        /// The request's body did not arrive.
        RequestStalled = "request-stalled",
        /// The client did not take the answer on an HTTP/2 stream.
        AnswerStalled = "answer-stalled",
        /// The client took nothing of what was written to the connection.
        ConnectionStalled = "connection-stalled",
        /// The host held more bytes for clients than its limit allows.
        Held = "held",
    }
}

labels! {
    /// The outcome of a run of a module's `resume`.
    ResumeOutcome {
        /// The module finished all work that was left.
        Finished = "finished",
        /// The module had more work left than one run may take.
        Unfinished = "unfinished",
        /// The run failed by an error, a trap or a limit.
        Failed = "failed",
    }
}

labels! {
    /// Why input was refused before it became a request.
    Refusal {
        /// The input is not HTTP.
        Malformed = "malformed",
        /// The request's target is too long.
        TargetTooLong = "target-too-long",
        /// The request's head is too large.
        HeadTooLarge = "head-too-large",
        /// The connection violated the HTTP/2 protocol.
        Protocol = "protocol",
    }
}

labels! {
    /// Why a call gave no result.
    Failed {
        /// The queue of calls to the module was full.
        QueueFull = "queue-full",
        /// There was no room for another instance.
        NoRoom = "no-room",
        /// The call's deadline passed.
        Deadline = "deadline",
        /// The call met a limit.
        Limit = "limit",
        /// A guest trapped.
        Trap = "trap",
        /// A guest ended itself by `wasi:cli/exit`.
        Exit = "exit",
        /// A module in another compartment, which this call called, failed.
        Callee = "callee",
    }
}

labels! {
    /// A limit. Its text is its key in the manifest, if it has one.
    Limited {
        /// The bytes of all memories of a store.
        Memory = "memory",
        /// The elements of all tables of a store.
        Table = "table",
        /// The processor time of a call.
        Cpu = "cpu",
        /// The depth of the call stack.
        Stack = "stack",
        /// The bytes of a function's arguments or result in the host.
        Transfer = "transfer",
        /// The number of handles that guests hold.
        Handles = "handles",
        /// The size of a request's body.
        Body = "body",
        /// The size of a function's result as JSON.
        Result = "result",
        /// The log lines of a call.
        Log = "log",
        /// The rows of a statement's result.
        SqlRows = "sql.rows",
        /// The bytes of a statement's parameters or of its rows.
        SqlBytes = "sql.bytes",
        /// The run time of a statement.
        SqlTime = "sql.time",
        /// The size of a database.
        SqlSize = "sql.size",
        /// The length of a statement's text.
        SqlText = "sql.text",
        /// The size of one value.
        SqlValue = "sql.value",
        /// The amount of data that a transaction writes.
        SqlTransaction = "sql.transaction",
    }
}

labels! {
    /// The outcome of a statement.
    SqlOutcome {
        /// The statement succeeded.
        Ok = "ok",
        /// The statement would have violated a constraint.
        Constraint = "constraint",
        /// The statement is invalid, or the authorizer denies it.
        Syntax = "syntax",
        /// The queue of the writer or of the readers was full.
        Busy = "busy",
        /// The deadline of the call or the lease of the transaction passed.
        Timeout = "timeout",
        /// The statement met a limit of `sql`.
        Limit = "limit",
        /// The transaction had ended, or the database is closed.
        Closed = "closed",
        /// The disk or a quota is full.
        Full = "full",
        /// The database failed.
        Storage = "storage",
    }
}

labels! {
    /// Why an instance was dropped.
    Thrown {
        /// A guest trapped.
        Trap = "trap",
        /// The call met a limit.
        Limit = "limit",
        /// The call's deadline passed.
        Deadline = "deadline",
        /// A module in another compartment failed, and this call failed with it.
        Callee = "callee",
        /// The call was abandoned before its end.
        Dropped = "dropped",
        /// The instance served the most calls that it may serve.
        MaxCalls = "max-calls",
        /// The instance was unused for too long.
        Idle = "idle",
        /// The instance held more memory than a warm instance may keep.
        Memory = "memory",
        /// The instance mode is `fresh`: an instance serves one call.
        Fresh = "fresh",
        /// The instance's generation was freed.
        Retired = "retired",
    }
}

labels! {
    /// The outcome of a module's request to another host.
    Went {
        /// The other host answered, with any status.
        Answered = "answered",
        /// The manifest does not allow the request, or the name resolves to a private address.
        Denied = "denied",
        /// The request met a limit of `http`.
        Limit = "limit",
        /// The network or the other host failed.
        Failed = "failed",
    }
}

labels! {
    /// The outcome of a change.
    Came {
        /// The change was published.
        Published = "published",
        /// There was nothing to change.
        Unchanged = "unchanged",
        /// Only the plan was requested.
        Planned = "planned",
        /// The change was refused.
        Refused = "refused",
        /// Too many changes waited already.
        Busy = "busy",
    }
}
