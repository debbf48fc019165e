//! Watertight: a runtime for modular monoliths.
//!
//! An application is a set of modules, each a separately compiled WebAssembly component. The host loads them, links them through
//! their WIT interfaces and nothing else, gives each its own data and its own identity, and routes HTTP to them.
//!
//! This crate is what programs embed: the layers of the host, in the order of the data's way.

pub use watertight_author::{build, dev, suite};
pub use watertight_cli as cli;
pub use watertight_component::{artifact, profile, shape};
pub use watertight_control::{application, backup, control, state};
pub use watertight_disk::{failpoint, files};
pub use watertight_edge::{admin, http};
pub use watertight_engine as engine;
pub use watertight_graph::{graph, plan, routes};
pub use watertight_json as json;
pub use watertight_model::{clock, config, ids, migration, problem};
pub use watertight_runtime::{capability, invoke, link, runtime, store};
pub use watertight_sql as database;
pub use watertight_telemetry as telemetry;
