//! Implements the interfaces of a module's environment with the host's capabilities. Also converts the types that modules share between the
//! form in contracts and the form in business rules.

use std::sync::Once;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::bindings::shop::common::types;
use crate::bindings::wasi::clocks::wall_clock;
use crate::bindings::wasi::logging::logging;
use crate::bindings::wasi::random::random;
use crate::bindings::watertight::lifecycle::failure;
use crate::bindings::watertight::sql::sql;
use crate::sql::Constraint;
use crate::{Clock, Ids, Invalid, Level, Log, Money, Row, Sql, SqlError, Transaction, Value};

/// The host's capabilities, as a module's environment.
#[derive(Debug, Clone, Copy)]
pub struct Host;

impl Host {
    /// Returns the host's capabilities. The first call also installs a panic hook that reports the reason of a panic to the host,
    /// because `panic = "abort"` alone reports none. The host logs the reason whether or not the module is granted the log.
    pub fn connect() -> Self {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            std::panic::set_hook(Box::new(|panic| {
                let place = panic.location().map(|place| failure::Place {
                    file: place.file().to_owned(),
                    line: place.line(),
                    column: place.column(),
                });
                let message = panic.payload_as_str().unwrap_or("it panicked without a text");
                failure::report(message, place.as_ref());
            }));
        });
        Self
    }
}

impl Log for Host {
    fn log(&self, level: Level, context: &str, message: &str) {
        let level = match level {
            Level::Info => logging::Level::Info,
            Level::Warn => logging::Level::Warn,
            Level::Error => logging::Level::Error,
            Level::Critical => logging::Level::Critical,
        };
        logging::log(level, context, message);
    }
}

impl Clock for Host {
    fn now(&self) -> SystemTime {
        let now = wall_clock::now();
        UNIX_EPOCH + Duration::new(now.seconds, now.nanoseconds)
    }
}

impl Ids for Host {
    fn new_id(&self) -> String {
        let random = u128::from(random::get_random_u64()) << 64 | u128::from(random::get_random_u64());
        crate::ids::ulid(self.now(), random)
    }
}

impl Sql for Host {
    type Transaction<'a> = sql::Transaction;

    fn query(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, SqlError> {
        Ok(rows(sql::query(statement, &to_host(parameters))?))
    }

    fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<u64, SqlError> {
        Ok(sql::execute(statement, &to_host(parameters))?)
    }

    fn begin(&self) -> Result<sql::Transaction, SqlError> {
        Ok(sql::Transaction::begin()?)
    }
}

impl Transaction for sql::Transaction {
    fn query(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, SqlError> {
        Ok(rows(sql::Transaction::query(self, statement, &to_host(parameters))?))
    }

    fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<u64, SqlError> {
        Ok(sql::Transaction::execute(self, statement, &to_host(parameters))?)
    }

    fn commit(self) -> Result<(), SqlError> {
        Ok(sql::Transaction::commit(self)?)
    }
}

fn to_host(values: Vec<Value>) -> Vec<sql::Value> {
    let convert = |value| match value {
        Value::Null => sql::Value::Null,
        Value::Integer(integer) => sql::Value::Integer(integer),
        Value::Real(real) => sql::Value::Real(real),
        Value::Text(text) => sql::Value::Text(text),
        Value::Blob(bytes) => sql::Value::Blob(bytes),
    };
    values.into_iter().map(convert).collect()
}

fn rows(rows: Vec<sql::Row>) -> Vec<Row> {
    let convert = |value| match value {
        sql::Value::Null => Value::Null,
        sql::Value::Integer(integer) => Value::Integer(integer),
        sql::Value::Real(real) => Value::Real(real),
        sql::Value::Text(text) => Value::Text(text),
        sql::Value::Blob(bytes) => Value::Blob(bytes),
    };
    rows.into_iter().map(|row| Row::new(row.into_iter().map(convert).collect())).collect()
}

impl From<sql::Error> for SqlError {
    fn from(error: sql::Error) -> Self {
        match error {
            sql::Error::Constraint(violation) => Self::Constraint {
                kind: match violation.kind {
                    sql::ConstraintKind::Unique => Constraint::Unique,
                    sql::ConstraintKind::ForeignKey => Constraint::ForeignKey,
                    sql::ConstraintKind::NotNull => Constraint::NotNull,
                    sql::ConstraintKind::Check => Constraint::Check,
                    sql::ConstraintKind::Other => Constraint::Other,
                },
                detail: violation.detail,
            },
            sql::Error::Syntax(detail) => Self::Syntax(detail),
            sql::Error::Busy => Self::Busy,
            sql::Error::Timeout => Self::Timeout,
            sql::Error::TooLarge => Self::TooLarge,
            sql::Error::Closed => Self::Closed,
            sql::Error::Storage(detail) => Self::Storage(detail),
        }
    }
}

impl From<types::Money> for Money {
    fn from(money: types::Money) -> Self {
        Self { currency: money.currency, minor: money.minor }
    }
}

impl From<Money> for types::Money {
    fn from(money: Money) -> Self {
        Self { currency: money.currency, minor: money.minor }
    }
}

impl From<types::InvalidField> for Invalid {
    fn from(invalid: types::InvalidField) -> Self {
        Self { field: invalid.field, reason: invalid.reason }
    }
}

impl From<Invalid> for types::InvalidField {
    fn from(invalid: Invalid) -> Self {
        Self { field: invalid.field, reason: invalid.reason }
    }
}
