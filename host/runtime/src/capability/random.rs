//! The capability `random`: the random bytes of WASI 0.2.

use wasmtime_wasi::p2::bindings::named_imports::wasi::random::{insecure, insecure_seed, random};
use wasmtime_wasi::random::WasiRandomNamed;

use super::{Capability, CapabilityLinker, declaration_of, wasi};
use crate::store::InstanceState;
use watertight_model::config::capability::Declaration;
use watertight_model::ids::CapabilityName;

pub(super) struct Random;

impl Capability for Random {
    fn declaration(&self) -> Declaration {
        declaration_of(CapabilityName::RANDOM)
    }

    fn add_to_linker(&self, linker: &mut CapabilityLinker<'_>) -> wasmtime::Result<()> {
        wasi::add_named!(linker, WasiRandomNamed<InstanceState>, random, insecure, insecure_seed);
        Ok(())
    }
}
