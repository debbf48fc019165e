//! `wasi:config`: the values that the manifest gives the calling module, and its secrets. A secret is told to who asks for it by its
//! name; whoever asks for everything, perhaps to print it, is told no secret.

use super::bindings::named_imports::wasi::config::store::Host;
use super::bindings::wasi::config::store::Error;
use crate::store::{InstanceState, ModuleIndex};

impl Host for InstanceState {
    fn get(&mut self, module: ModuleIndex, key: String) -> wasmtime::Result<Result<Option<String>, Error>> {
        let values = &self.module(module).values;
        let secret = || values.secrets.get(&key).map(|secret| secret.expose().to_owned());
        Ok(Ok(values.config.get(&key).cloned().or_else(secret)))
    }

    fn get_all(&mut self, module: ModuleIndex) -> wasmtime::Result<Result<Vec<(String, String)>, Error>> {
        let values = self.module(module).values.config.iter();
        Ok(Ok(values.map(|(key, value)| (key.clone(), value.clone())).collect()))
    }
}
