//! Wraps the functions that a component's world exports directly into an additional exported interface.
//!
//! A composed component exports interfaces only. A function exported on its own would need its types exported beside it, under names that
//! other modules may use too. Inside an interface, the names belong to that interface.

use wasm_encoder::{ComponentExportKind, ComponentExportSection, ComponentInstanceSection, ComponentSection as _};
use wasmparser::BinaryReaderError;

use super::outline::Outline;

/// The name of the additional interface.
pub(super) const WORLD: &str = "watertight-world";

/// Returns `component` with an export [`WORLD`] that holds the functions that it exports outside of interfaces, and its world's types.
pub(super) fn with_interface(mut component: Vec<u8>) -> Result<Vec<u8>, BinaryReaderError> {
    let outline = Outline::of(&component)?;
    // The types must be in the interface, but no one refers to their names.
    let types: Vec<(String, u32)> =
        outline.types.iter().enumerate().map(|(number, index)| (format!("{WORLD}-type{number}"), *index)).collect();
    let types = types.iter().map(|(name, index)| (name.as_str(), ComponentExportKind::Type, *index));
    let functions = outline.functions.iter().map(|(name, index)| (name.as_str(), ComponentExportKind::Func, *index));
    let mut section = ComponentInstanceSection::new();
    section.export_items(types.chain(functions).collect::<Vec<_>>());
    section.append_to_component(&mut component);
    let mut section = ComponentExportSection::new();
    section.export(WORLD, ComponentExportKind::Instance, outline.spaces.instances, None);
    section.append_to_component(&mut component);
    Ok(component)
}
