//! Reads the numeric settings of an application: instances, limits, the data listener and the log. Each has a default and a range.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::tree::{OFF, Table};
use super::units::{show_duration, show_size};
use super::words::words;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

words! {
    /// How the instances of a compartment are used.
    InstanceMode {
        /// A warm instance serves several calls, one after another. The globals of a module keep their values.
        Reuse = "reuse",
        /// Each call gets new instances. Calls share nothing but the database.
        Fresh = "fresh",
    }
}

/// The tables `[defaults.instances]` and `[compartments.NAME.instances]`: how long instances of a compartment live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instances {
    /// Whether an instance serves several calls. Default: `reuse`.
    pub mode: InstanceMode,
    /// Greatest number of calls that a warm instance serves before it is dropped, so that a leak in a module stays bounded. Default:
    /// 10,000. A new instance costs tens of microseconds, which is negligible over that many calls.
    pub max_calls: NonZeroU32,
    /// Greatest time without a call that a warm instance is kept. Default: 30 seconds, so that the memory of a peak is freed soon after it.
    pub idle: Duration,
    /// Greatest number of requests to handlers of WASI 0.3 that use one instance at the same time. Default: 1, so that a request that fails
    /// costs no other.
    pub concurrent: NonZeroU32,
    /// Number of instances that are started before a generation serves, and kept beyond `idle`. Default: 0. Then one instance starts before
    /// the generation serves, and none is kept beyond `idle`. An interpreter's instance takes tens of milliseconds to start.
    pub warm: u32,
}

impl Default for Instances {
    fn default() -> Self {
        let max_calls = NonZeroU32::new(10_000).expect("a literal above zero");
        Self {
            mode: InstanceMode::Reuse,
            max_calls,
            idle: Duration::from_secs(30),
            concurrent: NonZeroU32::MIN,
            warm: 0,
        }
    }
}

impl Instances {
    const IDLE: RangeInclusive<Duration> = Duration::from_millis(100)..=DAY;
    /// The bound of `concurrent`: an instance that fails costs so many requests at most.
    const MAX_CONCURRENT: u32 = 1_000;
    /// The bound of `warm`. The engine's room bounds it, too.
    const MAX_WARM: u32 = 1_000;

    pub(super) fn read(table: &mut Table<'_>, base: Self) -> Self {
        let max_calls = table.count("max_calls", 1..=u32::MAX, base.max_calls.get());
        let concurrent = table.count("concurrent", 1..=Self::MAX_CONCURRENT, base.concurrent.get());
        Self {
            mode: table.word("mode", base.mode),
            max_calls: NonZeroU32::new(max_calls).expect("the range starts at one"),
            idle: table.duration("idle", Self::IDLE, base.idle),
            concurrent: NonZeroU32::new(concurrent).expect("the range starts at one"),
            warm: table.count("warm", 0..=Self::MAX_WARM, base.warm),
        }
    }

    /// Returns how many requests to handlers of WASI 0.3 use an instance at the same time. `None` if each has one to itself.
    pub fn shared_by(&self) -> Option<NonZeroU32> {
        (self.mode == InstanceMode::Reuse && self.concurrent.get() > 1).then_some(self.concurrent)
    }

    /// Returns each setting with its key in a compartment's table, and its value in the manifest's notation.
    pub fn entries(&self) -> Vec<(&'static str, String)> {
        let Self { mode, max_calls, idle, concurrent, warm } = *self;
        vec![
            ("instances.mode", mode.as_str().to_owned()),
            ("instances.max_calls", max_calls.to_string()),
            ("instances.idle", show_duration(idle)),
            ("instances.concurrent", concurrent.to_string()),
            ("instances.warm", warm.to_string()),
        ]
    }
}

/// The tables `[defaults.limits]` and `[compartments.NAME.limits]`: what one call may use, and how many calls may run. The limits apply to
/// calls that enter a compartment; calls within it are plain function calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Greatest number of bytes of linear memory and tables that one instance of the compartment may hold, all its modules together.
    /// Protects the process from a guest that only grows. Default: 256 MiB, which is enough for an interpreter and lets a small server hold
    /// dozens of instances.
    pub memory: u64,
    /// Greatest time from the arrival of a call to its end, waiting included. Protects callers from a guest that never ends. Default: 30
    /// seconds, a common timeout of proxies.
    pub request: Duration,
    /// Greatest number of calls of each module of the compartment that run at once, over all generations. Each call has an instance of its
    /// own. Only calls that enter the compartment at that module count. Together with `memory` this protects the memory of the host, and
    /// the other modules. Default: 256, whose instances keep half a GiB resident, at 2 MiB each.
    pub calls: u32,
    /// Greatest number of callers that may wait for a running call of a module to end. A further caller is refused at once, which protects
    /// callers from waiting in vain. Default: 1,024, four for each running call. 0 means that no caller waits.
    pub queue: u32,
    /// Greatest size in bytes of a request's body for a function of the compartment. A larger body is answered with status 413. Default: 1
    /// MiB, which is far above any form and far below an upload.
    pub body: u64,
    /// Greatest size in bytes of a request's body that a route takes as raw bytes or as a form in parts, in place of `body`. A larger one is
    /// answered with status 413. Default: 32 MiB, a few photographs. Beyond 256 KiB, bytes wait in a file until the call begins.
    pub upload: u64,
    /// Greatest size in bytes of the result that a call returns out of the compartment. Protects the host's memory, where a value takes up
    /// to 40 times its size in a guest. Default: 16 MiB, which is far above one page of a list that clients read page by page.
    pub result: u64,
    /// Greatest time that a call may compute, including what other compartments compute for it. Protects the share of other requests in the
    /// processors. Default: 10 seconds, which is far above the work of a request and far below the default of `request`.
    pub cpu: Duration,
    /// Greatest number of bytes that the arguments or the result of one function may take in the host when they leave a guest, as Wasmtime
    /// counts them: a `list<u8>` in a result counts about 40 times its size. Texts and byte lists in streams to other compartments count while
    /// nobody has read them. Protects the host's memory, and calls that wait while values
    /// are copied. Default: 64 MiB, enough for such a list of 1.6 MB, which takes some 100 ms.
    pub transfer: u64,
    /// Greatest number of resource handles that the modules of one instance may hold at once, all together. A handle that one module lends
    /// to another counts for both. Default: 10,000.
    pub handles: u32,
    /// Greatest number of bytes of log lines that one call may write. Further lines are dropped, and one line says so. Protects the disk
    /// and the readers of the log. Default: 256 KiB, about a thousand lines.
    pub log: u64,
    /// The limits of SQL for the compartment's modules and their databases.
    pub sql: SqlLimits,
    /// The limits of bodies that a handler of the compartment reads and writes piece by piece.
    pub stream: StreamLimits,
}

/// The tables `[defaults.limits.sql]` and `[compartments.NAME.limits.sql]`: what one statement may use, and how large a module's database
/// may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SqlLimits {
    /// Greatest number of rows that a statement may return. Default: 50,000, which is far above one page of a list that clients read page
    /// by page.
    pub rows: u32,
    /// Greatest number of bytes of all parameters of a statement together, and of all rows that it returns. Default: 8 MiB. They are all in
    /// the guest's memory at once, beside what the guest makes of them.
    pub bytes: u64,
    /// Greatest time that a statement may run. Time that it waits before it runs doesn't count here; it is part of the call's time.
    /// Protects other users of the database's one writer and few readers. Default: 5 seconds. For comparison: a transaction may leave the
    /// writer idle for 100 ms.
    pub time: Duration,
    /// Greatest size of a module's database file, in bytes. Protects the disk. Default: 16 GiB.
    pub size: u64,
}

impl Default for SqlLimits {
    fn default() -> Self {
        Self { rows: 50_000, bytes: 8 * MIB, time: Duration::from_secs(5), size: 16 * GIB }
    }
}

impl SqlLimits {
    const ROWS: RangeInclusive<u32> = 1..=10_000_000;
    const BYTES: RangeInclusive<u64> = KIB..=GIB;
    const TIME: RangeInclusive<Duration> = Duration::from_millis(1)..=HOUR;
    /// The permitted values of `size`. The upper bound is what SQLite can address in pages of 4 KiB.
    const SIZE: RangeInclusive<u64> = 64 * KIB..=16 * 1024 * GIB;

    fn read(table: &mut Table<'_>, base: Self) -> Self {
        Self {
            rows: table.count("rows", Self::ROWS, base.rows),
            bytes: table.size("bytes", Self::BYTES, base.bytes),
            time: table.duration("time", Self::TIME, base.time),
            size: table.size("size", Self::SIZE, base.size),
        }
    }
}

/// The tables `[defaults.limits.stream]` and `[compartments.NAME.limits.stream]`: how long a handler's exchange with a client may go on. The
/// limit `request` applies up to the head of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamLimits {
    /// Greatest time between two pieces of a body, in either direction. Protects instances from clients and guests that hold a stream and
    /// don't use it. Default: 30 seconds, as for `request`.
    pub idle: Duration,
    /// Greatest time of the whole exchange, from the arrival of the request to the last byte of the answer. `None`, written `off`, means
    /// that there is no such limit. Default: `None`, since a stream of events may last for hours.
    pub total: Option<Duration>,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self { idle: Duration::from_secs(30), total: None }
    }
}

impl StreamLimits {
    /// The permitted values of `idle` and `total`. Clients that want a longer stream connect again once a day.
    const TIME: RangeInclusive<Duration> = Duration::from_secs(1)..=DAY;

    fn read(table: &mut Table<'_>, base: Self) -> Self {
        Self {
            idle: table.duration("idle", Self::TIME, base.idle),
            total: table.duration_or_off("total", Self::TIME, base.total),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 256 * MIB,
            request: Duration::from_secs(30),
            calls: 256,
            queue: 1024,
            body: MIB,
            upload: 32 * MIB,
            result: 16 * MIB,
            cpu: Duration::from_secs(10),
            transfer: 64 * MIB,
            handles: 10_000,
            log: 256 * KIB,
            sql: SqlLimits::default(),
            stream: StreamLimits::default(),
        }
    }
}

impl Limits {
    /// The permitted values of `memory`. The lower bound is what the stack of a Rust module takes. The upper bound is more than a 32-bit
    /// guest can address in one memory.
    const MEMORY: RangeInclusive<u64> = MIB..=64 * GIB;
    const REQUEST: RangeInclusive<Duration> = Duration::from_millis(1)..=HOUR;
    const CALLS: RangeInclusive<u32> = 1..=10_000;
    const QUEUE: RangeInclusive<u32> = 0..=1_000_000;
    const BODY: RangeInclusive<u64> = KIB..=GIB;
    const RESULT: RangeInclusive<u64> = KIB..=GIB;
    /// The permitted values of `cpu`. The lower bound is two ticks of the clock by which the host interrupts guests.
    const CPU: RangeInclusive<Duration> = Duration::from_millis(10)..=HOUR;
    const TRANSFER: RangeInclusive<u64> = KIB..=16 * GIB;
    const HANDLES: RangeInclusive<u32> = 1..=1_000_000;
    const LOG: RangeInclusive<u64> = 0..=GIB;

    pub(super) fn read(table: &mut Table<'_>, base: Self) -> Self {
        Self {
            memory: table.size("memory", Self::MEMORY, base.memory),
            request: table.duration("request", Self::REQUEST, base.request),
            calls: table.count("calls", Self::CALLS, base.calls),
            queue: table.count("queue", Self::QUEUE, base.queue),
            body: table.size("body", Self::BODY, base.body),
            upload: table.size("upload", Self::BODY, base.upload),
            result: table.size("result", Self::RESULT, base.result),
            cpu: table.duration("cpu", Self::CPU, base.cpu),
            transfer: table.size("transfer", Self::TRANSFER, base.transfer),
            handles: table.count("handles", Self::HANDLES, base.handles),
            log: table.size("log", Self::LOG, base.log),
            sql: table
                .optional("sql")
                .and_then(|value| value.table(|t| SqlLimits::read(t, base.sql)))
                .unwrap_or(base.sql),
            stream: table
                .optional("stream")
                .and_then(|value| value.table(|t| StreamLimits::read(t, base.stream)))
                .unwrap_or(base.stream),
        }
    }

    /// Returns each limit with its key in a compartment's table, and its value in the manifest's notation.
    pub fn entries(&self) -> Vec<(&'static str, String)> {
        let Self { memory, request, calls, queue, body, upload, result, cpu, transfer, handles, log, sql, stream } =
            *self;
        let SqlLimits { rows, bytes, time, size } = sql;
        let StreamLimits { idle, total } = stream;
        vec![
            ("limits.memory", show_size(memory)),
            ("limits.request", show_duration(request)),
            ("limits.calls", calls.to_string()),
            ("limits.queue", queue.to_string()),
            ("limits.body", show_size(body)),
            ("limits.upload", show_size(upload)),
            ("limits.result", show_size(result)),
            ("limits.cpu", show_duration(cpu)),
            ("limits.transfer", show_size(transfer)),
            ("limits.handles", handles.to_string()),
            ("limits.log", show_size(log)),
            ("limits.sql.rows", rows.to_string()),
            ("limits.sql.bytes", show_size(bytes)),
            ("limits.sql.time", show_duration(time)),
            ("limits.sql.size", show_size(size)),
            ("limits.stream.idle", show_duration(idle)),
            ("limits.stream.total", total.map_or_else(|| OFF.to_owned(), show_duration)),
        ]
    }
}

/// The table `[defaults]`: the settings of every compartment whose own table leaves a key out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Defaults {
    /// The table `[defaults.instances]`.
    pub instances: Instances,
    /// The table `[defaults.limits]`.
    pub limits: Limits,
}

impl Defaults {
    /// Reads the keys `instances` and `limits`. A key that `table` leaves out has its value from `base`.
    pub(super) fn read(table: &mut Table<'_>, base: Self) -> Self {
        let instances =
            table.optional("instances").and_then(|value| value.table(|t| Instances::read(t, base.instances)));
        let limits = table.optional("limits").and_then(|value| value.table(|t| Limits::read(t, base.limits)));
        Self { instances: instances.unwrap_or(base.instances), limits: limits.unwrap_or(base.limits) }
    }
}

/// The table `[http]`: the limits of the data listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// Greatest number of requests in flight at once, over all connections. A further request is answered with status 503. A request counts
    /// once its body has arrived. A connection that already has requests in flight gets another only while more places are free than it
    /// has. Default: 1,024.
    pub in_flight: u32,
    /// Greatest number of open connections. Further connections wait in the kernel's backlog. Default: 4,096. Each connection is an open
    /// file of the process, so raise the limit for open files with this one.
    pub connections: u32,
    /// Greatest time that a client may take to send the head of a request. Default: 10 seconds, which is long for a phone and short for an
    /// attacker who holds connections by sending single bytes.
    pub header_timeout: Duration,
    /// Greatest time without progress: in this time the body of a request, the answer on one stream and a connection must each move 4 KiB,
    /// or what is left. Default: 10 seconds, like `header_timeout`.
    pub stall: Duration,
    /// Greatest number of bytes that the host holds for clients at once, over all connections: bodies of requests, answers until they are
    /// taken, heads of open HTTP/2 streams. One connection may hold an eighth of it. Default: 512 MiB, enough for bodies of 1 MiB, the
    /// default limit, in half of `in_flight`.
    pub held: u64,
    /// Greatest time that a stopping host waits for requests in flight. Default: 30 seconds, like the default limit of a request, so that
    /// every admitted request can end.
    pub drain: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            in_flight: 1024,
            connections: 4096,
            header_timeout: Duration::from_secs(10),
            stall: Duration::from_secs(10),
            held: 512 * MIB,
            drain: Duration::from_secs(30),
        }
    }
}

impl HttpLimits {
    const AT_ONCE: RangeInclusive<u32> = 1..=1_000_000;
    const HEADER_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(300);
    const STALL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(300);
    const HELD: RangeInclusive<u64> = MIB..=1024 * GIB;
    const DRAIN: RangeInclusive<Duration> = Duration::ZERO..=HOUR;

    pub(super) fn read(table: &mut Table<'_>) -> Self {
        let base = Self::default();
        Self {
            in_flight: table.count("in_flight", Self::AT_ONCE, base.in_flight),
            connections: table.count("connections", Self::AT_ONCE, base.connections),
            header_timeout: table.duration("header_timeout", Self::HEADER_TIMEOUT, base.header_timeout),
            stall: table.duration("stall", Self::STALL, base.stall),
            held: table.size("held", Self::HELD, base.held),
            drain: table.duration("drain", Self::DRAIN, base.drain),
        }
    }
}

words! {
    /// The format of log lines.
    LogFormat {
        /// Lines for people.
        Human = "human",
        /// One JSON object in each line.
        Json = "json",
    }
}

words! {
    /// The level of the log: the least severe lines that are written. Each level includes those before it.
    LogLevel {
        /// Failures that somebody must look at.
        Error = "error",
        /// Failures that are likely or that the host has corrected.
        Warn = "warn",
        /// Normal events: starts, generations, requests.
        Info = "info",
        /// Details of events.
        Debug = "debug",
        /// Every step.
        Trace = "trace",
    }
}

/// The table `[log]`: the host's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogConfig {
    /// The format of the log's lines. Default: `human`.
    pub format: LogFormat,
    /// The level of the least severe lines that are written. Default: `info`.
    pub level: LogLevel,
    /// The duration from which on an SQL statement of a module is logged as slow. Default: 200 ms, as much as a thousand point queries.
    pub slow_sql: Duration,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Human, level: LogLevel::Info, slow_sql: Duration::from_millis(200) }
    }
}

impl LogConfig {
    const SLOW_SQL: RangeInclusive<Duration> = Duration::from_millis(1)..=HOUR;

    pub(super) fn read(table: &mut Table<'_>) -> Self {
        let base = Self::default();
        Self {
            format: table.word("format", base.format),
            level: table.word("level", base.level),
            slow_sql: table.duration("slow_sql", Self::SLOW_SQL, base.slow_sql),
        }
    }
}
