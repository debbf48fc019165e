//! What modules of Watertight need in Rust, so that nobody writes it by hand: SQL rows as structs, transactions as closures, typed errors,
//! ids, log lines with fields, requests to other hosts, configuration and secrets, and a panic hook that says why in the module's log.
//!
//! A module's rules take traits: [`Sql`], [`Log`], [`Clock`], [`Ids`], [`Random`], [`Config`] and [`Http`]. In a component, [`Host`]
//! implements them with the host's capabilities. In native tests, [`testing::Native`] implements them with a SQLite file. The crate brings
//! its own bindings, so a module's world need not name these capabilities, and a component imports those that its code uses.
//!
//! ```
//! use watertight_guest::{Clock, Ids, Log, Sql, SqlError, Statements, from_row, info, time::timestamp, values};
//!
//! #[derive(Debug, PartialEq)]
//! struct Note {
//!     id: String,
//!     text: String,
//!     stars: Option<i64>,
//! }
//! from_row!(Note { id, text, stars });
//!
//! fn write(host: &(impl Sql + Clock + Ids + Log), text: &str) -> Result<String, SqlError> {
//!     let id = host.new_id();
//!     host.transaction(|tx| {
//!         tx.execute("insert into notes (id, text) values (?1, ?2)", values![&id, text])?;
//!         tx.execute("insert into changes (at, note) values (?1, ?2)", values![timestamp(host.now()), &id])
//!     })?;
//!     info!(log: host, "a note of {} bytes was written", text.len(); note = id);
//!     Ok(id)
//! }
//!
//! fn find(sql: &impl Sql, id: &str) -> Result<Option<Note>, SqlError> {
//!     sql.optional(&format!("select {} from notes where id = ?1", Note::COLUMNS), values![id])
//! }
//! ```
//!
//! In a component, the same functions get `Host::connect()`.

pub mod clock;
pub mod config;
pub mod http;
pub mod ids;
pub mod log;
pub mod random;
pub mod sql;
pub mod time;

pub mod error;

#[cfg(target_arch = "wasm32")]
pub mod bindings;
#[cfg(target_arch = "wasm32")]
pub mod host;
#[cfg(feature = "native")]
pub mod testing;

pub use clock::Clock;
pub use config::{Config, ConfigError};
pub use error::Error;
#[cfg(target_arch = "wasm32")]
pub use host::Host;
pub use http::{Http, HttpError};
pub use ids::Ids;
pub use log::{Level, Log};
pub use random::Random;
pub use sql::{Constraint, FromRow, FromValue, Row, Sql, SqlError, Statements, Transaction, Value};

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
