//! PostgreSQL as the database of modules.
//!
//! This crate does not know Wasm. A module has a schema and roles of its own ([`roles`]). Its statements stay within that
//! schema, do not change the session, and tell nothing about the server ([`policy`]). They mean the same as on SQLite: the
//! same values, the same errors, the same transactions ([`Database`]).

mod lex;
pub mod policy;
pub mod roles;
mod error;
mod format;
mod value;
mod settings;
mod connect;
mod lease;
mod transaction;
mod database;

pub use connect::{Endpoint, EndpointError, Protection};
pub use database::Database;
pub use lex::Statement;
pub use settings::Settings;
pub use transaction::Transaction;
