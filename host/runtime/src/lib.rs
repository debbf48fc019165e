//! The runtime crate: links compartments, runs module instances, and admits calls.

pub mod link;
pub mod runtime;
