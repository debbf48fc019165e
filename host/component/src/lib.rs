//! Reads a component's bytes: its imports and exports with their types, the section that `watertight build` adds, and its engine needs.

pub mod shape;
pub mod profile;
pub mod artifact;

#[cfg(test)]
#[path = "../../tests/support/components.rs"]
pub(crate) mod test_components;
