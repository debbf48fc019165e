//! `watertight:sql`: the calling module's own database.
//!
//! Nothing is decided here but whose database it is and which transaction a handle means; the rules of SQL are `database`'s.

use wasmtime::component::Resource;

use super::bindings::named_imports::watertight::sql::sql::{Host, HostTransaction};
use super::bindings::watertight::sql::sql as wit;
use crate::database::{ConstraintKind, Database, Rows, SqlError, SqlLimit, Value};
use crate::store::{InstanceState, ModuleIndex};
use crate::telemetry::{Span, SpanKind};

type Answer<T> = wasmtime::Result<Result<T, wit::Error>>;

impl InstanceState {
    pub(super) fn database(&self, module: ModuleIndex) -> wasmtime::Result<Database> {
        // Linking refuses an import without a grant, and a grant opens a database: this can't be missing.
        self.module(module).database.clone().ok_or_else(|| wasmtime::Error::msg("the module has no database"))
    }

    /// What is recorded of a statement, where it is.
    fn span(&self, module: ModuleIndex, operation: &'static str, statement: Option<&str>) -> Option<Span> {
        let module = &self.module(module).name;
        let mut span = self.call().trace.child(SpanKind::Client, || format!("{operation} {module}"))?;
        span.set("db.system.name", "sqlite");
        span.set("db.namespace", module.to_string());
        span.set("db.operation.name", operation);
        if let Some(statement) = statement {
            span.set_text("db.query.text", statement);
        }
        Some(span)
    }

    /// Ends what is recorded of a statement, and says what came of it in the guest's words.
    fn settle<T>(
        &mut self,
        module: ModuleIndex,
        span: Option<Span>,
        outcome: Result<T, SqlError>,
    ) -> Result<T, wit::Error> {
        end(span, &outcome);
        outcome.map_err(|error| {
            if let SqlError::Limit(limit) = error {
                self.note_sql_limit(module, limit);
            }
            into_error(error)
        })
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
        let span = self.span(module, "query", Some(&statement));
        let rows = database.query(&statement, values(parameters), self.call().deadline).await;
        Ok(self.settle(module, span, rows).map(into_rows))
    }

    async fn execute(&mut self, module: ModuleIndex, statement: String, parameters: Vec<wit::Value>) -> Answer<u64> {
        // The writer is this call's own while it has a transaction: it would wait for itself.
        if self.has_transaction(module) {
            return Ok(Err(wit::Error::Busy));
        }
        let database = self.database(module)?;
        let span = self.span(module, "execute", Some(&statement));
        let changed = database.execute(&statement, values(parameters), self.call().deadline).await;
        Ok(self.settle(module, span, changed))
    }
}

impl HostTransaction for InstanceState {
    async fn begin(&mut self, module: ModuleIndex) -> Answer<Resource<wit::Transaction>> {
        if self.has_transaction(module) {
            return Ok(Err(wit::Error::Busy));
        }
        let database = self.database(module)?;
        let span = self.span(module, "begin", None);
        let begun = database.begin(self.call().deadline).await;
        let begun = self.settle(module, span, begun);
        Ok(begun.map(|transaction| Resource::new_own(self.add_transaction(module, transaction))))
    }

    async fn query(
        &mut self,
        module: ModuleIndex,
        transaction: Resource<wit::Transaction>,
        statement: String,
        parameters: Vec<wit::Value>,
    ) -> Answer<Vec<wit::Row>> {
        let span = self.span(module, "query", Some(&statement));
        let rows = match self.transaction(module, transaction.rep()) {
            Some(transaction) => transaction.query(&statement, values(parameters)).await,
            None => Err(SqlError::Closed),
        };
        Ok(self.settle(module, span, rows).map(into_rows))
    }

    async fn execute(
        &mut self,
        module: ModuleIndex,
        transaction: Resource<wit::Transaction>,
        statement: String,
        parameters: Vec<wit::Value>,
    ) -> Answer<u64> {
        let span = self.span(module, "execute", Some(&statement));
        let changed = match self.transaction(module, transaction.rep()) {
            Some(transaction) => transaction.execute(&statement, values(parameters)).await,
            None => Err(SqlError::Closed),
        };
        Ok(self.settle(module, span, changed))
    }

    async fn commit(&mut self, module: ModuleIndex, transaction: Resource<wit::Transaction>) -> Answer<()> {
        let span = self.span(module, "commit", None);
        let committed = match self.take_transaction(module, transaction.rep()) {
            Some(transaction) => transaction.commit().await,
            None => Err(SqlError::Closed),
        };
        Ok(self.settle(module, span, committed))
    }

    async fn drop(&mut self, module: ModuleIndex, transaction: Resource<wit::Transaction>) -> wasmtime::Result<()> {
        // A handle from an earlier call has nothing behind it any more.
        if let Some(transaction) = self.take_transaction(module, transaction.rep()) {
            // What it has read must be on the disk before the guest can tell anybody; if that fails, it can't.
            let span = self.span(module, "rollback", None);
            let rolled_back = transaction.rollback().await;
            end(span, &rolled_back);
            rolled_back?;
        }
        Ok(())
    }
}

/// Ends what is recorded of a statement.
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
        SqlError::Limit(SqlLimit::Rows(_) | SqlLimit::Bytes(_) | SqlLimit::Text(_) | SqlLimit::Value(_)) => {
            wit::Error::TooLarge
        }
        SqlError::Closed => wit::Error::Closed,
        SqlError::Storage(detail) => wit::Error::Storage(detail),
    }
}
