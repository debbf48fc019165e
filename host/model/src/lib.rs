//! What an application says of itself: names, problems, configuration, migrations. Knows no engine, and reads files only.

pub mod clock;
pub mod ids;
pub mod problem;
pub mod migration;
pub mod config;
