//! The functions that a component's world exports itself, as one more exported interface.
//!
//! A composition exports interfaces. A function that stands alone would need its types to be exported beside it, under names that those
//! of other modules may have as well. Inside an interface they are its own.

use wasm_encoder::{ComponentExportKind, ComponentExportSection, ComponentInstanceSection, ComponentSection as _};
use wasmparser::BinaryReaderError;

use super::outline::Outline;

/// The name of that interface.
pub(super) const WORLD: &str = "watertight-world";

/// `component` with an export [`WORLD`] that holds every function that it exports outside of an interface, and the types of its world.
pub(super) fn with_interface(mut component: Vec<u8>) -> Result<Vec<u8>, BinaryReaderError> {
    let outline = Outline::of(&component)?;
    // Nobody names these types: they have to be there.
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
