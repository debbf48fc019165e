//! The capability `clocks`: the clocks of WASI 0.2.

use wasmtime_wasi::clocks::WasiClocksNamed;
use wasmtime_wasi::p2::bindings::named_imports::wasi::clocks::{monotonic_clock, wall_clock};

use super::{Capability, CapabilityLinker, declaration_of, wasi};
use crate::store::InstanceState;
use watertight_model::config::capability::Declaration;
use watertight_model::ids::CapabilityName;

pub(super) struct Clocks;

impl Capability for Clocks {
    fn declaration(&self) -> Declaration {
        declaration_of(CapabilityName::CLOCKS)
    }

    fn add_to_linker(&self, linker: &mut CapabilityLinker<'_>) -> wasmtime::Result<()> {
        wasi::add_named!(linker, WasiClocksNamed<InstanceState>, wall_clock, monotonic_clock);
        Ok(())
    }
}
