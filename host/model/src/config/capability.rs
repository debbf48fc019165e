//! Declarations of capabilities: what the manifest and the graph must know of an interface that a host implements.
//!
//! A declaration is plain data, so that an application can be checked without an engine. The crate `runtime` implements the functions: see
//! its trait `Capability`.

mod built_in;

use std::any::Any;
use std::fmt;
use std::sync::{Arc, LazyLock};

use super::modules::is_module_key;
use super::{LocatedValue, Table, UnknownWord, Value};
use crate::ids::{CapabilityName, InterfaceName};
use crate::problem::list_names;

/// The prefix of the versions of WASI 0.2.
pub const WASI_2: &str = "0.2.";
/// The prefix of the versions of WASI 0.3.
pub const WASI_3: &str = "0.3.";

/// Interfaces of one package of WASI that the host serves, in all releases of a series.
#[derive(Debug, Clone, Copy)]
pub struct WasiInterfaces {
    /// The package, such as `wasi:clocks`.
    pub package: &'static str,
    /// The prefix of the versions: [`WASI_2`] or [`WASI_3`].
    pub series: &'static str,
    /// The names of the interfaces in the package.
    pub interfaces: &'static [&'static str],
}

impl WasiInterfaces {
    /// Creates a row of a table of interfaces.
    pub const fn new(package: &'static str, series: &'static str, interfaces: &'static [&'static str]) -> Self {
        Self { package, series, interfaces }
    }

    /// Whether `import` is one of these interfaces.
    pub fn contain(&self, import: &InterfaceName) -> bool {
        self.package == import.package()
            && self.interfaces.contains(&import.short())
            && import.is_release_of(self.series)
    }
}

/// What a capability offers, and which keys it has in the manifest.
#[derive(Debug, Clone)]
pub struct Declaration {
    /// The word that grants it in `uses` of a module, and the name of its table in `[modules.NAME]` if it has settings.
    pub name: CapabilityName,
    /// Whether a module with this capability has a database.
    pub keeps_data: bool,
    /// The interfaces whose functions receive, as their first argument, the identity of the module that calls.
    pub interfaces: Vec<InterfaceName>,
    /// The WIT text of [`Self::interfaces`] and of what they use: one text for each package.
    pub wit: Vec<&'static str>,
    /// The interfaces of WASI that the capability grants.
    pub wasi: &'static [WasiInterfaces],
    /// The reader of the table `[modules.NAME.CAPABILITY]`. `None` means that the capability has no settings.
    settings: Option<SettingsReader>,
}

impl Declaration {
    /// Declares a capability that offers nothing yet.
    pub fn new(name: CapabilityName) -> Self {
        Self { name, keeps_data: false, interfaces: Vec::new(), wit: Vec::new(), wasi: &[], settings: None }
    }

    /// Adds an interface, such as `acme:geo/lookup@1.0.0`. The text of its package must be given to [`Self::wit`].
    #[must_use]
    pub fn interface(mut self, name: InterfaceName) -> Self {
        self.interfaces.push(name);
        self
    }

    /// Adds the text of a WIT package: that of an interface, or one that such an interface uses. A package stands after those that it uses.
    #[must_use]
    pub fn wit(mut self, text: &'static str) -> Self {
        self.wit.push(text);
        self
    }

    /// Gives each module settings of its own, in the table `[modules.NAME.CAPABILITY]`.
    #[must_use]
    pub fn settings<T: ReadSettings>(mut self) -> Self {
        let read = |table: &mut Table<'_>| Settings(Arc::new(T::read(table)));
        self.settings = Some(SettingsReader { read, default: || Settings(Arc::new(T::default())) });
        self
    }
}

/// Settings that a capability reads from the table `[modules.NAME.CAPABILITY]`.
///
/// The default value holds for a module without that table.
pub trait ReadSettings: SettingsValue + Default {
    /// Reads the table. Faults are reported to the table, with their line; the value then has a default in their place.
    fn read(table: &mut Table<'_>) -> Self;
}

/// A value that [`Settings`] can hold: it can be compared, to find out whether a change of the manifest changes it.
pub trait SettingsValue: Any + fmt::Debug + Send + Sync {
    /// Whether `other` has the same type and an equal value.
    fn equals(&self, other: &dyn SettingsValue) -> bool;
}

impl<T: Any + fmt::Debug + PartialEq + Send + Sync> SettingsValue for T {
    fn equals(&self, other: &dyn SettingsValue) -> bool {
        (other as &dyn Any).downcast_ref::<T>() == Some(self)
    }
}

/// The settings of one capability for one module. Only the capability knows their type.
#[derive(Debug, Clone)]
pub struct Settings(Arc<dyn SettingsValue>);

impl Settings {
    /// Returns the settings if their type is `T`, or else `None`.
    pub fn get<T: SettingsValue>(&self) -> Option<&T> {
        (&*self.0 as &dyn Any).downcast_ref()
    }
}

impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        self.0.equals(&*other.0)
    }
}

impl Eq for Settings {}

#[derive(Clone, Copy)]
struct SettingsReader {
    read: fn(&mut Table<'_>) -> Settings,
    default: fn() -> Settings,
}

impl fmt::Debug for SettingsReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", (self.default)())
    }
}

/// The capabilities that a host has. The default is those that are built in.
#[derive(Clone)]
pub struct Declarations(Arc<[Declaration]>);

/// The reason why a capability can't be declared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeclarationError {
    /// Another capability has the name.
    #[error("there are two capabilities with the name `{0}`")]
    SameName(CapabilityName),
    /// The settings of the capability would take the place of another key of a module.
    #[error("the capability `{0}` can't have settings: `{0}` is a key of every module")]
    ReservedKey(CapabilityName),
    /// Another capability offers the interface.
    #[error("the capabilities `{first}` and `{second}` both offer `{interface}`")]
    SameInterface {
        /// The interface that both capabilities offer.
        interface: InterfaceName,
        /// The capability that was declared first.
        first: CapabilityName,
        /// The capability that was declared second.
        second: CapabilityName,
    },
}

impl Declarations {
    /// Creates the set of the built-in capabilities and `added`.
    ///
    /// # Errors
    ///
    /// Returns [`DeclarationError`] if two capabilities have a name, a key or an interface in common.
    pub fn with(added: impl IntoIterator<Item = Declaration>) -> Result<Self, DeclarationError> {
        let mut all = built_in::declarations();
        for declaration in added {
            let name = || declaration.name.clone();
            if all.iter().any(|other| other.name == declaration.name) {
                return Err(DeclarationError::SameName(name()));
            }
            if declaration.settings.is_some() && is_module_key(declaration.name.as_str()) {
                return Err(DeclarationError::ReservedKey(name()));
            }
            for interface in &declaration.interfaces {
                if let Some(other) = all.iter().find(|other| other.interfaces.contains(interface)) {
                    let (interface, first) = (interface.clone(), other.name.clone());
                    return Err(DeclarationError::SameInterface { interface, first, second: name() });
                }
            }
            all.push(declaration);
        }
        Ok(Self(all.into()))
    }

    /// Returns the declarations of all capabilities, the built-in ones first.
    pub fn all(&self) -> &[Declaration] {
        &self.0
    }

    /// Returns the declarations that are not built in.
    pub fn added(&self) -> &[Declaration] {
        &self.0[BUILT_IN.0.len()..]
    }

    /// Returns the declaration of the capability `name`. `None` means that the host has no such capability.
    pub fn get(&self, name: &CapabilityName) -> Option<&Declaration> {
        self.0.iter().find(|declaration| declaration.name == *name)
    }

    /// Whether a module with the capability `name` has a database.
    pub fn keeps_data(&self, name: &CapabilityName) -> bool {
        self.get(name).is_some_and(|declaration| declaration.keeps_data)
    }

    /// Reads the name of a capability. Reports a name that no capability has, and returns `None` for it.
    pub(super) fn read_name(&self, value: &Value<'_>) -> Option<LocatedValue<CapabilityName>> {
        let text = value.string()?;
        match self.0.iter().find(|declaration| declaration.name.as_str() == text) {
            Some(declaration) => Some(value.at(declaration.name.clone())),
            None => {
                let known = list_names(self.0.iter().map(|declaration| &declaration.name));
                value.refuse(UnknownWord { text: text.to_owned(), known });
                None
            }
        }
    }

    /// Reads the settings of all capabilities from the table `[modules.NAME]` of one module.
    pub(super) fn read_settings(&self, table: &mut Table<'_>) -> Vec<(CapabilityName, Settings)> {
        let with_settings = self.0.iter().filter_map(|declaration| Some((&declaration.name, declaration.settings?)));
        let read = |(name, reader): (&CapabilityName, SettingsReader)| {
            let settings = table.optional(name.as_str().to_owned()).and_then(|value| value.table(reader.read));
            (name.clone(), settings.unwrap_or_else(reader.default))
        };
        with_settings.map(read).collect()
    }
}

static BUILT_IN: LazyLock<Declarations> = LazyLock::new(|| Declarations(built_in::declarations().into()));

impl Default for Declarations {
    fn default() -> Self {
        BUILT_IN.clone()
    }
}

impl fmt::Debug for Declarations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|declaration| &declaration.name)).finish()
    }
}

/// Sets are equal if they declare the same names: one process has one declaration for a name.
impl PartialEq for Declarations {
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().map(|declaration| &declaration.name).eq(other.0.iter().map(|declaration| &declaration.name))
    }
}

impl Eq for Declarations {}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(name: &str) -> Declaration {
        Declaration::new(name.parse().expect("a name"))
    }

    #[derive(Debug, Default, PartialEq)]
    struct Nothing;

    impl ReadSettings for Nothing {
        fn read(_: &mut Table<'_>) -> Self {
            Self
        }
    }

    #[test]
    fn a_capability_shares_no_name_key_or_interface_with_another() {
        let lookup = || "acme:geo/lookup@1.0.0".parse().expect("a name");
        let added =
            Declarations::with([declared("geo").interface(lookup()).settings::<Nothing>()]).expect("nothing clashes");
        assert_eq!(added.added().len(), 1);
        let message = |all: Vec<Declaration>| Declarations::with(all).expect_err("they clash").to_string();
        assert_eq!(message(vec![declared("sql")]), "there are two capabilities with the name `sql`");
        let reserved = "the capability `calls` can't have settings: `calls` is a key of every module";
        assert_eq!(message(vec![declared("calls").settings::<Nothing>()]), reserved);
        let twice = vec![declared("geo").interface(lookup()), declared("maps").interface(lookup())];
        assert_eq!(message(twice), "the capabilities `geo` and `maps` both offer `acme:geo/lookup@1.0.0`");
    }
}
