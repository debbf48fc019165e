//! Compares the packages in `wit/deps` with those that the host offers, interface by interface.
//!
//! Comments, the order of items and versions within a compatible series don't count: `wkg` prints packages in its own way, and the host
//! serves every release of a series of WASI.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use wit_component::WitPrinter;
use wit_parser::{PackageName, Resolve, UnresolvedPackageGroup};

use watertight_model::config::capability::{WASI_2, WASI_3};
use watertight_model::ids::InterfaceName;

use super::packages::{Packages, parse, unversioned};

/// The maximum number of lines that a finding shows of each side.
const MAX_LINES: usize = 40;

/// Something in `wit/deps` that is not what the host serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The package in `wit/deps`.
    pub package: PackageName,
    /// The interface of the package, with its version. `None` if it is about the whole package.
    pub interface: Option<String>,
    /// The lines that stand in `wit/deps` and not in what the host serves, then the other way around, as in a diff: with `-` or `+`. Empty if
    /// the host has no such interface.
    pub difference: Vec<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.interface.clone().unwrap_or_else(|| self.package.to_string());
        if self.difference.is_empty() {
            return write!(f, "`{what}` in wit/deps is not served by this host");
        }
        write!(f, "`{what}` in wit/deps is not what this host serves (- stands there, + is served):")?;
        self.difference.iter().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

/// Compares every package in `wit/deps` of a workspace whose namespace is that of a host with what the host offers. Returns what differs.
pub fn check(workspace: &Path, packages: &Packages) -> Vec<Finding> {
    let mut findings = Vec::new();
    let offered = offered(packages);
    for (name, folder) in super::standing(workspace) {
        let is_known = packages.iter().any(|package| package.unversioned() == unversioned(&name));
        if !is_known && !["wasi", "watertight"].contains(&name.namespace.as_str()) {
            continue;
        }
        let whole = |difference| Finding { package: name.clone(), interface: None, difference };
        let Ok(main) = UnresolvedPackageGroup::parse_dir(&folder) else { continue };
        let standing = match interfaces(main, &folder, workspace, packages) {
            Ok(standing) => standing,
            Err(error) => {
                findings.push(whole(vec![format!("- {error:#}")]));
                continue;
            }
        };
        if !is_known {
            findings.push(whole(Vec::new()));
            continue;
        }
        for (interface, text) in standing {
            let difference = match serving(&offered, &interface) {
                Some(served) if *served == text => continue,
                Some(served) => difference(&text, served),
                None => Vec::new(),
            };
            findings.push(Finding { package: name.clone(), interface: Some(interface.to_string()), difference });
        }
    }
    findings
}

/// Returns the text of the offered interface that serves `wanted`.
fn serving<'a>(offered: &'a BTreeMap<InterfaceName, String>, wanted: &InterfaceName) -> Option<&'a String> {
    let in_series = |have: &InterfaceName| {
        let both = |series| have.is_release_of(series) && wanted.is_release_of(series);
        have.unversioned() == wanted.unversioned() && wanted.namespace() == "wasi" && (both(WASI_2) || both(WASI_3))
    };
    let mut fitting: Vec<_> = offered.iter().filter(|(have, _)| have.can_serve(wanted) || in_series(have)).collect();
    // The same version comes first, and then the latest.
    fitting.sort_by(|(a, _), (b, _)| (*a == wanted).cmp(&(*b == wanted)).then(a.compare_versions(b)));
    // A part of WASI has fewer functions than the package of the same version that `wkg` fetches.
    fitting.last().map(|(_, text)| *text)
}

/// Returns the texts of all interfaces that the host offers.
fn offered(packages: &Packages) -> BTreeMap<InterfaceName, String> {
    let mut all = BTreeMap::new();
    for package in packages.iter() {
        let needs = packages.with_needs([package]).into_iter().filter(|needed| needed.name != package.name);
        let needs = needs.filter_map(|needed| parse(&needed.text).ok()).collect();
        let printed = parse(&package.text).and_then(|main| printed(main, needs));
        all.extend(printed.unwrap_or_default());
    }
    all
}

/// Returns the texts of the interfaces of a package in `wit/deps`. What it uses is taken from the workspace, or else from the host.
fn interfaces(
    main: UnresolvedPackageGroup,
    folder: &Path,
    workspace: &Path,
    packages: &Packages,
) -> anyhow::Result<BTreeMap<InterfaceName, String>> {
    let mut available = watertight_build::available(folder, workspace);
    for package in packages.iter() {
        if let Ok(group) = parse(&package.text) {
            available.entry(package.name.clone()).or_insert((folder.to_owned(), group));
        }
    }
    let (needs, _) = watertight_build::needed(&main, available);
    printed(main, needs)
}

/// Prints each interface of a package in one form: without comments and gates, and without versions of other packages.
fn printed(
    main: UnresolvedPackageGroup,
    needs: Vec<UnresolvedPackageGroup>,
) -> anyhow::Result<BTreeMap<InterfaceName, String>> {
    let mut resolve = Resolve::default();
    let pushed = resolve.push_groups(main, needs);
    let package = pushed.map_err(|error| anyhow::Error::msg(resolve.render_error(&error.into())))?;
    let mut texts = BTreeMap::new();
    for (name, id) in &resolve.packages[package].interfaces {
        let mut printer = WitPrinter::default();
        printer.emit_docs(false).print_interface(&resolve, *id)?;
        let text = printer.output.to_string();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('@')).map(without_version);
        let name: InterfaceName = resolve.packages[package].name.interface_id(name).parse()?;
        texts.insert(name, lines.collect::<Vec<_>>().join("\n"));
    }
    Ok(texts)
}

/// Removes the version of the package from a line such as `use wasi:io/poll@0.2.6.{pollable};`.
fn without_version(line: &str) -> String {
    match (line.trim_start().starts_with("use "), line.find('@'), line.find(".{")) {
        (true, Some(from), Some(to)) if from < to => format!("{}{}", &line[..from], &line[to..]),
        _ => line.to_owned(),
    }
}

/// Returns the lines that only one of two texts has, as in a diff.
fn difference(standing: &str, served: &str) -> Vec<String> {
    let only = |text: &str, other: &str, sign: char| -> Vec<String> {
        let other: Vec<&str> = other.lines().map(str::trim).collect();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !other.contains(line));
        lines.take(MAX_LINES).map(|line| format!("{sign} {line}")).collect()
    };
    let mut lines = only(standing, served, '-');
    lines.extend(only(served, standing, '+'));
    if lines.is_empty() {
        lines.push("- the same lines in another order".to_owned());
    }
    lines
}
