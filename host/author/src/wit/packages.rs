//! The WIT packages that a host offers, with their texts.

use std::collections::BTreeSet;

use include_dir::{Dir, include_dir};
use wit_parser::{PackageName, UnresolvedPackageGroup};

use watertight_model::config::capability::Declarations;

use super::WitError;

/// The texts of the host's packages that need no grant.
const UNGRANTED: [&str; 1] = [include_str!("../../../../wit/lifecycle/lifecycle.wit")];

/// The parts of WASI that most modules need, each with the capability that grants it. They stand before all of WASI, so that a short name
/// means them.
const PARTS: [(&str, &str); 2] = [
    ("clocks", include_str!("../../../../wit/clocks/wall-clock.wit")),
    ("random", include_str!("../../../../wit/random/random.wit")),
];

/// All of WASI, as the engine's crates carry it: `wasi-VERSION/PACKAGE/PACKAGE.wit`. A test compares the files with these crates.
static WASI: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/wit");

/// A WIT package that the host offers.
#[derive(Debug, Clone)]
pub struct Package {
    /// The name with the version, such as `watertight:sql@1.0.0`.
    pub name: PackageName,
    /// The capability that a module's `uses` must grant. `None` if the package needs no grant.
    pub grant: Option<String>,
    /// The WIT text.
    pub text: String,
    /// The packages that this one uses.
    pub(super) needs: BTreeSet<PackageName>,
}

impl Package {
    fn read(text: &str, grant: impl FnOnce(&PackageName) -> Option<String>) -> anyhow::Result<Self> {
        let group = parse(text)?;
        let name = group.main.name.clone();
        let needs = group.main.foreign_deps.into_keys().collect();
        Ok(Self { grant: grant(&name), name, text: text.to_owned(), needs })
    }

    /// Returns the name without its version: `watertight:sql`.
    pub fn unversioned(&self) -> String {
        unversioned(&self.name)
    }

    /// Returns the name of the package's folder in `wit/deps`, as `wkg` names it: `watertight-sql-1.0.0`.
    pub fn folder(&self) -> String {
        self.name.to_string().replace([':', '@'], "-")
    }
}

pub(super) fn parse(text: &str) -> anyhow::Result<UnresolvedPackageGroup> {
    UnresolvedPackageGroup::parse("package.wit", text).map_err(|error| anyhow::anyhow!("{error:#?}"))
}

pub(super) fn unversioned(name: &PackageName) -> String {
    format!("{}:{}", name.namespace, name.name)
}

/// All packages that a host offers.
#[derive(Debug)]
pub struct Packages(Vec<Package>);

impl Packages {
    /// Returns the packages of a host with these capabilities. Capabilities whose WIT is not valid are left out: `check` reports them.
    pub fn of(declarations: &Declarations) -> Self {
        let mut found = Vec::new();
        for declaration in declarations.all() {
            let grant = |_: &PackageName| Some(declaration.name.to_string());
            found.extend(declaration.wit.iter().filter_map(|text| Package::read(text, grant).ok()));
        }
        let own = "the host's own contracts are WIT";
        found.extend(UNGRANTED.map(|text| Package::read(text, |_| None).expect(own)));
        found.extend(PARTS.map(|(grant, text)| Package::read(text, |_| Some(grant.to_owned())).expect(own)));
        let granted = |name: &PackageName| {
            let version = name.version.as_ref().map(ToString::to_string).unwrap_or_default();
            let row = declarations.all().iter().find(|declaration| {
                let mut rows = declaration.wasi.iter();
                rows.any(|row| row.package == unversioned(name) && version.starts_with(row.series))
            });
            row.map(|declaration| declaration.name.to_string())
        };
        let mut versions: Vec<_> = WASI.dirs().collect();
        versions.sort_by_key(|version| version.path());
        for package in versions.into_iter().flat_map(Dir::dirs) {
            let text = package.files().next().and_then(|file| file.contents_utf8()).expect("the folder has one text");
            found.push(Package::read(text, granted).expect("WASI is WIT"));
        }
        Self(found)
    }

    /// Iterates over the packages. The host's own come before those of WASI.
    pub fn iter(&self) -> impl Iterator<Item = &Package> {
        self.0.iter()
    }

    /// Returns the package of exactly this name and version.
    pub(super) fn get(&self, name: &PackageName) -> Option<&Package> {
        self.0.iter().find(|package| package.name == *name)
    }

    /// Finds a package by what people call it: `sql`, `wasi:http` or `wasi:http@0.3.0`. The first word of a name is its capability, or the
    /// package's own name.
    ///
    /// # Errors
    ///
    /// [`WitError::Unknown`] with the most similar names.
    pub fn find(&self, text: &str) -> Result<&Package, WitError> {
        let is_named = |package: &&Package| {
            let name = &package.name;
            [name.to_string(), unversioned(name), name.name.clone()].iter().any(|one| one == text)
        };
        let granted = |package: &&Package| package.grant.as_deref() == Some(text);
        self.0.iter().find(is_named).or_else(|| self.0.iter().find(granted)).ok_or_else(|| {
            let mut names: Vec<_> = self.0.iter().map(|package| package.name.name.clone()).collect();
            names.sort();
            names.dedup();
            WitError::Unknown { name: text.to_owned(), known: names }
        })
    }

    /// Returns these packages, and all that they use.
    pub(super) fn with_needs<'a>(&'a self, packages: impl IntoIterator<Item = &'a Package>) -> Vec<&'a Package> {
        let mut found: Vec<&Package> = Vec::new();
        let mut wanted: Vec<&Package> = packages.into_iter().collect();
        while let Some(package) = wanted.pop() {
            if found.iter().all(|known| known.name != package.name) {
                wanted.extend(package.needs.iter().filter_map(|name| self.get(name)));
                found.push(package);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_mean_what_most_modules_need() {
        let packages = Packages::of(&Declarations::default());
        let cases = [
            ("sql", "watertight:sql@1.0.0", Some("sql")),
            ("lifecycle", "watertight:lifecycle@1.0.0", None),
            ("clocks", "wasi:clocks@0.2.6", Some("clocks")),
            ("logging", "wasi:logging@0.1.0-draft", Some("logging")),
            ("http", "wasi:http@0.2.12", Some("http")),
            ("wasi:http@0.3.0", "wasi:http@0.3.0", Some("http")),
            ("io", "wasi:io@0.2.12", None),
        ];
        for (text, name, grant) in cases {
            let found = packages.find(text).expect("it is offered");
            assert_eq!((found.name.to_string().as_str(), found.grant.as_deref()), (name, grant), "{text}");
        }
        let error = packages.find("sqll").expect_err("there is no such package").to_string();
        assert!(error.contains("`sql`"), "{error}");
        let http = packages.with_needs([packages.find("http").expect("it is offered")]);
        assert!(http.iter().any(|package| package.name.to_string() == "wasi:io@0.2.12"));
    }
}
