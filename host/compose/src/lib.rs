//! The components of a compartment as one: their composition, its identity, and the calls within it. Nothing is compiled here.

mod compose;
mod fused;
mod identity;

pub use compose::{BridgedImport, Composition, compose};
pub use fused::{CodePosition, FusedCalls, ImportedCall};
pub use identity::identity;

/// The index of a module in its compartment. It identifies the caller of a capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModuleIndex(pub u16);

/// Converts a module's position in its compartment to its index.
///
/// # Panics
///
/// If the compartment holds 65,536 modules or more, which no application does.
pub fn module_index(place: usize) -> ModuleIndex {
    ModuleIndex(u16::try_from(place).expect("a compartment holds fewer than 65,536 modules"))
}
