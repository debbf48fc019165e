//! The `watertight` binary. Its exit code is 0 for success, 1 for a refusal or failure, and 2 for invalid arguments.

use std::process::ExitCode;

use watertight_store::capability::Capabilities;

fn main() -> ExitCode {
    watertight_cli::main(Capabilities::default())
}
