//! A module's own database: statements with parameters, rows as structs, transactions as closures.
//!
//! Values are always passed as parameters (`?1`), never as part of a statement's text.

mod row;
mod value;

use crate::log::{Level, Log};

pub use row::{FromRow, Row};
pub use value::{FromValue, Value};

/// The number of times that [`Sql::transaction`] asks for the database's writer before it reports [`SqlError::Busy`].
pub const MAX_BEGINS: u32 = 3;

/// Statements on a module's database, outside of or within a transaction.
pub trait Statements {
    /// Runs one statement that only reads. Returns its rows.
    ///
    /// # Errors
    ///
    /// The statement fails.
    fn query(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<Row>, SqlError>;

    /// Runs one statement that writes. Returns the number of rows that it changed. Outside of a transaction, the changes are durable when
    /// the function returns.
    ///
    /// # Errors
    ///
    /// The statement fails. The database is then as it was before the statement.
    fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<u64, SqlError>;

    /// Returns all rows of a query as values of `T`: a struct with [`from_row!`](crate::from_row), a tuple, or the type of one column.
    ///
    /// # Errors
    ///
    /// The statement fails, or a row is not a `T`.
    fn all<T: FromRow>(&self, statement: &str, parameters: Vec<Value>) -> Result<Vec<T>, SqlError> {
        self.query(statement, parameters)?.into_iter().map(Row::read).collect()
    }

    /// Returns the first row of a query as a `T`. `None` if there is no row.
    ///
    /// # Errors
    ///
    /// The statement fails, or the row is not a `T`.
    fn optional<T: FromRow>(&self, statement: &str, parameters: Vec<Value>) -> Result<Option<T>, SqlError> {
        self.query(statement, parameters)?.into_iter().next().map(Row::read).transpose()
    }

    /// Returns the first row of a query that always has one, such as `select count(*) …`, as a `T`.
    ///
    /// # Errors
    ///
    /// The statement fails, there is no row, or the row is not a `T`.
    fn one<T: FromRow>(&self, statement: &str, parameters: Vec<Value>) -> Result<T, SqlError> {
        self.optional(statement, parameters)?.ok_or_else(|| SqlError::wrong_type("one row"))
    }
}

/// A module's database.
pub trait Sql: Statements {
    /// An open write transaction. Dropping it rolls it back.
    type Transaction<'a>: Transaction
    where
        Self: 'a;

    /// Opens a write transaction. It holds the database's only writer, so do not call slow functions or other modules before it
    /// ends. [`transaction`](Self::transaction) also commits it.
    ///
    /// # Errors
    ///
    /// The transaction cannot be opened, for instance because too many callers wait for the writer.
    fn begin(&self) -> Result<Self::Transaction<'_>, SqlError>;

    /// Runs `work` in a write transaction. Commits it if `work` returns `Ok`, and rolls it back if `work` returns an error or panics. If
    /// the writer is busy, asks for it up to [`MAX_BEGINS`] times; `work` itself runs at most once.
    ///
    /// A single statement needs no transaction, and is cheaper without: it takes one round trip to the database's writer instead of
    /// three.
    ///
    /// # Errors
    ///
    /// The error of `work`; or the transaction can't be opened or committed. Nothing is stored then.
    fn transaction<T, E: From<SqlError>>(
        &self,
        work: impl FnOnce(&Self::Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut begun = self.begin();
        for _ in 1..MAX_BEGINS {
            if !matches!(begun, Err(SqlError::Busy)) {
                break;
            }
            begun = self.begin();
        }
        let transaction = begun?;
        let done = work(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }
}

/// A write transaction: either all of its statements take effect, or none.
pub trait Transaction: Statements {
    /// Commits the transaction durably.
    ///
    /// # Errors
    ///
    /// The commit fails, or the transaction has ended.
    fn commit(self) -> Result<(), SqlError>;
}

/// Builds a statement's list of parameters: in `values![id, limit]`, `id` is `?1` and `limit` is `?2`.
#[macro_export]
macro_rules! values {
    ($($value:expr),* $(,)?) => { ::std::vec![$($crate::sql::Value::from($value)),*] };
}

/// Makes a struct readable from rows: its fields are the columns, in this order. The struct also gets the constant `COLUMNS`, their names
/// with commas, for the statement. `field: TYPE` marks a field that is itself read from several columns; there is no `COLUMNS` then.
///
/// ```
/// # use watertight_guest::from_row;
/// struct Place {
///     city: String,
///     zip: Option<String>,
/// }
/// from_row!(Place { city, zip });
///
/// struct Person {
///     name: String,
///     place: Place,
/// }
/// from_row!(Person { name, place: Place });
///
/// assert_eq!(Place::COLUMNS, "city, zip");
/// ```
#[macro_export]
macro_rules! from_row {
    ($type:ident { $($field:ident),+ $(,)? }) => {
        impl $type {
            /// The names of the columns, with commas between them.
            #[allow(dead_code, unreachable_pub)]
            pub const COLUMNS: &'static str = $crate::__columns!($($field)+);
        }
        $crate::__from_row!($type { $($field),+ });
    };
    ($type:ident { $($field:ident $(: $nested:ty)?),+ $(,)? }) => { $crate::__from_row!($type { $($field $(: $nested)?),+ }); };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __columns {
    ($first:ident $($field:ident)*) => {
        ::core::concat!(::core::stringify!($first) $(, ", ", ::core::stringify!($field))*)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __from_row {
    ($type:ident { $($field:ident $(: $nested:ty)?),+ }) => {
        impl $crate::sql::FromRow for $type {
            fn from_row(row: &mut $crate::sql::Row) -> ::core::result::Result<Self, $crate::sql::SqlError> {
                ::core::result::Result::Ok(Self { $($field: row.get$(::<$nested>)?()?),+ })
            }
        }
    };
}

/// Stores the cases of an enum as texts: makes the enum a value of SQL, and readable from a column. `as_str` returns a case's text.
///
/// ```
/// # use watertight_guest::text_column;
/// #[derive(Clone, Copy)]
/// enum Status {
///     Pending,
///     Paid,
/// }
/// text_column!(Status { Pending = "pending", Paid = "paid" });
///
/// assert_eq!(Status::Paid.as_str(), "paid");
/// ```
#[macro_export]
macro_rules! text_column {
    ($type:ident { $($case:ident = $text:literal),+ $(,)? }) => {
        impl $type {
            /// Returns the text that a column has for this case.
            #[allow(dead_code, unreachable_pub)]
            pub fn as_str(&self) -> &'static str {
                match self {
                    $(Self::$case => $text),+
                }
            }
        }
        impl ::core::convert::From<$type> for $crate::sql::Value {
            fn from(value: $type) -> Self {
                Self::from(value.as_str())
            }
        }
        impl $crate::sql::FromValue for $type {
            fn from_value(value: $crate::sql::Value) -> ::core::result::Result<Self, $crate::sql::SqlError> {
                match &value {
                    $($crate::sql::Value::Text(text) if text == $text => ::core::result::Result::Ok(Self::$case),)+
                    _ => ::core::result::Result::Err($crate::sql::SqlError::wrong_type(::core::concat!("a ", ::core::stringify!($type)))),
                }
            }
        }
    };
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
    /// Too many callers wait for the database's writer, or this call already has an open transaction.
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

    /// Logs the error and returns a text that callers of the module may see.
    pub fn report(&self, log: &impl Log) -> String {
        log.log(Level::Error, "sql", &self.to_string());
        "the database failed".to_owned()
    }

    /// Creates the error for a stored value of the wrong type. The value itself is not part of it, so it stays out of the log.
    pub fn wrong_type(expected: &str) -> Self {
        Self::Storage(format!("a column that holds {expected} holds something else"))
    }
}
