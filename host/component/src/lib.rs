//! What a component's bytes say of it: its imports and exports with their types, and what running it takes.

pub mod shape;
pub mod profile;
pub mod artifact;

#[cfg(test)]
#[path = "../../tests/support/components.rs"]
pub(crate) mod test_components;
