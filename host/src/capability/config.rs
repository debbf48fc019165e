//! `wasi:config`: the values that the manifest gives the calling module.

use super::bindings::named_imports::wasi::config::store::Host;
use super::bindings::wasi::config::store::Error;
use crate::store::{InstanceState, ModuleIndex};

impl Host for InstanceState {
    fn get(&mut self, module: ModuleIndex, key: String) -> wasmtime::Result<Result<Option<String>, Error>> {
        Ok(Ok(self.module(module).config.get(&key).cloned()))
    }

    fn get_all(&mut self, module: ModuleIndex) -> wasmtime::Result<Result<Vec<(String, String)>, Error>> {
        let values = self.module(module).config.iter();
        Ok(Ok(values.map(|(key, value)| (key.clone(), value.clone())).collect()))
    }
}
