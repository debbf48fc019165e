//! Contract suites: calls, the answers that they must get, and what the module's database must hold then, as data beside the contract.
//!
//! Any build of a module that exports the contract must pass, whatever its language. Each case runs on a state of its own with the real
//! migrations, database and compartment, on the part of the application that the module needs. The format is described in
//! `wit/README.md`.

mod expect;
mod read;
mod run;

pub use expect::Difference;
pub use read::{Case, Step, Suite, SuiteError, find};
pub use run::{CaseReport, Failure, Report, RunError, Subject};

#[cfg(test)]
mod tests;
