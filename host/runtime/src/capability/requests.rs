//! `watertight:lifecycle/requests`: what a module may know of its other requests.

use super::bindings::named_imports::watertight::lifecycle::requests::Host;
use crate::store::{InstanceState, ModuleIndex};

impl Host for InstanceState {
    fn longest(&mut self, _module: ModuleIndex) -> wasmtime::Result<u64> {
        // Modules of a compartment have the same limits.
        let longest = self.call().under_way.longest();
        Ok(u64::try_from(longest.as_millis()).unwrap_or(u64::MAX))
    }
}
