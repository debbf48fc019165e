//! Values of SQL, and the Rust types that are such values.

use super::SqlError;

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

macro_rules! from {
    ($($type:ty, $value:ident => $made:expr;)+) => {
        $(impl From<$type> for Value {
            fn from($value: $type) -> Self {
                $made
            }
        })+
    };
}

// Not `u64` and `usize`: a value beyond `i64::MAX` fits no column, so the module says how it converts.
from! {
    i64, value => Self::Integer(value);
    i32, value => Self::Integer(value.into());
    u32, value => Self::Integer(value.into());
    u16, value => Self::Integer(value.into());
    u8, value => Self::Integer(value.into());
    bool, value => Self::Integer(value.into());
    f64, value => Self::Real(value);
    &str, value => Self::Text(value.to_owned());
    &String, value => Self::Text(value.clone());
    String, value => Self::Text(value);
    &[u8], value => Self::Blob(value.to_owned());
    Vec<u8>, value => Self::Blob(value);
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A type that one column can be read as.
pub trait FromValue: Sized {
    /// Reads a value.
    ///
    /// # Errors
    ///
    /// [`SqlError::Storage`] if the value is of another type or out of range. The value is not part of the error.
    fn from_value(value: Value) -> Result<Self, SqlError>;
}

impl FromValue for Value {
    fn from_value(value: Value) -> Result<Self, SqlError> {
        Ok(value)
    }
}

impl FromValue for String {
    fn from_value(value: Value) -> Result<Self, SqlError> {
        if let Value::Text(text) = value { Ok(text) } else { Err(SqlError::wrong_type("a text")) }
    }
}

impl FromValue for Vec<u8> {
    fn from_value(value: Value) -> Result<Self, SqlError> {
        if let Value::Blob(bytes) = value { Ok(bytes) } else { Err(SqlError::wrong_type("bytes")) }
    }
}

impl FromValue for f64 {
    fn from_value(value: Value) -> Result<Self, SqlError> {
        if let Value::Real(real) = value { Ok(real) } else { Err(SqlError::wrong_type("a number")) }
    }
}

impl FromValue for i64 {
    fn from_value(value: Value) -> Result<Self, SqlError> {
        if let Value::Integer(integer) = value { Ok(integer) } else { Err(SqlError::wrong_type("an integer")) }
    }
}

macro_rules! from_integer {
    ($($type:ty),+) => {
        $(impl FromValue for $type {
            fn from_value(value: Value) -> Result<Self, SqlError> {
                let integer = i64::from_value(value)?;
                integer.try_into().map_err(|_| SqlError::wrong_type(concat!("a number of type ", stringify!($type))))
            }
        })+
    };
}

from_integer!(i32, u8, u16, u32, u64);

impl FromValue for bool {
    fn from_value(value: Value) -> Result<Self, SqlError> {
        match value {
            Value::Integer(0) => Ok(false),
            Value::Integer(1) => Ok(true),
            _ => Err(SqlError::wrong_type("0 or 1")),
        }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value) -> Result<Self, SqlError> {
        if value == Value::Null { Ok(None) } else { T::from_value(value).map(Some) }
    }
}
