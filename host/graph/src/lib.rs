//! The application as checked values: the module graph, the bound routes, and the plan of a change. This crate does no
//! I/O.

pub mod graph;
pub mod routes;
pub mod plan;
