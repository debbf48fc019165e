//! The interfaces that the host offers, with their grants and types.
//!
//! These are the only interface names that the host knows. All of them are its own or WASI's (invariant 1).

mod wasi;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, Resolve};

use watertight_component::shape::{self, Interface};
use watertight_model::config::Capability;
use watertight_model::ids::InterfaceName;

/// The interface that the host calls at a start and on a schedule, if a module exports it.
pub const RESUME: &str = "watertight:lifecycle/resume@1.0.0";

/// How the host serves an import.
pub(super) enum HostService {
    /// The host serves the import with the importing module's identity. The first field is the capability that must be
    /// granted, if any. The import's types are checked against the interface.
    WithIdentity(Option<Capability>, &'static InterfaceName, &'static Interface),
    /// The host serves the import to every module that has the capability. The linker checks the types.
    Shared(Capability),
    /// The host serves an empty implementation to every module.
    Stub,
}

/// The interfaces whose host functions receive the calling module's identity, each with the capability that grants it.
const OWN: [(Option<Capability>, &str); 6] = [
    (Some(Capability::Sql), "watertight:sql/sql@1.0.0"),
    (Some(Capability::Logging), "wasi:logging/logging@0.1.0-draft"),
    (Some(Capability::Config), "wasi:config/store@0.2.0-rc.1"),
    (Some(Capability::Keyvalue), "wasi:keyvalue/store@0.2.0-draft2"),
    (None, "watertight:lifecycle/requests@1.0.0"),
    // A module needs no grant to give the reason for its failure.
    (None, "watertight:lifecycle/failure@1.0.0"),
];

/// Draft versions of the host's interfaces, under the names by which published components import them.
///
/// Each row has the name without a version, the prefix of the accepted versions, and the interface of [`OWN`] that serves
/// the draft. A name without a version is accepted too. The types of a draft are checked like all others.
const DRAFTS: [(&str, &str, &str); 3] = [
    ("wasi:config/runtime", "0.2.0-", "wasi:config/store@0.2.0-rc.1"),
    ("wasi:config/store", "0.2.0-", "wasi:config/store@0.2.0-rc.1"),
    ("wasi:logging/logging", "0.1.0-", "wasi:logging/logging@0.1.0-draft"),
];

/// Interfaces that this host can't serve, each with the reason.
const UNSERVABLE: [(&str, &str); 2] = [
    (
        "wasi:keyvalue/atomics",
        "its buckets are those of `wasi:keyvalue/store`, so a call doesn't say which module makes it",
    ),
    (
        "wasi:keyvalue/batch",
        "its buckets are those of `wasi:keyvalue/store`, so a call doesn't say which module makes it",
    ),
];

/// The WIT text of the host's interfaces. Module authors use the same files.
const OWN_WIT: [(&str, &str); 5] = [
    ("sql.wit", include_str!("../../../../wit/sql/sql.wit")),
    ("logging.wit", include_str!("../../../../wit/logging/logging.wit")),
    ("store.wit", include_str!("../../../../wit/config/store.wit")),
    ("keyvalue.wit", include_str!("../../../../wit/keyvalue/store.wit")),
    ("lifecycle.wit", include_str!("../../../../wit/lifecycle/lifecycle.wit")),
];

/// The interfaces of WASI 0.2 that the host serves to every module in the same way. The crate `runtime` defines their
/// functions.
///
/// Each row has a package, the capability that grants it, and the package's interfaces. `None` means that the
/// implementation is empty.
const WASI: [(&str, Option<Capability>, &[&str]); 7] = [
    ("wasi:clocks", Some(Capability::Clocks), &["wall-clock", "monotonic-clock"]),
    ("wasi:random", Some(Capability::Random), &["random", "insecure", "insecure-seed"]),
    ("wasi:http", Some(Capability::Http), &["types", "outgoing-handler"]),
    ("wasi:io", None, &["error", "poll", "streams"]),
    (
        "wasi:cli",
        None,
        &[
            "environment",
            "exit",
            "stdin",
            "stdout",
            "stderr",
            "terminal-input",
            "terminal-output",
            "terminal-stdin",
            "terminal-stdout",
            "terminal-stderr",
        ],
    ),
    ("wasi:filesystem", None, &["types", "preopens"]),
    (
        "wasi:sockets",
        None,
        &["network", "instance-network", "ip-name-lookup", "tcp", "tcp-create-socket", "udp", "udp-create-socket"],
    ),
];
/// The prefix of the WASI versions that the host serves.
const WASI_SERIES: &str = "0.2.";

/// The shapes of the host's own contracts.
struct OwnShapes {
    /// The interfaces that the host serves.
    served: BTreeMap<InterfaceName, (Option<Capability>, Interface)>,
    /// The interface that the host calls: [`RESUME`].
    resume: (InterfaceName, Interface),
}

static OWN_SHAPES: LazyLock<OwnShapes> = LazyLock::new(|| own_shapes().expect("the host's own contracts are valid"));

/// Reads the host's own interfaces from a generated component that imports them all, as any component is read.
fn own_shapes() -> anyhow::Result<OwnShapes> {
    let mut resolve = Resolve::default();
    for (file, text) in OWN_WIT {
        resolve.push_str(file, text)?;
    }
    let names = OWN.iter().map(|(_, name)| *name).chain([RESUME]);
    let imports: String = names.map(|name| format!("import {name};")).collect();
    let package = resolve.push_str("host.wit", &format!("package watertight:host; world host {{ {imports} }}"))?;
    let world = resolve.select_world(&[package], Some("host"))?;
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)?;
    let mut shape = shape::read(&ComponentEncoder::default().module(&module)?.encode()?)?;
    let mut take = |name: &str| {
        let name: InterfaceName = name.parse()?;
        let interface = shape.imports.remove(&name).ok_or_else(|| anyhow::anyhow!("`{name}` has no functions"))?;
        anyhow::Ok((name, interface))
    };
    let mut entry = |(capability, name)| take(name).map(|(name, interface)| (name, (capability, interface)));
    let served = OWN.into_iter().map(&mut entry).collect::<anyhow::Result<_>>()?;
    Ok(OwnShapes { served, resume: take(RESUME)? })
}

/// The interface that the host calls if a module exports it, with its types.
pub(super) fn resume() -> (&'static InterfaceName, &'static Interface) {
    let (name, interface) = &OWN_SHAPES.resume;
    (name, interface)
}

/// Returns how the host serves `import`, or `None` if it does not.
pub(super) fn provision(import: &InterfaceName) -> Option<HostService> {
    let own = |served: &str| OWN_SHAPES.served.iter().find(|(name, _)| name.as_str() == served);
    let served = OWN_SHAPES.served.iter().find(|(name, _)| name.can_serve(import));
    if let Some((name, (capability, interface))) = served.or_else(|| own(draft(import)?)) {
        return Some(HostService::WithIdentity(*capability, name, interface));
    }
    let (_, capability, interfaces) = WASI.iter().find(|(package, ..)| *package == import.package())?;
    let there = interfaces.contains(&import.short()) && import.is_release_of(WASI_SERIES);
    there.then(|| capability.map_or(HostService::Stub, HostService::Shared))
}

/// The host's interface that serves a draft.
fn draft(import: &InterfaceName) -> Option<&'static str> {
    let fits = |series: &str| import.version().is_none_or(|version| version.starts_with(series));
    let (.., served) = DRAFTS.iter().find(|(name, series, _)| *name == import.unversioned() && fits(series))?;
    Some(served)
}

/// The host's own interface that serves `import` with the importing module's identity. For a draft, its name differs from
/// the imported one.
pub fn host_interface_for(import: &InterfaceName) -> Option<&'static InterfaceName> {
    match provision(import) {
        Some(HostService::WithIdentity(_, name, _)) => Some(name),
        _ => None,
    }
}

/// Whether the host calls an export of that name.
pub fn is_called_by_host(export: &InterfaceName) -> bool {
    export.can_serve(resume().0)
}

/// The known reason why the host can't serve `import`.
pub(super) fn unservable(import: &InterfaceName) -> Option<&'static str> {
    UNSERVABLE.iter().find(|(name, _)| *name == import.unversioned()).map(|(_, why)| *why)
}

/// Whether the interface's namespace is one that hosts implement (`wasi` or `watertight`). No module of an application
/// provides such an interface.
pub fn is_host_namespace(import: &InterfaceName) -> bool {
    matches!(import.namespace(), "wasi" | "watertight")
}

/// The interface that the host serves for an import of WASI, if its types are known.
pub(super) fn wasi_interface(import: &InterfaceName) -> Option<(&'static InterfaceName, &'static Interface)> {
    wasi::interface(import)
}

/// Lists the host's interfaces closest to `import`, for a help text: other versions of it, else interfaces of its
/// package, else everything.
pub(super) fn nearest(import: &InterfaceName) -> String {
    let own = OWN_SHAPES.served.keys();
    let mut found: Vec<String> =
        own.clone().filter(|name| name.unversioned() == import.unversioned()).map(ToString::to_string).collect();
    let packages = WASI.iter().filter(|(package, ..)| *package == import.package());
    found.extend(packages.flat_map(|(package, _, interfaces)| {
        interfaces.iter().map(move |interface| format!("{package}/{interface}@{WASI_SERIES}x"))
    }));
    if found.is_empty() {
        found = own.map(ToString::to_string).collect();
        found.extend(WASI.iter().map(|(package, ..)| format!("{package}@{WASI_SERIES}x")));
    }
    found.join(", ")
}

/// Whether all modules of a compartment would share this import, so that two of them can't have it. Clocks, random bytes
/// and streams can be shared, because they hold no state of one module.
pub(super) fn is_exclusive(import: &InterfaceName) -> bool {
    !matches!(import.package(), "wasi:clocks" | "wasi:random" | "wasi:io")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> InterfaceName {
        text.parse().expect("a name")
    }

    #[test]
    fn the_host_has_its_own_interfaces_and_wasi_in_releases() {
        let own = provision(&name("watertight:sql/sql@1.0.0"));
        assert!(
            matches!(own, Some(HostService::WithIdentity(Some(Capability::Sql), _, interface)) if !interface.is_types_only())
        );
        assert!(matches!(
            provision(&name("watertight:lifecycle/failure@1.0.0")),
            Some(HostService::WithIdentity(None, ..))
        ));
        let clock = provision(&name("wasi:clocks/wall-clock@0.2.99"));
        assert!(matches!(clock, Some(HostService::Shared(Capability::Clocks))));
        assert!(matches!(provision(&name("wasi:cli/stdout@0.2.0")), Some(HostService::Stub)));
        for absent in [
            "watertight:sql/sql@1.1.0",
            "watertight:sql/sql",
            "wasi:clocks/wall-clock@0.2.0-rc-2023-11-10",
            "wasi:clocks/wall-clock@0.3.0",
            "wasi:clocks/sundial@0.2.0",
            "wasi:logging/logging@0.1.0",
            "wasi:config/runtime@0.1.0-draft",
            "wasi:keyvalue/atomics@0.2.0-draft2",
            "wasi:http/outgoing-handler@0.3.0",
            "wasi:http/incoming-handler@0.2.0",
        ] {
            assert!(provision(&name(absent)).is_none(), "{absent}");
        }
    }

    #[test]
    fn drafts_are_served_by_what_became_of_them() {
        for (draft, served) in [
            ("wasi:config/runtime@0.2.0-draft", "wasi:config/store@0.2.0-rc.1"),
            ("wasi:config/store@0.2.0-draft", "wasi:config/store@0.2.0-rc.1"),
            ("wasi:config/store@0.2.0-draft-2024-09-27", "wasi:config/store@0.2.0-rc.1"),
            ("wasi:config/store@0.2.0-rc.1", "wasi:config/store@0.2.0-rc.1"),
            ("wasi:logging/logging", "wasi:logging/logging@0.1.0-draft"),
        ] {
            assert_eq!(host_interface_for(&name(draft)).map(InterfaceName::as_str), Some(served), "{draft}");
        }
        assert!(unservable(&name("wasi:keyvalue/batch@0.2.0-draft")).is_some());
        assert!(DRAFTS.iter().all(|(.., served)| OWN.iter().any(|(_, own)| own == served)));
    }

    #[test]
    fn every_interface_of_the_tables_has_a_well_formed_name() {
        for (package, _, interfaces) in WASI {
            for interface in interfaces {
                assert!(provision(&name(&format!("{package}/{interface}@{WASI_SERIES}6"))).is_some());
            }
        }
        assert_eq!(OWN_SHAPES.served.len(), OWN.len());
    }
}
