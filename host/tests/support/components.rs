//! Components for tests, made from WIT text alone: they have the right imports and exports, and every function traps.

#![allow(unreachable_pub, reason = "unit tests and several test binaries include this file")]

use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

/// A valid component for the world named `world` of the package in `wit`.
///
/// Further packages stand in the same text: `package a:b@1.0.0 { interface c { … } }`.
///
/// # Panics
///
/// When the text is no WIT, or has no such world.
pub fn component(wit: &str, world: &str) -> Vec<u8> {
    let mut resolve = Resolve { all_features: true, ..Resolve::default() };
    let package = resolve.push_str("test.wit", wit).unwrap_or_else(|error| panic!("{error:?}\n{wit}"));
    let world = resolve.select_world(&[package], Some(world)).unwrap_or_else(|error| panic!("{error:?}\n{wit}"));
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)
        .expect("metadata of a world that was just parsed");
    ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(ComponentEncoder::encode)
        .unwrap_or_else(|error| panic!("{error:?}\n{wit}"))
}
