//! The interface `watertight:lifecycle/requests`: how long other requests of the calling module can still run.

use super::bindings::named_imports::watertight::lifecycle::requests::Host;
use crate::{InstanceState, ModuleIndex};

impl Host for InstanceState {
    fn longest(&mut self, _module: ModuleIndex) -> wasmtime::Result<u64> {
        // All modules of a compartment have the same limits, so the calling module's identity is not needed.
        let longest = self.call().concurrent_calls.longest();
        Ok(u64::try_from(longest.as_millis()).unwrap_or(u64::MAX))
    }
}
