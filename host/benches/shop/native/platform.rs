//! The environment of native modules: the host's database without WebAssembly around it, the system's clock, ULIDs, and a log like the
//! host's.

use std::time::{Instant, SystemTime};

use shop_common::sql::Constraint;
use shop_common::{Clock, Ids, Level, Log, Row, Sql, SqlError, Statements, Transaction, Value};
use watertight_sql::{self as db, ConstraintKind, Database};

use super::fiber::Fiber;

/// The environment of one module during one request.
pub(super) struct NativePlatform<'f> {
    pub(super) name: &'static str,
    pub(super) database: &'f Database,
    pub(super) deadline: Instant,
    pub(super) fiber: &'f Fiber<'f>,
}

impl Statements for NativePlatform<'_> {
    fn query(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, SqlError> {
        let query = self.database.query(statement, to_database(parameters), self.deadline);
        self.fiber.wait(query).map(rows).map_err(error)
    }

    fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<u64, SqlError> {
        self.fiber.wait(self.database.execute(statement, to_database(parameters), self.deadline)).map_err(error)
    }
}

impl Sql for NativePlatform<'_> {
    type Transaction<'a>
        = NativeTransaction<'a>
    where
        Self: 'a;

    fn begin(&self) -> Result<NativeTransaction<'_>, SqlError> {
        let transaction = self.fiber.wait(self.database.begin(self.deadline)).map_err(error)?;
        Ok(NativeTransaction { transaction: transaction.into(), fiber: self.fiber })
    }
}

/// An open write transaction.
pub(super) struct NativeTransaction<'a> {
    transaction: std::cell::RefCell<db::Transaction>,
    fiber: &'a Fiber<'a>,
}

impl Statements for NativeTransaction<'_> {
    fn query(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, SqlError> {
        let mut transaction = self.transaction.borrow_mut();
        self.fiber.wait(transaction.query(statement, to_database(parameters))).map(rows).map_err(error)
    }

    fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<u64, SqlError> {
        let mut transaction = self.transaction.borrow_mut();
        self.fiber.wait(transaction.execute(statement, to_database(parameters))).map_err(error)
    }
}

impl Transaction for NativeTransaction<'_> {
    fn commit(self) -> Result<(), SqlError> {
        self.fiber.wait(self.transaction.into_inner().commit()).map_err(error)
    }
}

impl Clock for NativePlatform<'_> {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

impl Ids for NativePlatform<'_> {
    fn new_id(&self) -> String {
        ulid::Ulid::generate().to_string()
    }
}

impl Log for NativePlatform<'_> {
    fn log(&self, level: Level, context: &str, message: &str) {
        let module = self.name;
        match level {
            Level::Trace => tracing::trace!(target: "module", module, context, "{message}"),
            Level::Debug => tracing::debug!(target: "module", module, context, "{message}"),
            Level::Info => tracing::info!(target: "module", module, context, "{message}"),
            Level::Warn => tracing::warn!(target: "module", module, context, "{message}"),
            Level::Error | Level::Critical => tracing::error!(target: "module", module, context, "{message}"),
        }
    }
}

fn to_database(parameters: Vec<Value>) -> Vec<db::Value> {
    let convert = |value| match value {
        Value::Null => db::Value::Null,
        Value::Integer(integer) => db::Value::Integer(integer),
        Value::Real(real) => db::Value::Real(real),
        Value::Text(text) => db::Value::Text(text),
        Value::Blob(bytes) => db::Value::Blob(bytes),
    };
    parameters.into_iter().map(convert).collect()
}

fn rows(rows: db::Rows) -> Vec<Row> {
    let convert = |value| match value {
        db::Value::Null => Value::Null,
        db::Value::Integer(integer) => Value::Integer(integer),
        db::Value::Real(real) => Value::Real(real),
        db::Value::Text(text) => Value::Text(text),
        db::Value::Blob(bytes) => Value::Blob(bytes),
    };
    rows.into_iter().map(|row| Row::new(row.into_iter().map(convert).collect())).collect()
}

fn error(error: db::SqlError) -> SqlError {
    match error {
        db::SqlError::Constraint { kind, detail } => {
            let kind = match kind {
                ConstraintKind::Unique => Constraint::Unique,
                ConstraintKind::ForeignKey => Constraint::ForeignKey,
                ConstraintKind::NotNull => Constraint::NotNull,
                ConstraintKind::Check => Constraint::Check,
                ConstraintKind::Other => Constraint::Other,
            };
            SqlError::Constraint { kind, detail }
        }
        db::SqlError::Syntax(detail) => SqlError::Syntax(detail),
        db::SqlError::Busy => SqlError::Busy,
        db::SqlError::Timeout => SqlError::Timeout,
        db::SqlError::Limit(_) => SqlError::TooLarge,
        db::SqlError::Closed => SqlError::Closed,
        db::SqlError::Full => SqlError::Storage(db::SqlError::Full.to_string()),
        db::SqlError::Storage(detail) => SqlError::Storage(detail),
    }
}
