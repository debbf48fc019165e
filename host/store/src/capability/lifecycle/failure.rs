//! The interface `watertight:lifecycle/failure`: a module reports why it is about to trap. Every module may import it without a grant.

use super::bindings::named_imports::watertight::lifecycle::failure::Host;
use super::bindings::watertight::lifecycle::failure::Place;
use crate::{InstanceState, ModuleIndex};

impl Host for InstanceState {
    fn report(&mut self, module: ModuleIndex, message: String, at: Option<Place>) -> wasmtime::Result<()> {
        let place = at.map(|Place { file, line, column }| (file, line, column));
        self.record_failure(
            module,
            &message,
            place.as_ref().map(|(file, line, column)| (file.as_str(), *line, *column)),
        );
        Ok(())
    }
}
