//! The database of a module, and what the host records of its statements.

use std::time::Instant;

use super::MAX_SHARED_WAIT;
use crate::capability::{ModuleContext, SharedData};
use crate::{InstanceState, ModuleIndex};
use watertight_sql::{Database, SqlError, SqlLimit, redact_statement};
use watertight_telemetry::table::{LimitKind, SqlOutcome};
use watertight_telemetry::{Span, SpanKind, SqlMetrics};

/// The database of a module and the metrics of its statements, which all instances of the module share.
pub(in super::super) struct ModuleDatabase {
    database: Database,
    statements: SqlMetrics,
}

impl ModuleDatabase {
    /// Returns the database of a module with a capability that keeps data, with the limits of the module's compartment.
    pub(in super::super) fn of(module: &ModuleContext<'_>) -> Option<SharedData> {
        let database = module.database.as_ref()?.with_limits(module.limits.sql);
        Some(Box::new(Self { database, statements: module.telemetry.sql(module.name) }))
    }
}

impl InstanceState {
    pub(in super::super) fn database(&self, module: ModuleIndex) -> wasmtime::Result<Database> {
        Ok(self.shared::<ModuleDatabase>(module)?.database.clone())
    }

    /// Returns the time by which a statement that writes must have ended.
    pub(in super::super) fn write_deadline(&self) -> Instant {
        let deadline = self.call().deadline.time();
        if self.switch().is_some() { deadline.min(Instant::now() + MAX_SHARED_WAIT) } else { deadline }
    }

    /// Starts the trace span and the timer of a statement. `operation` is the name of the method that runs it, and `text` its SQL, if
    /// it has any.
    pub(super) fn start_statement(
        &self,
        module: ModuleIndex,
        operation: &'static str,
        text: Option<&str>,
    ) -> RunningStatement {
        let name = &self.module(module).name;
        let mut span = self.call().trace.child(SpanKind::Client, || format!("{operation} {name}"));
        if let Some(span) = &mut span {
            span.set("db.system.name", "sqlite");
            span.set("db.namespace", name.to_string());
            span.set("db.operation.name", operation);
            if let Some(text) = text {
                span.set_text("db.query.text", text);
            }
        }
        RunningStatement { span, operation, at: Instant::now() }
    }

    /// Ends the span of a statement and counts it.
    ///
    /// The instance state also records a full disk or an exceeded limit, so that the host can report it even if the guest hides the error.
    pub(super) fn finish_statement<T>(
        &mut self,
        module: ModuleIndex,
        begun: RunningStatement,
        text: &str,
        outcome: Result<T, SqlError>,
    ) -> Result<T, SqlError> {
        end(begun.span, &outcome);
        self.count_statement(module, begun.operation, begun.at, text, outcome.as_ref().err());
        outcome.inspect_err(|error| self.record_sql_error(module, error))
    }

    /// Records why a statement of a module failed, if others than the guest must know: an exceeded limit, or no space on the disk.
    pub(in super::super) fn record_sql_error(&mut self, module: ModuleIndex, error: &SqlError) {
        if matches!(error, SqlError::Full | SqlError::Limit(SqlLimit::Size(_))) {
            self.call().notes.storage_was_full();
        }
        if let SqlError::Limit(limit) = error {
            self.report_limit(module, limit_kind(limit), limit);
        }
        // A call whose own deadline has passed is reported as such.
        if matches!(error, SqlError::Timeout) && !self.call().deadline.has_passed() {
            self.report_limit(module, LimitKind::SqlTime, error);
        }
    }

    /// Counts a statement that has ended, and logs a warning if it was slow.
    pub(in super::super) fn count_statement(
        &self,
        module: ModuleIndex,
        operation: &'static str,
        begun: Instant,
        text: &str,
        error: Option<&SqlError>,
    ) {
        let Ok(data) = self.shared::<ModuleDatabase>(module) else { return };
        let (time, outcome) = (begun.elapsed(), outcome_of(error));
        let Some(left_out) = data.statements.record(outcome, time) else { return };
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(
            target: "sql",
            module = %self.module(module).name,
            request = %self.call().request,
            operation,
            outcome = outcome.as_str(),
            millis,
            statement = redact_statement(text),
            left_out,
            "slow statement"
        );
    }
}

/// A statement that is running: its trace span (`None` if the trace is not recorded), the method that runs it, and its start.
pub(super) struct RunningStatement {
    pub(super) span: Option<Span>,
    pub(super) operation: &'static str,
    pub(super) at: Instant,
}

fn outcome_of(error: Option<&SqlError>) -> SqlOutcome {
    match error {
        None => SqlOutcome::Ok,
        Some(SqlError::Constraint { .. }) => SqlOutcome::Constraint,
        Some(SqlError::Syntax(_)) => SqlOutcome::Syntax,
        Some(SqlError::Busy) => SqlOutcome::Busy,
        Some(SqlError::Timeout) => SqlOutcome::Timeout,
        Some(SqlError::Limit(_)) => SqlOutcome::Limit,
        Some(SqlError::Closed) => SqlOutcome::Closed,
        Some(SqlError::Full) => SqlOutcome::Full,
        Some(SqlError::Storage(_)) => SqlOutcome::Storage,
    }
}

fn limit_kind(limit: &SqlLimit) -> LimitKind {
    match limit {
        SqlLimit::Rows(_) => LimitKind::SqlRows,
        SqlLimit::Bytes(_) => LimitKind::SqlBytes,
        SqlLimit::Time(_) => LimitKind::SqlTime,
        SqlLimit::Size(_) => LimitKind::SqlSize,
        SqlLimit::Text(_) => LimitKind::SqlText,
        SqlLimit::Value(_) => LimitKind::SqlValue,
        SqlLimit::Transaction(_) => LimitKind::SqlTransaction,
    }
}

/// Ends the span of a statement, with the statement's error if it failed.
pub(super) fn end<T>(span: Option<Span>, outcome: &Result<T, SqlError>) {
    if let Some(span) = span {
        span.end(outcome.as_ref().err().map(|error| error as &dyn std::fmt::Display));
    }
}
