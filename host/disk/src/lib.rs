//! Files that last, and the points at which tests end the process that writes them.

pub mod failpoint;
pub mod files;
