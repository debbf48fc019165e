//! Starts, changes and backs up an application, and owns the state folder that outlives the process.

pub mod invoke;
pub mod state;
pub mod backup;
pub mod application;
pub mod control;
