//! The capability `random`: the random bytes of WASI 0.2. Modules share the source, because it carries no authority.

use wasmtime_wasi::WasiView as _;
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};
use wasmtime_wasi::random::{WasiRandom, WasiRandomCtx};

use super::{Capability, CapabilityLinker, declaration_of};
use crate::store::InstanceState;
use watertight_model::config::capability::Declaration;
use watertight_model::ids::CapabilityName;

pub(super) struct Random;

impl Capability for Random {
    fn declaration(&self) -> Declaration {
        declaration_of(CapabilityName::RANDOM)
    }

    fn add_to_linker(&self, linker: &mut CapabilityLinker<'_>) -> wasmtime::Result<()> {
        random::add_to_linker::<_, WasiRandom>(linker.linker(), source)?;
        insecure::add_to_linker::<_, WasiRandom>(linker.linker(), source)?;
        insecure_seed::add_to_linker::<_, WasiRandom>(linker.linker(), source)
    }
}

fn source(state: &mut InstanceState) -> &mut WasiRandomCtx {
    state.ctx().ctx.random()
}
