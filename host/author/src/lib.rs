//! Tools for authors of modules: builds for each language, change detection for `watertight dev`, and contract suites.

pub mod build;
pub mod dev;
pub mod sdk;
pub mod suite;
