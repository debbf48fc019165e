//! The runtime crate: links compartments, runs module instances, admits calls, and implements the capabilities that modules import.

pub mod store;
pub mod capability;
pub mod link;
pub mod runtime;
