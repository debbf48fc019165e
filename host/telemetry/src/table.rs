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
    /// Returns the kind's name in Prometheus' text format.
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
    /// The text that explains the metric in Prometheus' text format and in the documentation.
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
    /// Answered requests, by the method and the path template of their route, after its host if it has one. Both labels
    /// are `other` for a request that matched no route, or that was refused before the lookup because too many requests were in flight.
    REQUESTS = Counter "watertight_http_requests_total" ["method", "route", "status"];
    /// Time from a request's head to the head of its answer.
    REQUEST_TIME = Histogram "watertight_http_request_duration_seconds" ["method", "route"];
    /// Requests whose handling panicked in the host, by listener: `data`, `admin` or `probe`. Each was answered 500
    /// (`host-failed`), unless its answer had begun or its client had gone.
    PANICS = Counter "watertight_request_panics_total" ["listener"];
    /// Open connections, by listener: `data`, `admin` or `probe`.
    CONNECTIONS = Gauge "watertight_http_connections" ["listener"];
    /// Connections and requests that the host ended, by reason: `idle` (the client sent no request), `room` (the
    /// connection was idle, and other clients waited for one), `request-stalled` (a request's body did not arrive),
    /// `answer-stalled` (the client did not take the answer on an HTTP/2 stream), `connection-stalled` (the client took
    /// nothing from the connection), `held` (the host held more bytes for clients than allowed).
    CUT_OFF = Counter "watertight_http_cut_off_total" ["listener", "reason"];
    /// Input that was refused before it became a request, by reason: `malformed` (400), `target-too-long` (414),
    /// `head-too-large` (431), `protocol` (a violation of the HTTP/2 protocol).
    REFUSED = Counter "watertight_http_refused_total" ["listener", "reason"];
    /// Bytes that the host holds for clients: request bodies, answers that clients have not taken yet, and heads of
    /// open HTTP/2 streams.
    HELD_BYTES = Gauge "watertight_http_held_bytes" ["listener"];
    /// Requests to the admin listener that were refused because their token was `wrong` or `missing`.
    UNAUTHORIZED = Counter "watertight_admin_unauthorized_total" ["token"];
    /// Calls into a compartment: from another compartment (`bridged`), or from `outside` for a request (`route`), for
    /// an operator (`operator`), or by the host at a start or on a schedule (`resume`). Calls within a compartment are
    /// fused: the host does not see them, so they are not counted.
    CALLS = Counter "watertight_calls_total" ["from", "to", "kind"];
    /// Calls into a compartment that gave no result, by reason. A module's typed errors are results. `neighbour`: another
    /// request on the same instance failed (`instances.concurrent`).
    CALL_ERRORS = Counter "watertight_call_errors_total" ["compartment", "kind"];
    /// Limits that calls into a compartment met, by the limit's key in the manifest: `memory`, `cpu`, `transfer`,
    /// `handles`, `log`, `sql.rows` and so on. `stack`, `table`, `sql.text`, `sql.value` and `sql.transaction` are
    /// fixed limits without a key; `capability` is a limit of a capability that is not built in. A call that meets `log`
    /// only loses lines. A guest that meets a limit of a capability gets an error and goes on.
    LIMITS = Counter "watertight_limits_total" ["compartment", "limit"];
    /// Times that a call computed for more than 10 ms without yielding, such as to copy a large result or to fill
    /// memory. Later calls of the function run on separate threads, several at once, so that other calls need not wait.
    LONG_STEPS = Counter "watertight_long_steps_total" ["compartment"];
    /// Instances of a compartment that were created.
    INSTANCES_MADE = Counter "watertight_instances_made_total" ["compartment"];
    /// Instances that were dropped, by reason: `trap`, `limit`, `deadline`, `callee` (a called module failed, and the
    /// call failed with it), `dropped` (the call was abandoned), `no-answer` (the handler of a mount or a middleware ended
    /// without an answer), `max-calls`, `idle`, `memory` (the instance held more memory than a warm instance may), `fresh`
    /// (the instance mode, or the call left something to do in the instance), `retired` (with the generation).
    INSTANCES_DROPPED = Counter "watertight_instances_dropped_total" ["compartment", "reason"];
    /// Instances that wait for their next call.
    INSTANCES_WARM = Gauge "watertight_instances_warm" ["compartment"];
    /// Memories and tables of instances that wait for their next call and that no request shares, as `limits.memory` counts them.
    INSTANCES_WARM_BYTES = Gauge "watertight_instances_warm_bytes" ["compartment"];
    /// Running calls of a module, each on an instance of its own or, with `instances.concurrent`, beside others. Only calls that enter the compartment at this module
    /// count, over all generations.
    CALLS_RUNNING = Gauge "watertight_module_calls_running" ["module"];
    /// Calls that wait in the module's queue.
    CALLS_WAITING = Gauge "watertight_module_calls_waiting" ["module"];
    /// Calls of a module that may run at once: `limits.calls` of the current generation.
    CALLS_LIMIT = Gauge "watertight_module_calls_limit" ["module"];
    /// The number of the current generation.
    GENERATION = Gauge "watertight_generation" [];
    /// Generations that are not freed: the current one and those that drain.
    GENERATIONS_ALIVE = Gauge "watertight_generations_alive" [];
    /// Requests in flight on each generation that is not freed.
    IN_FLIGHT = Gauge "watertight_generation_requests_in_flight" ["generation"];
    /// Changes of the application, by cause (`run` is a start of the host) and by outcome: `published`, `unchanged`,
    /// `planned` (only the plan was requested), `refused`, `busy` (too many changes waited).
    CHANGES = Counter "watertight_changes_total" ["cause", "outcome"];
    /// Time that changes took, from the start of the work to its end.
    CHANGE_TIME = Histogram "watertight_change_duration_seconds" ["cause", "outcome"];
    /// Runs of a module's `resume`, at a `start` or on the module's `schedule`, by outcome: `finished` (no work was
    /// left), `unfinished` (more work was left than one run may take), `failed` (by an error, a trap or a limit).
    RESUMES = Counter "watertight_resumes_total" ["module", "moment", "outcome"];
    /// Time that one run of a module's `resume` took, with all its calls.
    RESUME_TIME = Histogram "watertight_resume_duration_seconds" ["module", "moment"];
    /// Requests of modules to other hosts, by outcome: `answered`, `denied` (the manifest does not allow the request,
    /// or the name resolves to a private address), `limit` (a limit of `http`; a request whose answer is too large also
    /// counts as answered), `failed`.
    OUTBOUND = Counter "watertight_outbound_requests_total" ["module", "outcome"];
    /// Transactions of a module's database that wrote something and are on the disk.
    COMMITS = Counter "watertight_database_commits_total" ["module"];
    /// Syncs of a database's write-ahead log to the disk. Commits divided by syncs is the average size of a batch.
    SYNCS = Counter "watertight_database_syncs_total" ["module"];
    /// The most commits that one sync covered.
    LARGEST_BATCH = Gauge "watertight_database_largest_batch" ["module"];
    /// Transactions that were rolled back for any reason.
    ROLLBACKS = Counter "watertight_database_rollbacks_total" ["module"];
    /// Times that a database's write-ahead log was copied into the database file.
    CHECKPOINTS = Counter "watertight_database_checkpoints_total" ["module"];
    /// Reads of a module's database, by the place where they ended: on the calling thread (`inline`), or restarted on a thread of their own
    /// (`thread`).
    READS = Counter "watertight_database_reads_total" ["module", "place"];
    /// Duration of modules' SQL statements, including waits for the writer, for a connection and for the disk, by
    /// outcome: `ok`, or an error case of `watertight:sql`; `limit` is a limit of `sql`, and `full` is a full disk.
    /// Begins, commits and rollbacks of transactions count too, and so do the operations of `wasi:keyvalue`.
    SQL_TIME = Histogram "watertight_database_statement_duration_seconds" ["module", "outcome"];
    /// Writes and transactions that wait for the one writer of a module's database.
    WRITER_QUEUE = Gauge "watertight_database_writer_queue" ["module"];
    /// Reads that wait for one of the read connections of a module's database.
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
            /// All values of the label. The index of each is its discriminant.
            pub const ALL: [Self; [$($text),+].len()] = [$(Self::$word),+];

            /// Returns the text of the label's value.
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
    CallOrigin {
        /// A request to a route made the call.
        Route = "route",
        /// An operator made the call, by the admin listener or the command line.
        Operator = "operator",
        /// The host called `resume`, at a start or on a schedule.
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
    /// The reason for which the host ended a connection or a request.
    CutOffReason {
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
    /// The reason for which input was refused before it became a request.
    RefusalReason {
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
    /// The kind of failure because of which a call gave no result.
    CallFailure {
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
        /// Another request on the same instance failed, and the instance with it.
        Neighbour = "neighbour",
    }
}

labels! {
    /// A limit that a call can meet. Its text is its key in the manifest, if it has one.
    LimitKind {
        /// The bytes of all memories of a call's instance.
        Memory = "memory",
        /// The elements of all tables of a call's instance.
        Table = "table",
        /// The processor time of a call.
        Cpu = "cpu",
        /// The depth of a guest's call stack.
        Stack = "stack",
        /// The bytes of a function's arguments or result in the host.
        Transfer = "transfer",
        /// The number of resource handles that guests hold.
        Handles = "handles",
        /// The number of streams and futures that a call has open with other compartments.
        Streams = "streams",
        /// The size of a request's body.
        Body = "body",
        /// The size of a function's result as JSON.
        Result = "result",
        /// The bytes of log lines that a call writes.
        Log = "log",
        /// The number of rows in the result of an SQL statement.
        SqlRows = "sql.rows",
        /// The bytes of an SQL statement's parameters or of its rows.
        SqlBytes = "sql.bytes",
        /// The time that an SQL statement runs.
        SqlTime = "sql.time",
        /// The size of a module's database.
        SqlSize = "sql.size",
        /// The length of an SQL statement's text.
        SqlText = "sql.text",
        /// The size of one value in an SQL statement or a row.
        SqlValue = "sql.value",
        /// The amount of data that an SQL transaction writes.
        SqlTransaction = "sql.transaction",
        /// A limit of a capability that the host's operator has added.
        Capability = "capability",
    }
}

labels! {
    /// The outcome of an SQL statement.
    SqlOutcome {
        /// The statement succeeded.
        Ok = "ok",
        /// The statement would have violated a constraint.
        Constraint = "constraint",
        /// The statement is invalid, or the authorizer denies it.
        Syntax = "syntax",
        /// The queue of the writer or of the readers was full.
        Busy = "busy",
        /// The deadline of the call or the time of the transaction's lease passed.
        Timeout = "timeout",
        /// The statement met a limit of `sql`.
        Limit = "limit",
        /// The transaction had ended, or the database is closed.
        Closed = "closed",
        /// The disk is full, or a quota of disk space is used up.
        Full = "full",
        /// The database failed to read or write its files.
        Storage = "storage",
    }
}

labels! {
    /// The reason for which an instance was dropped.
    DropReason {
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
        /// The handler of a mount or a middleware ended without an answer.
        NoAnswer = "no-answer",
        /// The instance has served as many calls as it may serve.
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
    OutboundOutcome {
        /// The other host answered, with any status.
        Answered = "answered",
        /// The manifest does not allow the request, or the name resolves to a private address.
        Denied = "denied",
        /// The request met a limit of `http`.
        Limit = "limit",
        /// The network or the other host failed, or the module's body has another length than its head says.
        Failed = "failed",
    }
}

labels! {
    /// The result of a change of the application.
    ChangeResult {
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
