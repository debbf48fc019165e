//! The capability `random`: the random bytes of WASI 0.2 and 0.3.

use wasmtime_wasi::random::WasiRandomNamed;
use wasmtime_wasi::{p2::bindings::named_imports::wasi::random as p2, p3::bindings::named_imports::wasi::random as p3};

use super::{Capability, CapabilityLinker, declaration_of, wasi};
use crate::InstanceState;
use watertight_model::config::capability::Declaration;
use watertight_model::ids::CapabilityName;

pub(super) struct Random;

impl Capability for Random {
    fn declaration(&self) -> Declaration {
        declaration_of(CapabilityName::RANDOM)
    }

    fn add_to_linker(&self, linker: &mut CapabilityLinker<'_>) -> wasmtime::Result<()> {
        wasi::add_named!(linker, WasiRandomNamed<InstanceState>, p2::random, p2::insecure, p2::insecure_seed);
        wasi::add_named!(linker, WasiRandomNamed<InstanceState>, p3::random, p3::insecure, p3::insecure_seed);
        Ok(())
    }
}
