//! A host like `watertight`, with all its commands, whose modules can also be granted `rates`: exchange rates of currencies.

mod capability;

use std::process::ExitCode;
use std::sync::Arc;

use watertight::capability::Capabilities;

fn main() -> ExitCode {
    let capabilities =
        Capabilities::with([Arc::new(capability::Rates) as _]).expect("no built-in capability is called `rates`");
    watertight::main(capabilities)
}
