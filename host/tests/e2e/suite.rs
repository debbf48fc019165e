//! The tests that run with every placement of modules.

mod admin;
mod answers;
mod command_line;
mod concurrency;
mod instances;
mod isolation;
mod lifecycle;
mod placement;
pub(crate) mod shop;
pub(crate) mod wire;
