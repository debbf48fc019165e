//! The code that the shop's Rust modules share: the interfaces that their business rules use, and the small value types of all
//! contracts.
//!
//! A module's business rules use four interfaces: a database, a clock, ids and a log. In a component, the host's capabilities
//! implement them (`component`). In native tests, a SQLite file does (`testing`). This crate contains no business rule and no
//! HTTP.

pub mod field;
pub mod ids;
pub mod log;
pub mod money;
pub mod page;
pub mod sql;
pub mod time;

#[cfg(target_arch = "wasm32")]
pub mod bindings;
#[cfg(target_arch = "wasm32")]
pub mod component;
#[cfg(feature = "testing")]
pub mod testing;

pub use field::Invalid;
pub use ids::Ids;
pub use log::{Level, Log};
pub use money::Money;
pub use page::{Page, Paged};
pub use sql::{Row, Sql, SqlError, Transaction, Value};
pub use time::Clock;

/// The interfaces of a module's environment in one trait: database, clock, ids and log.
pub trait Platform: Sql + Clock + Ids + Log {}

impl<T: Sql + Clock + Ids + Log> Platform for T {}
