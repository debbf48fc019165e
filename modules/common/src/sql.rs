//! The port to a module's own database, in plain values.
//!
//! Statements stand in each module's `model.rs`. Values always go through placeholders (`?1`), never into a statement's text.

use crate::log::{Level, Log};

/// A database.
pub trait Sql {
    /// An open write transaction. Dropping it rolls it back.
    type Transaction<'a>: Transaction
    where
        Self: 'a;

    /// Runs one statement that only reads, and returns its rows.
    fn query(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, SqlError>;

    /// Runs one statement that writes, durably, and returns how many rows it changed.
    ///
    /// Where one statement does the work, this is cheaper than a transaction: one trip to the writer instead of three.
    fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<u64, SqlError>;

    /// Opens a write transaction. It holds the database's one writer: call nothing slow, and no other module, before it ends.
    fn begin(&self) -> Result<Self::Transaction<'_>, SqlError>;
}

/// Several statements that happen together or not at all.
pub trait Transaction {
    /// Runs one statement, and returns its rows.
    fn query(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, SqlError>;

    /// Runs one statement, and returns how many rows it changed.
    fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<u64, SqlError>;

    /// Makes what was done durable.
    fn commit(self) -> Result<(), SqlError>;
}

/// A value that SQL knows.
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

/// A statement's parameters: `values![id, limit]` are `?1` and `?2`.
#[macro_export]
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::sql::Value::from($value)),*] };
}

/// One row of an answer, read column by column from the left.
#[derive(Debug)]
pub struct Row(std::vec::IntoIter<Value>);

impl Row {
    /// A row of these columns.
    pub fn new(columns: Vec<Value>) -> Self {
        Self(columns.into_iter())
    }

    /// The next column, which is a text.
    pub fn text(&mut self) -> Result<String, SqlError> {
        self.optional_text()?.ok_or_else(|| SqlError::misread("a text"))
    }

    /// The next column, which is a text or null.
    pub fn optional_text(&mut self) -> Result<Option<String>, SqlError> {
        match self.next()? {
            Value::Null => Ok(None),
            Value::Text(text) => Ok(Some(text)),
            _ => Err(SqlError::misread("a text")),
        }
    }

    /// The next column, which is an integer.
    pub fn integer(&mut self) -> Result<i64, SqlError> {
        match self.next()? {
            Value::Integer(integer) => Ok(integer),
            _ => Err(SqlError::misread("an integer")),
        }
    }

    fn next(&mut self) -> Result<Value, SqlError> {
        self.0.next().ok_or_else(|| SqlError::Storage("a row has too few columns".to_owned()))
    }
}

/// Why a statement failed. Its text is for the log, never for a caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    /// A constraint would have been broken.
    #[error("constraint {kind:?}: {detail}")]
    Constraint {
        /// The kind.
        kind: Constraint,
        /// Which one.
        detail: String,
    },
    /// The statement or its parameters are wrong.
    #[error("bad statement: {0}")]
    Syntax(String),
    /// Too many wait for the writer.
    #[error("the database is busy")]
    Busy,
    /// Out of time.
    #[error("the statement ran out of time")]
    Timeout,
    /// Over a limit.
    #[error("the statement or its result is too large")]
    TooLarge,
    /// The transaction has ended.
    #[error("the transaction has ended")]
    Closed,
    /// The database failed, or holds what its module never wrote.
    #[error("storage: {0}")]
    Storage(String),
}

/// The kind of a constraint.
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
    /// Whether the same statement may succeed in a moment.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Busy | Self::Timeout)
    }

    /// Whether a value was to be unique and isn't.
    pub fn is_duplicate(&self) -> bool {
        matches!(self, Self::Constraint { kind: Constraint::Unique, .. })
    }

    /// A stored value that is not what its column holds. The value itself stays out of the log.
    pub fn misread(expected: &str) -> Self {
        Self::Storage(format!("a column that holds {expected} holds something else"))
    }

    /// Logs what happened and returns what a caller may know of it.
    pub fn report(&self, log: &impl Log) -> String {
        log.log(Level::Error, "sql", &self.to_string());
        "the database failed".to_owned()
    }
}
