//! The capability `clocks`: the clocks of WASI 0.2. Modules share them, because a clock carries no authority.

use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView as _};
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};

use super::{Capability, CapabilityLinker, declaration_of};
use crate::store::InstanceState;
use watertight_model::config::capability::Declaration;
use watertight_model::ids::CapabilityName;

pub(super) struct Clocks;

impl Capability for Clocks {
    fn declaration(&self) -> Declaration {
        declaration_of(CapabilityName::CLOCKS)
    }

    fn add_to_linker(&self, linker: &mut CapabilityLinker<'_>) -> wasmtime::Result<()> {
        wall_clock::add_to_linker::<_, WasiClocks>(linker.linker(), InstanceState::clocks)?;
        monotonic_clock::add_to_linker::<_, WasiClocks>(linker.linker(), InstanceState::clocks)
    }
}
