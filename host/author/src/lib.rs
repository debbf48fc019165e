//! Tools for authors of modules: change detection for `watertight dev`, fakes, contract suites, the WIT of the
//! host, and new applications and modules from templates.

pub mod dev;
pub mod expect;
pub mod fake;
pub mod suite;
pub mod staged;
pub mod wit;
pub mod new;
pub mod explain;
