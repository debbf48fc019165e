//! Defines names and numbers that can't hold a bad value: they are checked when they are made from text, and trusted everywhere else.
//!
//! This file knows nothing of files, WebAssembly or HTTP.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use semver::{Comparator, Op, Prerelease, Version};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The error that a text is not a valid name of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct BadName {
    /// The text that was given.
    pub text: String,
    /// A description of the expected kind of name, for a message.
    pub expected: &'static str,
}

/// Whether `text` is a WIT identifier: words of letters and digits, joined by `-`. The first word starts with a letter. Each word is either
/// all lower-case or all upper-case. A test compares this function with the parser of the WIT tools.
pub fn is_wit_name(text: &str) -> bool {
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let upper = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.split('-').all(|word| !word.is_empty() && (word.bytes().all(lower) || word.bytes().all(upper)))
}

/// Whether `text` is a WIT identifier without upper-case letters, as names of packages must be.
fn is_lower_wit_name(text: &str) -> bool {
    is_wit_name(text) && !text.bytes().any(|b| b.is_ascii_uppercase())
}

/// Returns the name that JSON and query fields have for a WIT name: snake_case in lower case. `needs-2FA` becomes `needs_2fa`. Different
/// names stay different, because names within one WIT item contain no `_` and don't differ in case alone.
pub fn json_name(wit: &str) -> String {
    wit.replace('-', "_").to_ascii_lowercase()
}

/// Returns the name that JSON has for a WIT name in camelCase: `first-name` becomes `firstName`, and `needs-2FA` becomes `needs2fa`.
/// Different names may become equal, such as `a-2b` and `a2b`.
pub fn camel_name(wit: &str) -> String {
    let mut name = String::with_capacity(wit.len());
    for (index, word) in wit.split('-').enumerate() {
        let start = name.len();
        name.push_str(&word.to_ascii_lowercase());
        if index > 0
            && let Some(first) = name.get_mut(start..=start)
        {
            first.make_ascii_uppercase();
        }
    }
    name
}

macro_rules! kebab_name {
    ($(#[$doc:meta])* $name:ident, $expected:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Returns the name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                // The bound of 63 bytes is needed because a name is also used for files and folders, and as a label in metrics.
                if is_lower_wit_name(text) && text.len() <= 63 {
                    Ok(Self(text.into()))
                } else {
                    Err(BadName { text: text.to_owned(), expected: $expected })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;

            fn try_from(text: String) -> Result<Self, BadName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

kebab_name!(
    /// The name of a module: its key in the manifest, which owns the module's data.
    ModuleName,
    "a module name: kebab-case, such as `page-views`, at most 63 bytes"
);
kebab_name!(
    /// The name of a compartment.
    CompartmentName,
    "a compartment name: kebab-case, such as `core`, at most 63 bytes"
);
kebab_name!(
    /// The name of a capability: the word that grants it in `uses` of a module.
    CapabilityName,
    "a capability's name: kebab-case, such as `sql`, at most 63 bytes"
);
kebab_name!(
    /// The name of an application.
    AppName,
    "an application name: kebab-case, such as `demo`, at most 63 bytes"
);

/// The names of the built-in capabilities.
impl CapabilityName {
    /// SQL on the module's own database.
    pub const SQL: &str = "sql";
    /// Lines in the host's log.
    pub const LOGGING: &str = "logging";
    /// The wall clock and the monotonic clock.
    pub const CLOCKS: &str = "clocks";
    /// Random numbers.
    pub const RANDOM: &str = "random";
    /// The values of the module's tables `config` and `secrets`.
    pub const CONFIG: &str = "config";
    /// Values under keys, in the module's own database.
    pub const KEYVALUE: &str = "keyvalue";
    /// Requests to other hosts.
    pub const HTTP: &str = "http";
    /// What is known of the request that a call belongs to.
    pub const CONTEXT: &str = "context";
}

/// Maps keyed by a name can be searched by its text.
impl std::borrow::Borrow<str> for CapabilityName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The name under which a component imports or exports an interface. It has one of three forms:
///
/// - the name of a WIT interface as components spell it: `alpha:greeting/greet@1.0.0`;
/// - a label that the component's world gives: `primary`;
/// - the empty text, for functions that a world imports or exports directly: see [`InterfaceName::world`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InterfaceName {
    full: Arc<str>,
    /// The byte offset in `full` where the interface's own name starts, after its package.
    start: usize,
    /// The byte offset in `full` where the interface's own name ends: at the `@`, or at the end.
    end: usize,
}

impl InterfaceName {
    /// Returns the name that stands for a world itself, for functions that it imports or exports outside of any interface. Its text is
    /// empty.
    pub fn world() -> Self {
        Self { full: "".into(), start: 0, end: 0 }
    }

    /// Makes the name of an interface that a world imports or exports under a label, such as `primary`.
    ///
    /// # Errors
    ///
    /// [`BadName`] if `text` is not a WIT identifier.
    pub fn label(text: &str) -> Result<Self, BadName> {
        if is_wit_name(text) {
            Ok(Self { full: text.into(), start: 0, end: text.len() })
        } else {
            Err(BadName { text: text.to_owned(), expected: "a label: a name as WIT writes them, such as `primary`" })
        }
    }

    /// Whether this name stands for a world itself.
    pub fn is_world(&self) -> bool {
        self.full.is_empty()
    }

    /// Whether this name is a label that a world gives.
    pub fn is_label(&self) -> bool {
        self.start == 0 && !self.is_world()
    }

    /// Returns the full name with its version.
    pub fn as_str(&self) -> &str {
        &self.full
    }

    /// Returns the package: `alpha:greeting`. It is empty for a label and for a world.
    pub fn package(&self) -> &str {
        &self.full[..self.start.saturating_sub(1)]
    }

    /// Returns the namespace of the package: `alpha`.
    pub fn namespace(&self) -> &str {
        self.package().split(':').next().unwrap_or_default()
    }

    /// Returns the interface's own name: `greet`. A label is returned as it is.
    pub fn short(&self) -> &str {
        &self.full[self.start..self.end]
    }

    /// Returns the name without its version: `alpha:greeting/greet`.
    pub fn unversioned(&self) -> &str {
        &self.full[..self.end]
    }

    /// Returns the version of the package: `1.0.0`. `None` if the package has no version.
    pub fn version(&self) -> Option<&str> {
        self.full.get(self.end + 1..)
    }

    /// Whether an export of this name can serve an import of `wanted`. It must be the same interface, in a version that is compatible by
    /// semantic versioning and not older. Versions `0.0.x` and pre-releases must be equal, as in Wasmtime's linker.
    pub fn can_serve(&self, wanted: &InterfaceName) -> bool {
        if self == wanted {
            return true;
        }
        if self.unversioned() != wanted.unversioned() {
            return false;
        }
        match (self.version().and_then(release), wanted.version().and_then(release)) {
            (Some(have), Some(wanted)) => is_compatible(&have, &wanted),
            _ => false,
        }
    }

    /// Whether `text` refers to this interface: by its own name or by its name without a version. If `text` has a version, this interface
    /// must serve an import of that version. Missing parts of a version are 0: `greet@2` refers to `greet@2.1.0`.
    pub fn matches_reference(&self, text: &str) -> bool {
        let (name, version) = text.split_once('@').map_or((text, None), |(name, version)| (name, Some(version)));
        if ![self.short(), self.unversioned()].contains(&name) {
            return false;
        }
        let Some(version) = version else { return true };
        let whole = format!("{version}{}", ".0".repeat(2_usize.saturating_sub(version.matches('.').count())));
        self.version() == Some(version)
            || release(&whole)
                .zip(self.version().and_then(release))
                .is_some_and(|(wanted, have)| is_compatible(&have, &wanted))
    }

    /// Returns the shortest text that refers to this interface and to no other of `all`: `greet`, `greet@1`, `greet@1.2`, `greet@1.2.0`, or
    /// else the full name.
    pub fn shortest_reference<'a>(&self, all: &(impl Iterator<Item = &'a InterfaceName> + Clone)) -> String {
        let version = self.version().unwrap_or_default();
        let ends = version.match_indices('.').map(|(at, _)| at).chain([version.len()]);
        let versioned = ends.map(|end| format!("{}@{}", self.short(), &version[..end]));
        let is_enough = |text: &String| {
            self.matches_reference(text) && all.clone().filter(|other| other.matches_reference(text)).count() <= 1
        };
        std::iter::once(self.short().to_owned()).chain(versioned).find(is_enough).unwrap_or_else(|| self.to_string())
    }

    /// Whether the interface's version is a release whose text starts with `series`: `0.2.6` is a release of `0.2.`. Pre-releases are not.
    pub fn is_release_of(&self, series: &str) -> bool {
        self.version().is_some_and(|version| version.starts_with(series) && release(version).is_some())
    }

    /// Compares two interfaces by their versions as numbers, and then by their text. Names without a release version come first.
    pub fn compare_versions(&self, other: &InterfaceName) -> std::cmp::Ordering {
        let version = |name: &InterfaceName| name.version().and_then(release);
        version(self).cmp(&version(other)).then_with(|| self.cmp(other))
    }
}

/// Parses a release version, `major.minor.patch`. `None` for any other text, pre-releases and versions with build metadata included.
fn release(text: &str) -> Option<Version> {
    Version::parse(text).ok().filter(|version| version.pre.is_empty() && version.build.is_empty())
}

/// Whether the release `have` can stand in for the release `wanted`: it is compatible and not older.
fn is_compatible(have: &Version, wanted: &Version) -> bool {
    let (minor, patch) = (Some(wanted.minor), Some(wanted.patch));
    Comparator { op: Op::Caret, major: wanted.major, minor, patch, pre: Prerelease::EMPTY }.matches(have)
}

impl FromStr for InterfaceName {
    type Err = BadName;

    /// Parses the name of a WIT interface. Labels are refused: see [`InterfaceName::label`].
    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad =
            || BadName { text: text.to_owned(), expected: "an interface name such as `alpha:greeting/greet@1.0.0`" };
        let end = text.find('@').unwrap_or(text.len());
        let slash = text[..end].find('/').ok_or_else(bad)?;
        let (package, short) = (&text[..slash], &text[slash + 1..end]);
        let well_formed = package
            .split_once(':')
            .is_some_and(|(namespace, name)| is_lower_wit_name(namespace) && is_lower_wit_name(name));
        let in_version = |b: u8| b.is_ascii_alphanumeric() || b"-.+".contains(&b);
        let version = text.get(end + 1..);
        let version_fits = version.is_none_or(|version| !version.is_empty() && version.bytes().all(in_version));
        if well_formed && is_wit_name(short) && version_fits {
            Ok(Self { full: text.into(), start: slash + 1, end })
        } else {
            Err(bad())
        }
    }
}

impl TryFrom<String> for InterfaceName {
    type Error = BadName;

    /// Parses a text that [`InterfaceName::as_str`] returned: the name of a WIT interface, or a label.
    fn try_from(text: String) -> Result<Self, BadName> {
        if is_wit_name(&text) { Self::label(&text) } else { text.parse() }
    }
}

impl From<InterfaceName> for String {
    fn from(name: InterfaceName) -> String {
        name.full.as_ref().to_owned()
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}

/// A reference to an exported function, as people write it:
///
/// - `hello/greet.say-hello`: module, interface and function;
/// - `hello/greet@2.say-hello`: if the module exports several versions of the interface;
/// - `hello/alpha:greeting/greet@1.0.0.say-hello`: if the interface's own name is ambiguous;
/// - `hello.say-hello`: if the module's world exports the function directly.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FunctionPath {
    /// The name of the module that exports the function.
    pub module: ModuleName,
    /// The interface, with or without its package and its version: see [`InterfaceName::matches_reference`]. Empty for a function that the module's
    /// world exports directly.
    pub interface: String,
    /// The name of the function.
    pub function: String,
}

impl FromStr for FunctionPath {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = || BadName {
            text: text.to_owned(),
            expected: "a function such as `hello/greet.say-hello` (module, interface, function), or `hello.say-hello` where the module's \
                       world exports it itself",
        };
        let (module, interface, function) = match text.split_once('/') {
            Some((module, rest)) => {
                let (interface, function) = rest.rsplit_once('.').ok_or_else(bad)?;
                if interface.is_empty() {
                    return Err(bad());
                }
                (module, interface, function)
            }
            None => text.split_once('.').map(|(module, function)| (module, "", function)).ok_or_else(bad)?,
        };
        if !is_wit_name(function) {
            return Err(bad());
        }
        let module = module.parse().map_err(|_| bad())?;
        Ok(Self { module, interface: interface.to_owned(), function: function.to_owned() })
    }
}

impl fmt::Display for FunctionPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.interface.as_str() {
            "" => write!(f, "{}.{}", self.module, self.function),
            interface => write!(f, "{}/{interface}.{}", self.module, self.function),
        }
    }
}

/// A SHA-256 digest, written `sha256:<hex>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Returns the digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Makes a digest of the 32 bytes that SHA-256 returned, for data that was hashed in pieces.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the digest as 64 hexadecimal characters.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = || BadName { text: text.to_owned(), expected: "a digest: `sha256:` and 64 hexadecimal characters" };
        let mut bytes = [0; 32];
        let digits = text.strip_prefix("sha256:").ok_or_else(bad)?;
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| bad())?;
        Ok(Self(bytes))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The number of a generation. It increases by one with each generation that is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GenerationNumber(pub u64);

impl fmt::Display for GenerationNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests;
