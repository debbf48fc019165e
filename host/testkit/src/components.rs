//! Builds components for tests from text, with given imports and exports.

use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve, WorldId};

/// Builds a valid component for the world `world` of the package in `wit`. Each of its functions traps.
///
/// The text may contain further packages: `package a:b@1.0.0 { interface c { … } }`.
///
/// # Panics
///
/// If the text is not valid WIT or has no such world.
pub fn component(wit: &str, world: &str) -> Vec<u8> {
    encode(wit, world, |resolve, world| dummy_module(resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync)))
}

/// Builds a component for the world `world` of the package in `wit` from a core module in WAT text.
///
/// # Panics
///
/// If one of the texts is not valid, or the core module does not match the world.
pub fn component_of(wit: &str, world: &str, core: &str) -> Vec<u8> {
    encode(wit, world, |_, _| wat::parse_str(core).unwrap_or_else(|error| panic!("{error}\n{core}")))
}

fn encode(wit: &str, world: &str, core: impl FnOnce(&Resolve, WorldId) -> Vec<u8>) -> Vec<u8> {
    let mut resolve = Resolve { all_features: true, ..Resolve::default() };
    let package = resolve.push_str("test.wit", wit).unwrap_or_else(|error| panic!("{error:?}\n{wit}"));
    let world = resolve.select_world(&[package], Some(world)).unwrap_or_else(|error| panic!("{error:?}\n{wit}"));
    let mut module = core(&resolve, world);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)
        .expect("metadata of a world that was just parsed");
    ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(ComponentEncoder::encode)
        .unwrap_or_else(|error| panic!("{error:?}\n{wit}"))
}
