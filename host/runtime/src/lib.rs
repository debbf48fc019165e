//! Runs applications: links compartments, keeps instances, admits calls, and serves what modules may use.

pub mod outbound;
pub mod store;
pub mod capability;
pub mod link;
pub mod runtime;
pub mod invoke;
