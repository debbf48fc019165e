//! The interface to a module's own database, as traits with plain values.
//!
//! Each module keeps its statements in one file. Values are always passed as parameters (`?1`), never as part of a statement's
//! text.

use crate::log::{Level, Log};

/// A module's database.
pub trait Sql {
    /// An open write transaction. Dropping it rolls it back.
    type Transaction<'a>: Transaction
    where
        Self: 'a;

    /// Runs one statement that only reads. Returns its rows.
    ///
    /// # Errors
    ///
    /// The statement fails.
    fn query(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, SqlError>;

    /// Runs one statement that writes, durably. Returns the number of rows that it changed.
    ///
    /// A single statement is cheaper than a transaction: it takes one round trip to the database's writer instead of three.
    ///
    /// # Errors
    ///
    /// The statement fails. The database is then unchanged.
    fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<u64, SqlError>;

    /// Opens a write transaction. It holds the database's only writer, so do not call slow functions or other modules before it
    /// ends.
    ///
    /// # Errors
    ///
    /// The transaction cannot be opened, for instance because too many callers wait for the writer.
    fn begin(&self) -> Result<Self::Transaction<'_>, SqlError>;
}

/// A write transaction: either all of its statements take effect, or none.
pub trait Transaction {
    /// Runs one statement of the transaction. Returns its rows.
    ///
    /// # Errors
    ///
    /// The statement fails.
    fn query(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, SqlError>;

    /// Runs one statement of the transaction. Returns the number of rows that it changed.
    ///
    /// # Errors
    ///
    /// The statement fails.
    fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<u64, SqlError>;

    /// Commits the transaction durably.
    ///
    /// # Errors
    ///
    /// The commit fails, or the transaction has ended.
    fn commit(self) -> Result<(), SqlError>;
}

/// A value of SQL.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names are SQL's own")]
pub enum Value {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Integer(value.into())
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::Text(value.clone())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Builds a statement's list of parameters: in `values![id, limit]`, `id` is `?1` and `limit` is `?2`.
#[macro_export]
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::sql::Value::from($value)),*] };
}

/// One row of a query's result, read column by column from the left.
#[derive(Debug)]
pub struct Row(std::vec::IntoIter<Value>);

impl Row {
    /// Creates a row from its columns.
    pub fn new(columns: Vec<Value>) -> Self {
        Self(columns.into_iter())
    }

    /// Reads the next column as a text.
    ///
    /// # Errors
    ///
    /// The column is missing or is not a text.
    pub fn text(&mut self) -> Result<String, SqlError> {
        self.optional_text()?.ok_or_else(|| SqlError::wrong_type("a text"))
    }

    /// Reads the next column as a text or null.
    ///
    /// # Errors
    ///
    /// The column is missing, or is neither a text nor null.
    pub fn optional_text(&mut self) -> Result<Option<String>, SqlError> {
        match self.next()? {
            Value::Null => Ok(None),
            Value::Text(text) => Ok(Some(text)),
            _ => Err(SqlError::wrong_type("a text")),
        }
    }

    /// Reads the next column as an integer.
    ///
    /// # Errors
    ///
    /// The column is missing or is not an integer.
    pub fn integer(&mut self) -> Result<i64, SqlError> {
        match self.next()? {
            Value::Integer(integer) => Ok(integer),
            _ => Err(SqlError::wrong_type("an integer")),
        }
    }

    fn next(&mut self) -> Result<Value, SqlError> {
        self.0.next().ok_or_else(|| SqlError::Storage("a row has too few columns".to_owned()))
    }
}

/// A reason for which a statement failed. The error's text is for the log, never for callers of the module.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    /// The statement would violate a constraint.
    #[error("constraint {kind:?}: {detail}")]
    Constraint {
        /// The kind of the constraint.
        kind: Constraint,
        /// The name of the constraint.
        detail: String,
    },
    /// The statement or its parameters are not valid.
    #[error("bad statement: {0}")]
    Syntax(String),
    /// Too many callers wait for the database's writer.
    #[error("the database is busy")]
    Busy,
    /// The statement ran out of time.
    #[error("the statement ran out of time")]
    Timeout,
    /// The statement or its result exceeds a limit.
    #[error("the statement or its result is too large")]
    TooLarge,
    /// The transaction has already ended.
    #[error("the transaction has ended")]
    Closed,
    /// The database failed, or a column contains a value that this module does not write.
    #[error("storage: {0}")]
    Storage(String),
}

/// The kind of an SQL constraint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are SQL's own")]
pub enum Constraint {
    Unique,
    ForeignKey,
    NotNull,
    Check,
    Other,
}

impl SqlError {
    /// Returns whether the error is temporary: the same statement may succeed in a moment.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Busy | Self::Timeout)
    }

    /// Returns whether the statement would violate a unique constraint.
    pub fn is_duplicate(&self) -> bool {
        matches!(self, Self::Constraint { kind: Constraint::Unique, .. })
    }

    /// Creates the error for a stored value of the wrong type. The value itself is not part of it, so it stays out of the log.
    pub fn wrong_type(expected: &str) -> Self {
        Self::Storage(format!("a column that holds {expected} holds something else"))
    }

    /// Logs the error and returns a text that callers may see.
    pub fn report(&self, log: &impl Log) -> String {
        log.log(Level::Error, "sql", &self.to_string());
        "the database failed".to_owned()
    }
}
