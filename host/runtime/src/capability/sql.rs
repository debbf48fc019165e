//! The capability `watertight:sql`: SQL on the calling module's own database.
//!
//! This file only finds the database of the caller and the transaction of a handle. The crate `sql` enforces all rules of SQL.

use std::time::Instant;

use wasmtime::component::Resource;

use super::bindings::named_imports::watertight::sql::sql::{Host, HostTransaction};
use super::bindings::watertight::sql::sql as wit;
use crate::store::{InstanceState, ModuleIndex};
use watertight_sql::{ConstraintKind, Database, Rows, SqlError, SqlLimit, Value, redact_statement};
use watertight_telemetry::table::SqlOutcome;
use watertight_telemetry::{Span, SpanKind};

type Answer<T> = wasmtime::Result<Result<T, wit::Error>>;

impl InstanceState {
    pub(super) fn database(&self, module: ModuleIndex) -> wasmtime::Result<Database> {
        // Linking refuses an import of `sql` without a grant, and a granted module has an open database, so this error cannot occur.
        self.module(module).database.clone().ok_or_else(|| wasmtime::Error::msg("the module has no database"))
    }

    /// Starts the trace span and the timer of a statement.
    fn start_statement(&self, module: ModuleIndex, operation: &'static str, text: Option<&str>) -> RunningStatement {
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

    /// Ends the span of a statement, counts it, and converts its error to the WIT type.
    ///
    /// A full disk and exceeded limits are also noted in the store, so that the host can report them even if the guest hides the error.
    fn finish_statement<T>(
        &mut self,
        module: ModuleIndex,
        begun: RunningStatement,
        text: &str,
        outcome: Result<T, SqlError>,
    ) -> Result<T, wit::Error> {
        end(begun.span, &outcome);
        self.count_statement(module, begun.operation, begun.at, text, outcome.as_ref().err());
        outcome.map_err(|error| {
            self.record_sql_error(module, &error);
            into_error(error)
        })
    }

    /// Counts a statement that has ended, and logs a warning if it was slow.
    pub(super) fn count_statement(
        &self,
        module: ModuleIndex,
        operation: &'static str,
        begun: Instant,
        text: &str,
        error: Option<&SqlError>,
    ) {
        let (data, time, outcome) = (self.module(module), begun.elapsed(), outcome_of(error));
        let Some(left_out) = data.statements.record(outcome, time) else { return };
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(
            target: "sql",
            module = %data.name,
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

/// A statement that is running: its span, its kind and its start.
struct RunningStatement {
    span: Option<Span>,
    operation: &'static str,
    at: Instant,
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

impl Host for InstanceState {
    async fn query(
        &mut self,
        module: ModuleIndex,
        statement: String,
        parameters: Vec<wit::Value>,
    ) -> Answer<Vec<wit::Row>> {
        let database = self.database(module)?;
        let begun = self.start_statement(module, "query", Some(&statement));
        let rows = database.query(&statement, values(parameters), self.call().deadline).await;
        Ok(self.finish_statement(module, begun, &statement, rows).map(into_rows))
    }

    async fn execute(&mut self, module: ModuleIndex, statement: String, parameters: Vec<wit::Value>) -> Answer<u64> {
        // An open transaction of this call holds the database's only writer: the statement would wait for its own call.
        if self.has_transaction(module) {
            return Ok(Err(wit::Error::Busy));
        }
        let database = self.database(module)?;
        let begun = self.start_statement(module, "execute", Some(&statement));
        let changed = database.execute(&statement, values(parameters), self.call().deadline).await;
        Ok(self.finish_statement(module, begun, &statement, changed))
    }
}

impl HostTransaction for InstanceState {
    async fn begin(&mut self, module: ModuleIndex) -> Answer<Resource<wit::Transaction>> {
        if self.has_transaction(module) {
            return Ok(Err(wit::Error::Busy));
        }
        let database = self.database(module)?;
        let begun = self.start_statement(module, "begin", None);
        let lease = database.begin(self.call().deadline).await;
        let lease = self.finish_statement(module, begun, "", lease);
        Ok(lease.map(|transaction| Resource::new_own(self.add_transaction(module, transaction))))
    }

    async fn query(
        &mut self,
        module: ModuleIndex,
        transaction: Resource<wit::Transaction>,
        statement: String,
        parameters: Vec<wit::Value>,
    ) -> Answer<Vec<wit::Row>> {
        let begun = self.start_statement(module, "query", Some(&statement));
        let rows = match self.transaction(module, transaction.rep()) {
            Some(transaction) => transaction.query(&statement, values(parameters)).await,
            None => Err(SqlError::Closed),
        };
        Ok(self.finish_statement(module, begun, &statement, rows).map(into_rows))
    }

    async fn execute(
        &mut self,
        module: ModuleIndex,
        transaction: Resource<wit::Transaction>,
        statement: String,
        parameters: Vec<wit::Value>,
    ) -> Answer<u64> {
        let begun = self.start_statement(module, "execute", Some(&statement));
        let changed = match self.transaction(module, transaction.rep()) {
            Some(transaction) => transaction.execute(&statement, values(parameters)).await,
            None => Err(SqlError::Closed),
        };
        Ok(self.finish_statement(module, begun, &statement, changed))
    }

    async fn commit(&mut self, module: ModuleIndex, transaction: Resource<wit::Transaction>) -> Answer<()> {
        let begun = self.start_statement(module, "commit", None);
        let committed = match self.take_transaction(module, transaction.rep()) {
            Some(transaction) => transaction.commit().await,
            None => Err(SqlError::Closed),
        };
        Ok(self.finish_statement(module, begun, "", committed))
    }

    async fn drop(&mut self, module: ModuleIndex, transaction: Resource<wit::Transaction>) -> wasmtime::Result<()> {
        // A handle that a guest kept from an earlier call has no transaction.
        if let Some(transaction) = self.take_transaction(module, transaction.rep()) {
            // The rollback makes durable what the transaction has read. If it fails, the call fails: the guest must not report those
            // values.
            let begun = self.start_statement(module, "rollback", None);
            let rolled_back = transaction.rollback().await;
            end(begun.span, &rolled_back);
            self.count_statement(module, begun.operation, begun.at, "", rolled_back.as_ref().err());
            rolled_back?;
        }
        Ok(())
    }
}

/// Ends the span of a statement, with the statement's error if it failed.
fn end<T>(span: Option<Span>, outcome: &Result<T, SqlError>) {
    if let Some(span) = span {
        span.end(outcome.as_ref().err().map(|error| error as &dyn std::fmt::Display));
    }
}

fn values(parameters: Vec<wit::Value>) -> Vec<Value> {
    parameters.into_iter().map(into_value).collect()
}

fn into_value(value: wit::Value) -> Value {
    match value {
        wit::Value::Null => Value::Null,
        wit::Value::Integer(number) => Value::Integer(number),
        wit::Value::Real(number) => Value::Real(number),
        wit::Value::Text(text) => Value::Text(text),
        wit::Value::Blob(bytes) => Value::Blob(bytes),
    }
}

fn from_value(value: Value) -> wit::Value {
    match value {
        Value::Null => wit::Value::Null,
        Value::Integer(number) => wit::Value::Integer(number),
        Value::Real(number) => wit::Value::Real(number),
        Value::Text(text) => wit::Value::Text(text),
        Value::Blob(bytes) => wit::Value::Blob(bytes),
    }
}

fn into_rows(rows: Rows) -> Vec<wit::Row> {
    rows.into_iter().map(|row| row.into_iter().map(from_value).collect()).collect()
}

fn into_error(error: SqlError) -> wit::Error {
    match error {
        SqlError::Constraint { kind, detail } => {
            let kind = match kind {
                ConstraintKind::Unique => wit::ConstraintKind::Unique,
                ConstraintKind::ForeignKey => wit::ConstraintKind::ForeignKey,
                ConstraintKind::NotNull => wit::ConstraintKind::NotNull,
                ConstraintKind::Check => wit::ConstraintKind::Check,
                ConstraintKind::Other => wit::ConstraintKind::Other,
            };
            wit::Error::Constraint(wit::ConstraintViolation { kind, detail })
        }
        SqlError::Syntax(detail) => wit::Error::Syntax(detail),
        SqlError::Busy => wit::Error::Busy,
        SqlError::Timeout => wit::Error::Timeout,
        SqlError::Limit(SqlLimit::Time(_)) => wit::Error::Timeout,
        SqlError::Limit(SqlLimit::Size(_)) => wit::Error::Storage("the database is full".to_owned()),
        SqlError::Limit(_) => wit::Error::TooLarge,
        SqlError::Closed => wit::Error::Closed,
        SqlError::Full => wit::Error::Storage(SqlError::Full.to_string()),
        SqlError::Storage(detail) => wit::Error::Storage(detail),
    }
}
