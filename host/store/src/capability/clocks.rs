//! The capability `clocks`: the clocks of WASI 0.2 and 0.3.

use wasmtime_wasi::clocks::WasiClocksNamed;
use wasmtime_wasi::{p2::bindings::named_imports::wasi::clocks as p2, p3::bindings::named_imports::wasi::clocks as p3};

use super::{Capability, CapabilityLinker, declaration_of, wasi};
use crate::InstanceState;
use watertight_model::config::capability::Declaration;
use watertight_model::ids::CapabilityName;

pub(super) struct Clocks;

impl Capability for Clocks {
    fn declaration(&self) -> Declaration {
        declaration_of(CapabilityName::CLOCKS)
    }

    fn add_to_linker(&self, linker: &mut CapabilityLinker<'_>) -> wasmtime::Result<()> {
        wasi::add_named!(linker, WasiClocksNamed<InstanceState>, p2::wall_clock, p2::monotonic_clock, p3::system_clock);
        if linker.has_concurrency() {
            wasi::add_named!(linker, WasiClocksNamed<InstanceState>, p3::monotonic_clock);
        }
        Ok(())
    }
}
