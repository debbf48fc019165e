//! What the shop's Rust modules share beyond `watertight-guest`: the small value types of all contracts, and an environment for tests that
//! simulates crashes.
//!
//! A module's business rules use four interfaces of `watertight-guest`: a database, a clock, ids and a log. In a component, the host's
//! capabilities implement them. In native tests, a SQLite file does (`testing`). This crate contains no business rule and no HTTP.

pub mod field;
pub mod money;
pub mod page;

#[cfg(target_arch = "wasm32")]
pub mod bindings;
#[cfg(target_arch = "wasm32")]
pub mod component;
#[cfg(feature = "testing")]
pub mod testing;

pub use field::Invalid;
pub use money::Money;
pub use page::{Page, Paged};
pub use watertight_guest::{
    Clock, Config, FromRow, Ids, Level, Log, Row, Sql, SqlError, Statements, Transaction, Value, from_row, ids, log,
    sql, time, values,
};

/// The interfaces of a module's environment in one trait: database, clock, ids and log.
pub trait Platform: Sql + Clock + Ids + Log {}

impl<T: Sql + Clock + Ids + Log> Platform for T {}

/// Implements `From<SqlError>` for a service's error type, which has the cases `Unavailable` (a text) and `Storage` (the cause).
#[macro_export]
macro_rules! from_sql_error {
    ($error:ty) => {
        impl From<$crate::SqlError> for $error {
            fn from(error: $crate::SqlError) -> Self {
                if error.is_temporary() {
                    Self::Unavailable("the database is busy".into())
                } else {
                    Self::Storage(error)
                }
            }
        }
    };
}
