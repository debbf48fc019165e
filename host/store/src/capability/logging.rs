//! The capability `wasi:logging`: writes a module's log lines into the host's log, with the module's name and the request's id.

use tracing::Level;
use wasmtime::component::HasSelf;

use super::{Capability, CapabilityLinker, declaration_of};
use crate::{InstanceState, ModuleIndex};
use bindings::named_imports::wasi::logging::logging::Host;
use bindings::wasi::logging::logging::Level as GuestLevel;
use watertight_model::config::capability::Declaration;
use watertight_model::ids::CapabilityName;

mod bindings {
    //! Host bindings, generated from the WIT file that guests are built against.
    #![allow(missing_docs, unreachable_pub, clippy::needless_pass_by_value)]

    wasmtime::component::bindgen!({
        path: "../../wit/logging",
        inline: "package watertight:host; world capability { import wasi:logging/logging@0.1.0-draft; }",
        world: "watertight:host/capability",
        imports: { default: trappable },
        named_imports: { "wasi:logging/logging@0.1.0-draft": crate::ModuleIndex },
    });
}

pub(super) struct Logging;

impl Capability for Logging {
    fn declaration(&self) -> Declaration {
        declaration_of(CapabilityName::LOGGING)
    }

    fn add_to_linker(&self, linker: &mut CapabilityLinker<'_>) -> wasmtime::Result<()> {
        let (linker, component, module) = linker.named();
        bindings::named_imports::wasi::logging::logging::add_to_linker::<_, HasSelf<_>>(
            linker,
            component,
            module,
            |state| state,
        )
    }
}

impl Host for InstanceState {
    fn log(
        &mut self,
        module: ModuleIndex,
        level: GuestLevel,
        context: String,
        message: String,
    ) -> wasmtime::Result<()> {
        let level = match level {
            GuestLevel::Trace => Level::TRACE,
            GuestLevel::Debug => Level::DEBUG,
            GuestLevel::Info => Level::INFO,
            GuestLevel::Warn => Level::WARN,
            GuestLevel::Error | GuestLevel::Critical => Level::ERROR,
        };
        self.guest_log(module).write(level, &context, &message);
        Ok(())
    }
}
