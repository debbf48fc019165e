//! What the shop's Rust modules share: the ports that their rules are written against, and the small values that every contract uses.
//!
//! A module's rules know the world through four ports: a database, a clock, ids and a log. In a component these are the host's
//! capabilities (`component`); natively, in tests, a SQLite file (`testing`). There is no business rule here, and no HTTP.

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

/// All that the shop's modules ask of what is around them.
pub trait Platform: Sql + Clock + Ids + Log {}

impl<T: Sql + Clock + Ids + Log> Platform for T {}
