//! The capability `wasi:config`: the configuration values and secrets that the manifest gives the calling module.
//!
//! `get` returns a value or a secret by its key. `get-all` returns values only, so that a module that prints everything prints no secret.

use wasmtime::component::HasSelf;

use super::{Capability, CapabilityLinker, ModuleContext, SharedData, declaration_of};
use crate::{InstanceState, ModuleIndex};
use bindings::named_imports::wasi::config::store::Host;
use bindings::wasi::config::store::Error;
use watertight_model::config::ModuleValues;
use watertight_model::config::capability::Declaration;
use watertight_model::ids::CapabilityName;
use watertight_model::problem::Problems;

mod bindings {
    //! Host bindings, generated from the WIT file that guests are built against.
    #![allow(missing_docs, unreachable_pub, clippy::needless_pass_by_value)]

    wasmtime::component::bindgen!({
        path: "../../wit/config",
        inline: "package watertight:host; world capability { import wasi:config/store@0.2.0-rc.1; }",
        world: "watertight:host/capability",
        imports: { default: trappable },
        named_imports: { "wasi:config/store@0.2.0-rc.1": crate::ModuleIndex },
    });
}

pub(super) struct Config;

impl Capability for Config {
    fn declaration(&self) -> Declaration {
        declaration_of(CapabilityName::CONFIG)
    }

    fn prepare(&self, module: &ModuleContext<'_>) -> Result<Option<SharedData>, Problems> {
        Ok(Some(Box::new(module.values.clone())))
    }

    fn add_to_linker(&self, linker: &mut CapabilityLinker<'_>) -> wasmtime::Result<()> {
        let (linker, component, module) = linker.named();
        bindings::named_imports::wasi::config::store::add_to_linker::<_, HasSelf<_>>(
            linker,
            component,
            module,
            |state| state,
        )
    }
}

impl Host for InstanceState {
    fn get(&mut self, module: ModuleIndex, key: String) -> wasmtime::Result<Result<Option<String>, Error>> {
        let values = self.shared::<ModuleValues>(module)?;
        let secret = || values.secrets.get(&key).map(|secret| secret.expose().to_owned());
        Ok(Ok(values.config.get(&key).cloned().or_else(secret)))
    }

    fn get_all(&mut self, module: ModuleIndex) -> wasmtime::Result<Result<Vec<(String, String)>, Error>> {
        let values = self.shared::<ModuleValues>(module)?.config.iter();
        Ok(Ok(values.map(|(key, value)| (key.clone(), value.clone())).collect()))
    }
}
