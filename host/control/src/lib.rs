//! Changes of a running application, and the state folder that outlives the process.

pub mod state;
pub mod backup;
pub mod application;
pub mod control;
