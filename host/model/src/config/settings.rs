//! The numbers of an application: instances, limits, the HTTP edge, the log. Every one has a default and a range.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::tree::Table;
use super::units::{show_duration, show_size};
use super::words::words;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const HOUR: Duration = Duration::from_secs(60 * 60);

words! {
    /// What serves the next call of a compartment.
    InstanceMode {
        /// A warm instance, which served others before: a module's globals live on.
        Reuse = "reuse",
        /// A new instance for every request: nothing is shared but the database.
        Fresh = "fresh",
    }
}

/// How instances of a compartment come and go: `[defaults.instances]`, `[compartments.NAME.instances]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instances {
    /// Whether an instance serves more than one request. `reuse` by default.
    pub mode: InstanceMode,
    /// After how many calls a warm instance is thrown away, so that what a module leaks stays bounded. 10,000 by default: at
    /// tens of microseconds for a new one, its cost per call is lost in the noise.
    pub max_calls: NonZeroU32,
    /// After how long without a call a warm instance is freed. 30 seconds by default: memory of a peak goes soon after it.
    pub idle: Duration,
}

impl Default for Instances {
    fn default() -> Self {
        let max_calls = NonZeroU32::new(10_000).expect("a literal above zero");
        Self { mode: InstanceMode::Reuse, max_calls, idle: Duration::from_secs(30) }
    }
}

impl Instances {
    const IDLE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(24 * 60 * 60);

    pub(super) fn read(table: &mut Table<'_>, base: Self) -> Self {
        let max_calls = table.count("max_calls", 1..=u32::MAX, base.max_calls.get());
        Self {
            mode: table.word("mode", base.mode),
            max_calls: NonZeroU32::new(max_calls).expect("the range starts at one"),
            idle: table.duration("idle", Self::IDLE, base.idle),
        }
    }

    /// Each by its key in a compartment's table, as it could stand there.
    pub fn entries(&self) -> Vec<(&'static str, String)> {
        let Self { mode, max_calls, idle } = *self;
        vec![
            ("instances.mode", mode.as_str().to_owned()),
            ("instances.max_calls", max_calls.to_string()),
            ("instances.idle", show_duration(idle)),
        ]
    }
}

/// What one call may take, and how many may run: `[defaults.limits]`, `[compartments.NAME.limits]`. All hold for a compartment's
/// outermost calls; those inside it are plain function calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of linear memory and tables that one instance of the compartment may hold, all its modules together. It protects the
    /// process from a guest that only grows. 256 MiB by default: room for an interpreter, and dozens at once in a small server.
    pub memory: u64,
    /// How long a call may take from its arrival, with everything that it waits for. It protects callers from a guest that never
    /// ends. 30 seconds by default: what proxies commonly wait.
    pub request: Duration,
    /// How many calls of each of its modules run at once, each on an instance of its own, over all generations; those that enter the
    /// compartment there count. It protects the memory of all, together with `memory`, and the module's neighbours. 256 by default:
    /// their 2 MiB kept resident each are half a GiB.
    pub calls: u32,
    /// How many callers may wait for one of those; the next is told so at once. It protects the waiting from waiting in vain. 1,024
    /// by default: four for each running call. Zero means that nobody waits.
    pub queue: u32,
    /// Bytes that the body of a request for a function of the compartment may have; more is answered 413. 1 MiB by default: far above any
    /// form, far below an upload.
    pub body: u64,
    /// Bytes that a call's result may have where it leaves the compartment. It protects the host, where a value outside a guest
    /// takes up to 40 times its bytes. 16 MiB by default: far above a page of any list.
    pub result: u64,
    /// How long a call may compute, with what it has other compartments compute. It protects the other requests' share of the
    /// processors. 10 seconds by default: far above a request's work, far below `request`.
    pub cpu: Duration,
    /// What the arguments or the result of one function may take in the host where they leave a guest, in Wasmtime's measure: a
    /// `list<u8>` in a result costs about 40 times its bytes. It protects the host's memory, and whoever waits while it is copied. 64 MiB
    /// by default: 1.6 MB of such a list, which takes some 100 ms.
    pub transfer: u64,
    /// Handles of resources that the guests of one instance may hold at once, each side counted. 10,000 by default.
    pub handles: u32,
    /// Bytes of log lines that a call may write; what is beyond is dropped, and a line says so. It protects the log's disk and its
    /// readers. 256 KiB by default: a thousand lines.
    pub log: u64,
    /// What SQL may take: a statement of a module of the compartment, and its database.
    pub sql: SqlLimits,
}

/// What one statement may take, and how large a module's database may become: `[defaults.limits.sql]`,
/// `[compartments.NAME.limits.sql]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SqlLimits {
    /// Rows that a statement may return. 50,000 by default: far above a page of any list.
    pub rows: u32,
    /// Bytes that all parameters of a statement may have together, and all rows that it returns. 8 MiB by default: they go into the
    /// guest's memory as a whole, beside what the guest makes of them.
    pub bytes: u64,
    /// How long a statement may run; what it waits for before is the call's time. It protects the others' turn at the one writer and
    /// the few readers. 5 seconds by default: an eternity beside the 100 ms that a transaction may hold the writer idle.
    pub time: Duration,
    /// Bytes of the database file. It protects the disk. 16 GiB by default.
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
    /// Up to what SQLite can address in pages of 4 KiB.
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

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 256 * MIB,
            request: Duration::from_secs(30),
            calls: 256,
            queue: 1024,
            body: MIB,
            result: 16 * MIB,
            cpu: Duration::from_secs(10),
            transfer: 64 * MIB,
            handles: 10_000,
            log: 256 * KIB,
            sql: SqlLimits::default(),
        }
    }
}

impl Limits {
    /// From what a Rust module's stack alone takes to more than a 32-bit guest can address in one memory.
    const MEMORY: RangeInclusive<u64> = MIB..=64 * GIB;
    const REQUEST: RangeInclusive<Duration> = Duration::from_millis(1)..=HOUR;
    const CALLS: RangeInclusive<u32> = 1..=10_000;
    const QUEUE: RangeInclusive<u32> = 0..=1_000_000;
    const BODY: RangeInclusive<u64> = KIB..=GIB;
    const RESULT: RangeInclusive<u64> = KIB..=GIB;
    /// From two ticks of the epoch.
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
            result: table.size("result", Self::RESULT, base.result),
            cpu: table.duration("cpu", Self::CPU, base.cpu),
            transfer: table.size("transfer", Self::TRANSFER, base.transfer),
            handles: table.count("handles", Self::HANDLES, base.handles),
            log: table.size("log", Self::LOG, base.log),
            sql: table
                .optional("sql")
                .and_then(|value| value.table(|t| SqlLimits::read(t, base.sql)))
                .unwrap_or(base.sql),
        }
    }

    /// Each by its key in a compartment's table, as it could stand there.
    pub fn entries(&self) -> Vec<(&'static str, String)> {
        let Self { memory, request, calls, queue, body, result, cpu, transfer, handles, log, sql } = *self;
        let SqlLimits { rows, bytes, time, size } = sql;
        vec![
            ("limits.memory", show_size(memory)),
            ("limits.request", show_duration(request)),
            ("limits.calls", calls.to_string()),
            ("limits.queue", queue.to_string()),
            ("limits.body", show_size(body)),
            ("limits.result", show_size(result)),
            ("limits.cpu", show_duration(cpu)),
            ("limits.transfer", show_size(transfer)),
            ("limits.handles", handles.to_string()),
            ("limits.log", show_size(log)),
            ("limits.sql.rows", rows.to_string()),
            ("limits.sql.bytes", show_size(bytes)),
            ("limits.sql.time", show_duration(time)),
            ("limits.sql.size", show_size(size)),
        ]
    }
}

/// What holds for compartments where theirs says nothing else: `[defaults]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Defaults {
    /// `[defaults.instances]`.
    pub instances: Instances,
    /// `[defaults.limits]`.
    pub limits: Limits,
}

impl Defaults {
    /// Reads the keys `instances` and `limits`; what they leave out is as in `base`.
    pub(super) fn read(table: &mut Table<'_>, base: Self) -> Self {
        let instances =
            table.optional("instances").and_then(|value| value.table(|t| Instances::read(t, base.instances)));
        let limits = table.optional("limits").and_then(|value| value.table(|t| Limits::read(t, base.limits)));
        Self { instances: instances.unwrap_or(base.instances), limits: limits.unwrap_or(base.limits) }
    }
}

/// The limits of the data listener: `[http]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// How many requests are worked on at once, over all connections; the next is answered 503. One counts from when it is whole. A
    /// connection has no more of these places than are free, unless it has none. 1,024 by default.
    pub in_flight: u32,
    /// How many connections are open at once; further ones wait in the kernel's backlog. 4,096 by default. Each is an open file of
    /// the process: raise its limit with this.
    pub connections: u32,
    /// How long a client may take to send a request's head. 10 seconds by default: long for a phone, short for an attacker who
    /// holds connections by sending a byte at a time.
    pub header_timeout: Duration,
    /// How long a request's body, the answer on one stream or a connection may make no progress: 4 KiB, or what is left. 10 seconds by
    /// default, like `header_timeout`.
    pub stall: Duration,
    /// Bytes that are held for clients at once, over all connections: bodies of requests, answers until they were taken, heads of open
    /// HTTP/2 streams. One connection may have an eighth of it. 512 MiB by default: a body of 1 MiB, the default, for half of
    /// `in_flight`.
    pub held: u64,
    /// How long a stopping host waits for what is in flight. 30 seconds by default, like a request's own limit, so that whatever was
    /// admitted can end.
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
    /// How the log is written.
    LogFormat {
        /// Lines for a person.
        Human = "human",
        /// One JSON object a line.
        Json = "json",
    }
}

words! {
    /// The least grave thing that the log tells of.
    LogLevel {
        /// What failed and needs somebody.
        Error = "error",
        /// And what will, or was put right.
        Warn = "warn",
        /// And what happened: starts, generations, requests.
        Info = "info",
        /// And how.
        Debug = "debug",
        /// And every step.
        Trace = "trace",
    }
}

/// The host's own log: `[log]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogConfig {
    /// `human` by default.
    pub format: LogFormat,
    /// `info` by default.
    pub level: LogLevel,
    /// From when on a statement of a module gets a line. 200 ms by default: a thousand point queries.
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
