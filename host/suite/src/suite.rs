//! Contract suites: tests of a module as JSON files beside the contract. A suite has calls, their expected answers, and database contents.
//!
//! Every build of a module that exports the contract must pass, in any language. Each case runs on its own state, with the real
//! migrations, databases and compartments of the part of the application that the module needs. `wit/README.md` describes the format.

mod read;
mod run;
mod variant;

pub use crate::expect::Difference;
pub use read::{Case, Step, Suite, SuiteError, find};
pub use run::{CaseReport, Failure, ModuleUnderTest, Recorded, Report, RunError};
pub use variant::{code_folder, reduce};

#[cfg(test)]
mod tests;
