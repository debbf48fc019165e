//! An application as a checked value: who calls whom, which route leads where, and how two applications differ. Executes nothing.

pub mod graph;
pub mod routes;
pub mod plan;
