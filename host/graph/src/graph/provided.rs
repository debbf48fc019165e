//! The interfaces that the host offers, with their grants and types.
//!
//! The host knows no other interface names. Those that are built in are its own or WASI's (invariant 1).

mod wasi;

use std::sync::LazyLock;

use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{LiftLowerAbi, ManglingAndAbi, PackageId, Resolve, UnresolvedPackageGroup};

use watertight_component::shape::{self, Interface};
use watertight_model::config::capability::{Declarations, WASI_2, WASI_3, WasiInterfaces};
use watertight_model::ids::{CapabilityName, InterfaceName};
use watertight_model::problem::{Code, Problem};

/// The interface `resume`: the host calls it at a start and on a schedule, if a module exports it.
pub const RESUME: &str = "watertight:lifecycle/resume@1.0.0";

/// How the host serves an import.
pub(super) enum HostService<'a> {
    /// The host serves the import with the importing module's identity. The first field is the capability that must be granted, or `None`
    /// if no grant is needed. The import's types are checked against the last field.
    WithIdentity(Option<&'a CapabilityName>, &'a InterfaceName, &'a Interface),
    /// The import is an interface of WASI. The field is the capability that must be granted, or `None` if no grant is needed.
    Wasi(Option<&'a CapabilityName>),
}

/// The interfaces whose host functions receive the calling module's identity and that need no grant: a module needs none to give the reason
/// for its failure.
const UNGRANTED: [&str; 2] = ["watertight:lifecycle/requests@1.0.0", "watertight:lifecycle/failure@1.0.0"];

/// Draft versions of the host's interfaces, under the names by which published components import them.
///
/// Each row has the name without a version, the prefix of the accepted versions, and the interface of [`OWN`] that serves
/// the draft. A name without a version is accepted too. The types of a draft are checked like all others.
const DRAFTS: [(&str, &str, &str); 3] = [
    ("wasi:config/runtime", "0.2.0-", "wasi:config/store@0.2.0-rc.1"),
    ("wasi:config/store", "0.2.0-", "wasi:config/store@0.2.0-rc.1"),
    ("wasi:logging/logging", "0.1.0-", "wasi:logging/logging@0.1.0-draft"),
];

/// Interfaces that this host can't serve, each with the reason why.
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

/// The WIT text of the interfaces in [`UNGRANTED`] and of [`RESUME`]. Module authors use the same file.
const LIFECYCLE_WIT: &str = include_str!("../../../../wit/lifecycle/lifecycle.wit");

/// The interfaces of WASI that every module may import without a grant. They carry no authority: most implementations are empty, and
/// `wasi:http/types` only has the parts of requests and responses. Capabilities declare the others.
const WASI: [WasiInterfaces; 9] = [
    WasiInterfaces::new("wasi:io", WASI_2, &["error", "poll", "streams"]),
    WasiInterfaces::new("wasi:cli", WASI_2, CLI),
    WasiInterfaces::new("wasi:cli", WASI_3, CLI),
    WasiInterfaces::new("wasi:filesystem", WASI_2, &["types", "preopens"]),
    WasiInterfaces::new("wasi:filesystem", WASI_3, &["types", "preopens"]),
    WasiInterfaces::new(
        "wasi:sockets",
        WASI_2,
        &["network", "instance-network", "ip-name-lookup", "tcp", "tcp-create-socket", "udp", "udp-create-socket"],
    ),
    WasiInterfaces::new("wasi:sockets", WASI_3, &["types", "ip-name-lookup"]),
    WasiInterfaces::new("wasi:http", WASI_2, &["types"]),
    WasiInterfaces::new("wasi:http", WASI_3, &["types"]),
];

const CLI: &[&str] = &[
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
];

/// An interface whose functions receive the calling module's identity.
struct OwnInterface {
    /// The capability that grants the interface. `None` means that no grant is needed.
    capability: Option<CapabilityName>,
    name: InterfaceName,
    interface: Interface,
}

/// The built-in interfaces whose functions receive the calling module's identity, and [`RESUME`] as the last.
static BUILT_IN: LazyLock<Vec<OwnInterface>> = LazyLock::new(|| {
    let declarations = Declarations::default();
    let capabilities = declarations.all().iter();
    let names = capabilities.flat_map(|declaration| {
        declaration.interfaces.iter().map(|name| (Some(declaration.name.clone()), name.clone()))
    });
    let ungranted = UNGRANTED.into_iter().chain([RESUME]);
    let ungranted = ungranted.map(|name| (None, name.parse().expect("the host's own names are valid")));
    let wit = declarations.all().iter().flat_map(|declaration| declaration.wit.iter().copied()).chain([LIFECYCLE_WIT]);
    read_interfaces(names.chain(ungranted).collect(), wit).expect("the host's own contracts are valid")
});

/// Reads the types of the interfaces `names` from the WIT texts `wit`. For this it generates a component that imports them all, and reads
/// it like any other.
fn read_interfaces<'a>(
    names: Vec<(Option<CapabilityName>, InterfaceName)>,
    wit: impl Iterator<Item = &'a str>,
) -> anyhow::Result<Vec<OwnInterface>> {
    let mut resolve = Resolve::default();
    for (place, text) in wit.enumerate() {
        add_package(&mut resolve, &format!("{place}.wit"), text)?;
    }
    let imports: String = names.iter().map(|(_, name)| format!("import {name};")).collect();
    let package =
        add_package(&mut resolve, "host.wit", &format!("package watertight:host; world host {{ {imports} }}"))?;
    let world = resolve.select_world(&[package], Some("host"))?;
    let mut module = dummy_module(&resolve, world, ManglingAndAbi::Legacy(LiftLowerAbi::Sync));
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false)?;
    let mut shape = shape::read(&ComponentEncoder::default().module(&module)?.encode()?)?;
    let take = |(capability, name): (Option<CapabilityName>, InterfaceName)| {
        let interface = shape.imports.remove(&name).ok_or_else(|| anyhow::anyhow!("`{name}` has no functions"))?;
        Ok(OwnInterface { capability, name, interface })
    };
    names.into_iter().map(take).collect()
}

/// Adds the package of a WIT text. `Resolve` panics if it has the package already.
fn add_package(resolve: &mut Resolve, path: &str, text: &str) -> anyhow::Result<PackageId> {
    if let Ok(package) = UnresolvedPackageGroup::parse(path, text) {
        for name in std::iter::once(&package.main).chain(&package.nested).map(|package| &package.name) {
            anyhow::ensure!(!resolve.package_names.contains_key(name), "there are two texts of the package `{name}`");
        }
    }
    resolve.push_str(path, text)
}

/// Returns the interface `resume`, which the host calls if a module exports it, with its types.
pub(super) fn resume() -> (&'static InterfaceName, &'static Interface) {
    let OwnInterface { name, interface, .. } = BUILT_IN.last().expect("it is the last");
    (name, interface)
}

/// The interfaces that a host offers: the built-in ones, and those of the capabilities that were added to it.
pub(super) struct Offers<'a> {
    declarations: &'a Declarations,
    added: Vec<OwnInterface>,
}

impl<'a> Offers<'a> {
    /// Reads the interfaces of the capabilities in `declarations` that are not built in. Returns a problem for each capability whose WIT is
    /// not valid.
    pub(super) fn of(declarations: &'a Declarations) -> (Self, Vec<Problem>) {
        let (mut added, mut problems) = (Vec::new(), Vec::new());
        for declaration in declarations.added().iter().filter(|declaration| !declaration.interfaces.is_empty()) {
            let names = declaration.interfaces.iter().map(|name| (Some(declaration.name.clone()), name.clone()));
            match read_interfaces(names.collect(), declaration.wit.iter().copied()) {
                Ok(read) => added.extend(read),
                Err(error) => {
                    let message = format!("the WIT of the capability `{}` is not valid: {error:#}", declaration.name);
                    problems.push(Problem::new(Code::BadValue, message));
                }
            }
        }
        (Self { declarations, added }, problems)
    }

    /// Iterates over the interfaces whose functions receive the calling module's identity.
    fn own(&self) -> impl Iterator<Item = &OwnInterface> {
        let (_resume, built_in) = BUILT_IN.split_last().expect("it is never empty");
        built_in.iter().chain(&self.added)
    }

    /// Iterates over the interfaces of WASI that the host offers, each with the capability that grants it. `None` in place of the capability
    /// means that no grant is needed.
    fn wasi(&self) -> impl Iterator<Item = (Option<&CapabilityName>, &'static WasiInterfaces)> {
        let granted =
            self.declarations.all().iter().flat_map(|declaration| {
                declaration.wasi.iter().map(|interfaces| (Some(&declaration.name), interfaces))
            });
        granted.chain(WASI.iter().map(|interfaces| (None, interfaces)))
    }

    /// Returns how the host serves `import`, or `None` if it does not.
    pub(super) fn provision(&self, import: &InterfaceName) -> Option<HostService<'_>> {
        let draft = draft(import);
        let served = self.own().find(|own| own.name.can_serve(import));
        if let Some(own) = served.or_else(|| self.own().find(|own| draft == Some(own.name.as_str()))) {
            return Some(HostService::WithIdentity(own.capability.as_ref(), &own.name, &own.interface));
        }
        let (capability, _) = self.wasi().find(|(_, interfaces)| interfaces.contain(import))?;
        Some(HostService::Wasi(capability))
    }

    /// Lists the host's interfaces closest to `import`, for a help text: other versions of it, else interfaces of its
    /// package, else everything.
    pub(super) fn nearest(&self, import: &InterfaceName) -> String {
        let own = self.own().map(|own| &own.name);
        let others = own.filter(|name| name.unversioned() == import.unversioned());
        let mut found: Vec<String> = others.map(ToString::to_string).collect();
        let of_package = self.wasi().map(|(_, row)| row).filter(|row| row.package == import.package());
        found.extend(of_package.flat_map(|WasiInterfaces { package, series, interfaces }| {
            interfaces.iter().map(move |interface| format!("{package}/{interface}@{series}x"))
        }));
        if found.is_empty() {
            found = self.own().map(|own| own.name.to_string()).collect();
            found.sort();
            let mut packages: Vec<_> = self.wasi().map(|(_, row)| format!("{}@{}x", row.package, row.series)).collect();
            packages.sort();
            packages.dedup();
            found.extend(packages);
        }
        found.join(", ")
    }
}

/// Returns the host's interface that serves `import`, if `import` is a known draft version of it. `None` if it is not.
fn draft(import: &InterfaceName) -> Option<&'static str> {
    let fits = |series: &str| import.version().is_none_or(|version| version.starts_with(series));
    let (.., served) = DRAFTS.iter().find(|(name, series, _)| *name == import.unversioned() && fits(series))?;
    Some(served)
}

/// Whether the host calls an export of that name.
pub fn is_called_by_host(export: &InterfaceName) -> bool {
    export.can_serve(resume().0)
}

/// Returns the reason why the host can't serve `import`. `None` if no such reason is known.
pub(super) fn unservable(import: &InterfaceName) -> Option<&'static str> {
    UNSERVABLE.iter().find(|(name, _)| *name == import.unversioned()).map(|(_, why)| *why)
}

/// Whether `import` is the HTTP handler by which a middleware of WASI 0.3 passes requests on. The host serves it to middlewares.
pub fn is_passing_import(import: &InterfaceName) -> bool {
    import.unversioned() == "wasi:http/handler" && import.is_release_of(WASI_3)
}

/// Whether `import` is an HTTP handler, in whatever version. Unlike the other interfaces of WASI, a module of the application may serve it.
pub fn is_handler(import: &InterfaceName) -> bool {
    matches!(import.unversioned(), "wasi:http/handler" | "wasi:http/incoming-handler")
}

/// Whether the interface's namespace is one that hosts implement (`wasi` or `watertight`). No module of an application
/// provides such an interface.
pub fn is_host_namespace(import: &InterfaceName) -> bool {
    matches!(import.namespace(), "wasi" | "watertight")
}

/// Returns the interface that the host serves for `import`, a WASI interface. `None` if its types are not known.
pub(super) fn wasi_interface(import: &InterfaceName) -> Option<(&'static InterfaceName, &'static Interface)> {
    wasi::interface(import)
}

/// The interfaces of WASI that all modules of a compartment share: they define resources, which other interfaces use. What such a resource
/// may do was decided when another interface made it. The functions of all other interfaces receive the identity of the calling module.
///
/// Each row has a package and its interfaces.
const SHARED: [(&str, &[&str]); 4] = [
    ("wasi:io", &["error", "poll", "streams"]),
    ("wasi:cli", &["terminal-input", "terminal-output"]),
    ("wasi:filesystem", &["types"]),
    ("wasi:http", &["types"]),
];

/// Whether all modules of a compartment share this interface of WASI. The sockets are shared too: they deny everything.
pub(super) fn is_shared(import: &InterfaceName) -> bool {
    let is_listed =
        |(package, interfaces): &(&str, &[&str])| *package == import.package() && interfaces.contains(&import.short());
    import.package() == "wasi:sockets" || SHARED.iter().any(is_listed)
}

#[cfg(test)]
mod tests {
    use watertight_model::config::capability::Declaration;

    use super::*;

    fn name(text: &str) -> InterfaceName {
        text.parse().expect("a name")
    }

    #[test]
    fn the_host_has_its_own_interfaces_and_wasi_in_releases() {
        let declarations = Declarations::default();
        let (offers, problems) = Offers::of(&declarations);
        assert!(problems.is_empty());
        let own = name("watertight:sql/sql@1.0.0");
        let Some(HostService::WithIdentity(Some(capability), _, interface)) = offers.provision(&own) else { panic!() };
        assert!(capability.as_str() == CapabilityName::SQL && !interface.is_types_only());
        assert!(matches!(
            offers.provision(&name("watertight:lifecycle/failure@1.0.0")),
            Some(HostService::WithIdentity(None, ..))
        ));
        for clock in ["wasi:clocks/wall-clock@0.2.99", "wasi:clocks/system-clock@0.3.2"] {
            let clock = offers.provision(&name(clock));
            assert!(
                matches!(clock, Some(HostService::Wasi(Some(capability))) if capability.as_str() == CapabilityName::CLOCKS)
            );
        }
        for ungranted in ["wasi:cli/stdout@0.2.0", "wasi:http/types@0.2.6", "wasi:http/types@0.3.0"] {
            assert!(matches!(offers.provision(&name(ungranted)), Some(HostService::Wasi(None))), "{ungranted}");
        }
        for granted in ["wasi:http/outgoing-handler@0.2.6", "wasi:http/client@0.3.0"] {
            assert!(
                matches!(offers.provision(&name(granted)), Some(HostService::Wasi(Some(capability))) if capability.as_str() == CapabilityName::HTTP)
            );
        }
        for absent in [
            "watertight:sql/sql@1.1.0",
            "watertight:sql/sql",
            "watertight:lifecycle/resume@1.0.0",
            "wasi:clocks/wall-clock@0.2.0-rc-2023-11-10",
            "wasi:clocks/wall-clock@0.3.0",
            "wasi:clocks/system-clock@0.2.0",
            "wasi:clocks/sundial@0.2.0",
            "wasi:logging/logging@0.1.0",
            "wasi:config/runtime@0.1.0-draft",
            "wasi:keyvalue/atomics@0.2.0-draft2",
            "wasi:http/outgoing-handler@0.3.0",
            "wasi:http/incoming-handler@0.2.0",
        ] {
            assert!(offers.provision(&name(absent)).is_none(), "{absent}");
        }
        let last = BUILT_IN.last().expect("it is never empty");
        assert_eq!(last.name.as_str(), RESUME);
    }

    #[test]
    fn drafts_are_served_by_what_became_of_them() {
        let declarations = Declarations::default();
        let (offers, _) = Offers::of(&declarations);
        for (draft, served) in [
            ("wasi:config/runtime@0.2.0-draft", "wasi:config/store@0.2.0-rc.1"),
            ("wasi:config/store@0.2.0-draft", "wasi:config/store@0.2.0-rc.1"),
            ("wasi:config/store@0.2.0-draft-2024-09-27", "wasi:config/store@0.2.0-rc.1"),
            ("wasi:config/store@0.2.0-rc.1", "wasi:config/store@0.2.0-rc.1"),
            ("wasi:logging/logging", "wasi:logging/logging@0.1.0-draft"),
        ] {
            let found = offers.provision(&name(draft));
            assert!(matches!(found, Some(HostService::WithIdentity(_, name, _)) if name.as_str() == served), "{draft}");
        }
        assert!(unservable(&name("wasi:keyvalue/batch@0.2.0-draft")).is_some());
        assert!(DRAFTS.iter().all(|(.., served)| offers.own().any(|own| own.name.as_str() == *served)));
    }

    #[test]
    fn every_interface_of_the_tables_has_a_well_formed_name() {
        let declarations = Declarations::default();
        let (offers, _) = Offers::of(&declarations);
        for (_, WasiInterfaces { package, series, interfaces }) in offers.wasi() {
            for interface in *interfaces {
                assert!(offers.provision(&name(&format!("{package}/{interface}@{series}6"))).is_some());
            }
        }
        let offered = |package, interface| {
            offers.wasi().any(|(_, row)| row.package == package && row.interfaces.contains(interface))
        };
        assert!(SHARED.iter().all(|(package, shared)| shared.iter().all(|interface| offered(*package, interface))));
    }

    #[test]
    fn an_added_capability_offers_its_interfaces() {
        let geo = |wit| {
            let declared = Declaration::new("geo".parse().expect("a name")).interface(name("acme:geo/lookup@1.0.0"));
            Declarations::with([declared.wit(wit)]).expect("nothing clashes")
        };
        let declarations = geo("package acme:geo@1.0.0; interface lookup { country: func(ip: string) -> string; }");
        let (offers, problems) = Offers::of(&declarations);
        assert!(problems.is_empty(), "{problems:?}");
        let found = offers.provision(&name("acme:geo/lookup@1.0.0"));
        assert!(matches!(found, Some(HostService::WithIdentity(Some(geo), ..)) if geo.as_str() == "geo"));

        for wrong in ["package acme:geo@1.0.0;", "package watertight:host; interface lookup { f: func(); }"] {
            let declarations = geo(wrong);
            let (offers, problems) = Offers::of(&declarations);
            assert!(offers.provision(&name("acme:geo/lookup@1.0.0")).is_none());
            assert!(problems[0].message.starts_with("the WIT of the capability `geo` is not valid"), "{problems:?}");
        }
        let text = "package acme:geo@1.0.0; interface lookup { f: func(); }";
        let twice = Declaration::new("geo".parse().expect("a name")).interface(name("acme:geo/lookup@1.0.0"));
        let declarations = Declarations::with([twice.wit(text).wit(text)]).expect("nothing clashes");
        let (_, problems) = Offers::of(&declarations);
        assert!(problems[0].message.contains("there are two texts of the package `acme:geo@1.0.0`"), "{problems:?}");
    }
}
