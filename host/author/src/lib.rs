//! Tools for authors of modules: builds for each language, change detection for `watertight dev`, fakes, and contract suites.

pub mod build;
pub mod dev;
pub mod expect;
pub mod fake;
pub mod suite;
