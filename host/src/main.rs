//! The `watertight` binary: reads what it is asked, does it, and says how it went by its exit code: 0 fine, 1 refused or failed,
//! 2 not understood.

use std::process::ExitCode;

fn main() -> ExitCode {
    watertight::failpoint::init();
    watertight::cli::run(watertight::cli::Cli::read())
}
