//! The module's database, by `watertight:sql`.

use crate::bindings::watertight::sql::sql;
use crate::{Constraint, Host, Row, Sql, SqlError, Statements, Transaction, Value};

impl Statements for Host {
    fn query(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, SqlError> {
        Ok(rows(sql::query(statement, &to_host(parameters))?))
    }

    fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<u64, SqlError> {
        Ok(sql::execute(statement, &to_host(parameters))?)
    }
}

impl Sql for Host {
    type Transaction<'a> = sql::Transaction;

    fn begin(&self) -> Result<sql::Transaction, SqlError> {
        Ok(sql::Transaction::begin()?)
    }
}

impl Statements for sql::Transaction {
    fn query(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, SqlError> {
        Ok(rows(sql::Transaction::query(self, statement, &to_host(parameters))?))
    }

    fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<u64, SqlError> {
        Ok(sql::Transaction::execute(self, statement, &to_host(parameters))?)
    }
}

impl Transaction for sql::Transaction {
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
