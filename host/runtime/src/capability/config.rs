//! The capability `wasi:config`: the configuration values and secrets that the manifest gives the calling module.
//!
//! `get` returns a value or a secret by its key. `get-all` returns values only, so that a module that prints everything prints no secret.

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
