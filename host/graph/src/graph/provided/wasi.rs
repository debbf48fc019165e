//! The types of WASI 0.2 as Wasmtime implements them, without `wasi:http`.
//!
//! The types come from Wasmtime's adapter for WASI preview 1, which embeds the complete WIT of the interfaces that it
//! uses. Its release is that of the engine. The linker compares types as well, but only after everything is compiled.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER;
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata, metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi};

use watertight_component::shape::{self, Interface};
use watertight_model::config::capability::WASI_2;
use watertight_model::ids::InterfaceName;

static SHAPES: LazyLock<BTreeMap<InterfaceName, Interface>> =
    LazyLock::new(|| shapes().expect("the adapter carries the interfaces that it uses"));

/// Returns the interface of WASI 0.2 that serves `import`. `None` if its types are not known.
pub(super) fn interface(import: &InterfaceName) -> Option<(&'static InterfaceName, &'static Interface)> {
    SHAPES.iter().find(|(name, _)| import.is_release_of(WASI_2) && name.unversioned() == import.unversioned())
}

/// Reads the types of WASI's interfaces. For this it generates a component that imports them all, and reads it like any other.
fn shapes() -> anyhow::Result<BTreeMap<InterfaceName, Interface>> {
    let (_, adapter) = metadata::decode(WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)?;
    let (resolve, world) = (adapter.resolve, adapter.world);
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)?;
    Ok(shape::read(&ComponentEncoder::default().module(&module)?.encode()?)?.imports)
}

#[cfg(test)]
mod tests {
    use watertight_model::config::capability::Declarations;

    use super::*;

    #[test]
    fn all_of_wasi_but_http_is_known() {
        let known: Vec<&str> = SHAPES.keys().map(InterfaceName::unversioned).collect();
        let declarations = Declarations::default();
        let (offers, _) = super::super::Offers::of(&declarations);
        for (_, row) in offers.wasi().filter(|(_, row)| row.series == WASI_2) {
            for name in row.interfaces {
                let name = format!("{}/{name}", row.package);
                assert_eq!(known.contains(&&*name), row.package != "wasi:http", "{name}");
            }
        }
        let streams: InterfaceName = "wasi:io/streams@0.2.6".parse().expect("a name");
        let (_, streams) = interface(&streams).expect("it is there");
        assert!(streams.functions.contains_key("[method]output-stream.check-write"));
    }
}
