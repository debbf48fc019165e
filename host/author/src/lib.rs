//! What authors of modules use: building by language, the development loop, suites.

pub mod build;
pub mod dev;
pub mod suite;
