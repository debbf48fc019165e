//! Reads a component's bytes: its imports and exports with their types, the section that `watertight build` adds, and its engine needs.

pub mod shape;
pub mod profile;
pub mod artifact;

// The file itself and not the crate `testkit`: that depends on the whole host, which these unit tests don't need.
#[cfg(test)]
#[allow(dead_code, unreachable_pub, reason = "the unit tests use a part of it")]
#[path = "../../testkit/src/components.rs"]
pub(crate) mod test_components;
