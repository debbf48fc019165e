//! PostgreSQL as the database of modules.
//!
//! This crate does not know Wasm. It guarantees that a module's statements stay within the module's own schema, do not
//! change the session, and tell nothing about the server ([`policy`]).

mod lex;
pub mod policy;

pub use lex::Statement;
