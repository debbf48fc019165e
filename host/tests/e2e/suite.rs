//! The suite, whichever way modules are placed.

mod admin;
mod answers;
pub(crate) mod app;
pub(crate) mod client;
mod command_line;
mod instances;
mod isolation;
mod lifecycle;
mod placement;
pub(crate) mod shop;
pub(crate) mod wire;
