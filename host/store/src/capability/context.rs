//! The capability `watertight:request`: what a module may know of the request that its call belongs to.
//!
//! The call carries it, so modules in other compartments see the same request, and no call sees the request of another.

use std::time::Instant;

use wasmtime::component::HasSelf;

use super::{Capability, CapabilityLinker, declaration_of};
use crate::{ClientInfo, InstanceState, ModuleIndex};
use bindings::named_imports::watertight::request::context::Host;
use watertight_model::config::capability::Declaration;
use watertight_model::ids::CapabilityName;

mod bindings {
    //! Host bindings, generated from the WIT file that guests are built against.
    #![allow(missing_docs, unreachable_pub, clippy::needless_pass_by_value)]

    wasmtime::component::bindgen!({
        path: "../../wit/request",
        inline: "package watertight:host; world capability { import watertight:request/context@1.0.0; }",
        world: "watertight:host/capability",
        imports: { default: trappable },
        named_imports: { "watertight:request/context@1.0.0": crate::ModuleIndex },
    });
}

pub(super) struct Context;

impl Capability for Context {
    fn declaration(&self) -> Declaration {
        declaration_of(CapabilityName::CONTEXT)
    }

    fn add_to_linker(&self, linker: &mut CapabilityLinker<'_>) -> wasmtime::Result<()> {
        let (linker, component, module) = linker.named();
        bindings::named_imports::watertight::request::context::add_to_linker::<_, HasSelf<_>>(
            linker,
            component,
            module,
            |state| state,
        )
    }
}

impl InstanceState {
    /// Returns what is known of the client, if the current call belongs to a request.
    fn client(&self) -> Option<&ClientInfo> {
        self.call().notes.request()?.client.as_deref()
    }
}

impl Host for InstanceState {
    fn request_id(&mut self, _module: ModuleIndex) -> wasmtime::Result<Option<String>> {
        let call = self.call();
        Ok(call.notes.request().map(|_| call.request.to_string()))
    }

    fn trace_id(&mut self, _module: ModuleIndex) -> wasmtime::Result<Option<String>> {
        let call = self.call();
        Ok(call.notes.request().map(|_| call.trace.id().to_string()))
    }

    fn time_left(&mut self, _module: ModuleIndex) -> wasmtime::Result<Option<u64>> {
        let call = self.call();
        let left = || call.deadline.time().saturating_duration_since(Instant::now()).as_millis();
        Ok(call.notes.request().map(|_| u64::try_from(left()).unwrap_or(u64::MAX)))
    }

    fn client_address(&mut self, _module: ModuleIndex) -> wasmtime::Result<Option<String>> {
        Ok(self.client().and_then(|client| Some(client.address?.to_string())))
    }

    fn scheme(&mut self, _module: ModuleIndex) -> wasmtime::Result<Option<String>> {
        Ok(self.client().map(|client| client.scheme.as_str().to_owned()))
    }

    fn host(&mut self, _module: ModuleIndex) -> wasmtime::Result<Option<String>> {
        Ok(self.client().and_then(|client| client.host.as_deref().map(str::to_owned)))
    }

    fn languages(&mut self, _module: ModuleIndex) -> wasmtime::Result<Vec<String>> {
        Ok(self.client().map(ClientInfo::languages).unwrap_or_default())
    }
}
