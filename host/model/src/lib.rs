//! The application on paper: names, problems, configuration and migrations as checked types. Knows no engine; of the disk it only reads.

pub mod clock;
pub mod ids;
pub mod problem;
pub mod migration;
pub mod config;
