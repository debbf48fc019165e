//! Tools for authors of modules: change detection for `watertight dev`, the WIT of the host, new applications and modules from templates, and
//! libraries for modules.

pub mod dev;
pub mod staged;
pub mod wit;
pub mod new;
pub mod sdk;
pub mod explain;
