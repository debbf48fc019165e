//! Tests of modules: contract suites, and fakes that answer in the place of a module.

pub mod expect;
pub mod fake;
pub mod suite;
