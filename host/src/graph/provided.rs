//! What the host itself offers: which interfaces, under which grant, with which types.
//!
//! These are the only interface names that the host knows; all of them are its own or WASI's (invariant 1).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

use crate::config::Capability;
use crate::ids::InterfaceName;
use crate::shape::{self, Interface};

/// The interface that the host calls after a start, where a module exports it.
pub const RESUME: &str = "watertight:lifecycle/resume@1.0.0";

/// How the host serves an import.
pub(super) enum Provision {
    /// In the name of the module that imports it; the types are checked against these.
    Own(Capability, &'static InterfaceName, &'static Interface),
    /// To whoever is granted the capability; the linker checks the types.
    Shared(Capability),
    /// To everybody: it is there and empty.
    Empty,
}

/// The interfaces whose every call says which module it comes from.
const OWN: [(Capability, &str); 3] = [
    (Capability::Sql, "watertight:sql/sql@1.0.0"),
    (Capability::Logging, "wasi:logging/logging@0.1.0-draft"),
    (Capability::Config, "wasi:config/store@0.2.0-rc.1"),
];

/// Their types, in the very text that authors read.
const OWN_WIT: [(&str, &str); 3] = [
    ("sql.wit", include_str!("../../../wit/sql/sql.wit")),
    ("logging.wit", include_str!("../../../wit/logging/logging.wit")),
    ("store.wit", include_str!("../../../wit/config/store.wit")),
];

static OWN_SHAPES: LazyLock<BTreeMap<InterfaceName, (Capability, Interface)>> =
    LazyLock::new(|| own_shapes().expect("the host's own contracts are valid"));

/// Reads the host's own interfaces the way any component's are read: from a component that imports them all.
fn own_shapes() -> anyhow::Result<BTreeMap<InterfaceName, (Capability, Interface)>> {
    let mut resolve = Resolve::default();
    for (file, text) in OWN_WIT {
        resolve.push_str(file, text)?;
    }
    let imports: String = OWN.iter().map(|(_, name)| format!("import {name};")).collect();
    let package = resolve.push_str("host.wit", &format!("package watertight:host; world host {{ {imports} }}"))?;
    let world = resolve.select_world(&[package], Some("host"))?;
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)?;
    let mut shape = shape::read(&ComponentEncoder::default().module(&module)?.encode()?)?;
    let entry = |(capability, name): (Capability, &str)| {
        let name: InterfaceName = name.parse()?;
        let interface = shape.imports.remove(&name).ok_or_else(|| anyhow::anyhow!("`{name}` has no functions"))?;
        Ok((name, (capability, interface)))
    };
    OWN.into_iter().map(entry).collect()
}

/// How the host serves `import`, if it does.
pub(super) fn provision(import: &InterfaceName) -> Option<Provision> {
    if let Some((name, (capability, interface))) = OWN_SHAPES.iter().find(|(name, _)| name.serves(import)) {
        return Some(Provision::Own(*capability, name, interface));
    }
    let release = import.version().is_some_and(|version| version.starts_with("0.2."));
    match import.package() {
        "wasi:clocks" if release => Some(Provision::Shared(Capability::Clocks)),
        "wasi:random" if release => Some(Provision::Shared(Capability::Random)),
        "wasi:cli" | "wasi:io" | "wasi:filesystem" | "wasi:sockets" if release => Some(Provision::Empty),
        _ => None,
    }
}

/// Versions in which the host has the interface that `import` names, for a hint.
pub(super) fn offered_versions(import: &InterfaceName) -> Vec<String> {
    OWN_SHAPES.keys().filter(|name| name.unversioned() == import.unversioned()).map(ToString::to_string).collect()
}

/// Whether two modules of a compartment can't both import this: its resources would be one and the same for both.
pub(super) fn merges_by_name(import: &InterfaceName) -> bool {
    !matches!(import.as_str().split('@').next(), Some("wasi:clocks/wall-clock") | Some("wasi:random/random"))
}
