//! Durable files, the identity of files, and crash points at which tests kill the process that writes.

pub mod failpoint;
pub mod files;
