//! Names and numbers that can't hold a bad value: checked where text comes in, trusted everywhere else.
//!
//! This file knows nothing of files, Wasm or HTTP.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Why a text is no name of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct BadName {
    /// What was given.
    pub text: String,
    /// What would have been taken, for a person.
    pub expected: &'static str,
}

/// Whether `text` is an identifier of WIT: words of letters and digits, joined by `-`. The first word starts with a letter; a word is
/// all lower-case or all capitals. A test compares this with the parser of the WIT tools.
pub fn is_wit_name(text: &str) -> bool {
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let upper = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.split('-').all(|word| !word.is_empty() && (word.bytes().all(lower) || word.bytes().all(upper)))
}

/// Whether `text` is an identifier of WIT without capitals: what names of packages are.
fn is_lower_wit_name(text: &str) -> bool {
    is_wit_name(text) && !text.bytes().any(|b| b.is_ascii_uppercase())
}

/// The name that JSON and query fields give to a WIT name: snake_case, in lower case. `needs-2FA` is `needs_2fa`. Names of one WIT item
/// differ in more than case, and have no `_`, so different names stay different.
pub fn json_name(wit: &str) -> String {
    wit.replace('-', "_").to_ascii_lowercase()
}

macro_rules! kebab_name {
    ($(#[$doc:meta])* $name:ident, $expected:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                // 63 bytes: a name is also a file's and a folder's, and a label in metrics.
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
    /// A module's name: its key in the manifest, and the owner of its data.
    ModuleName,
    "a module name: kebab-case, such as `page-views`, at most 63 bytes"
);
kebab_name!(
    /// A compartment's name.
    CompartmentName,
    "a compartment name: kebab-case, such as `core`, at most 63 bytes"
);
kebab_name!(
    /// An application's name.
    AppName,
    "an application name: kebab-case, such as `demo`, at most 63 bytes"
);

/// The name under which a component imports or exports an interface. It is one of three:
///
/// - the name of a WIT interface as components spell it: `alpha:greeting/greet@1.0.0`;
/// - a label that only the component's world gives: `primary`;
/// - nothing, for the functions that a world itself imports or exports: see [`InterfaceName::world`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InterfaceName {
    full: Arc<str>,
    /// Where the interface's own name starts in `full`.
    start: usize,
    /// Where it ends: at the `@`, or at the end.
    end: usize,
}

impl InterfaceName {
    /// The name that stands for a world itself: the functions that it imports or exports outside of any interface. Its text is empty.
    pub fn world() -> Self {
        Self { full: "".into(), start: 0, end: 0 }
    }

    /// A label that a world gives to an interface, such as `primary`.
    ///
    /// # Errors
    ///
    /// When `text` is no identifier of WIT.
    pub fn label(text: &str) -> Result<Self, BadName> {
        if is_wit_name(text) {
            Ok(Self { full: text.into(), start: 0, end: text.len() })
        } else {
            Err(BadName { text: text.to_owned(), expected: "a label: a name as WIT writes them, such as `primary`" })
        }
    }

    /// Whether this stands for a world's own functions.
    pub fn is_world(&self) -> bool {
        self.full.is_empty()
    }

    /// Whether this is a label of a world.
    pub fn is_label(&self) -> bool {
        self.start == 0 && !self.is_world()
    }

    /// The whole name, version included.
    pub fn as_str(&self) -> &str {
        &self.full
    }

    /// `alpha:greeting`. Empty for a label and for the world.
    pub fn package(&self) -> &str {
        &self.full[..self.start.saturating_sub(1)]
    }

    /// `alpha`.
    pub fn namespace(&self) -> &str {
        self.package().split(':').next().unwrap_or_default()
    }

    /// `greet`: the interface's own name. A label is one as it is.
    pub fn short(&self) -> &str {
        &self.full[self.start..self.end]
    }

    /// `alpha:greeting/greet`: the name without its version.
    pub fn unversioned(&self) -> &str {
        &self.full[..self.end]
    }

    /// `1.0.0`, where the package has a version.
    pub fn version(&self) -> Option<&str> {
        self.full.get(self.end + 1..)
    }

    /// Whether an export of this name serves an import of `wanted`: the same interface, and a version that semantic versioning
    /// calls compatible and no older. Versions `0.0.x` and pre-releases fit exactly only, as Wasmtime's linker has it.
    pub fn serves(&self, wanted: &InterfaceName) -> bool {
        if self == wanted {
            return true;
        }
        if self.unversioned() != wanted.unversioned() {
            return false;
        }
        match (self.version().and_then(Version::parse), wanted.version().and_then(Version::parse)) {
            (Some(have), Some(want)) => have.serves(&want),
            _ => false,
        }
    }

    /// Whether it goes by `text`: its short name, its name without a version, or either with a version that it serves as an import of
    /// that version. Parts of a version that are left out are 0: `greet@2` is served by `greet@2.1.0`.
    pub fn goes_by(&self, text: &str) -> bool {
        let (name, version) = text.split_once('@').map_or((text, None), |(name, version)| (name, Some(version)));
        if ![self.short(), self.unversioned()].contains(&name) {
            return false;
        }
        let Some(version) = version else { return true };
        let whole = format!("{version}{}", ".0".repeat(2_usize.saturating_sub(version.matches('.').count())));
        self.version() == Some(version)
            || Version::parse(&whole)
                .zip(self.version().and_then(Version::parse))
                .is_some_and(|(wanted, have)| have.serves(&wanted))
    }

    /// Whether the version is a release, such as `0.2.6`, of the versions that start with `series`, such as `0.2.`.
    pub fn is_release_of(&self, series: &str) -> bool {
        self.version().is_some_and(|version| version.starts_with(series) && Version::parse(version).is_some())
    }

    /// The order of two interfaces by the age of their versions, not by their spelling; what is no release stands first.
    pub fn compare_versions(&self, other: &InterfaceName) -> std::cmp::Ordering {
        let version = |name: &InterfaceName| name.version().and_then(Version::parse);
        version(self).cmp(&version(other)).then_with(|| self.cmp(other))
    }
}

/// A release version; pre-releases are none.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Version(u64, u64, u64);

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        // `u64` would take a sign as well.
        let mut number = || parts.next().filter(|part| part.bytes().all(|b| b.is_ascii_digit()))?.parse().ok();
        let version = Self(number()?, number()?, number()?);
        parts.next().is_none().then_some(version)
    }

    fn serves(&self, wanted: &Self) -> bool {
        self.track() == wanted.track() && self >= wanted
    }

    /// Versions of one track are compatible; a `0.0.x` is alone on its track.
    fn track(&self) -> (u64, u64, u64) {
        match self {
            Self(0, 0, patch) => (0, 0, *patch),
            Self(0, minor, _) => (0, *minor, 0),
            Self(major, ..) => (*major, 0, 0),
        }
    }
}

impl FromStr for InterfaceName {
    type Err = BadName;

    /// Reads an interface's own name. A label is none: see [`InterfaceName::label`].
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

    /// Reads what [`InterfaceName::as_str`] gives: an interface's own name, or a label.
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

/// A function as people write it: `hello/greet.say-hello`; with a version where the module exports several,
/// `hello/greet@2.say-hello`; with the interface's whole name where the short one is ambiguous,
/// `hello/alpha:greeting/greet@1.0.0.say-hello`; `hello.say-hello` where the module's world exports the function itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FunctionPath {
    /// The module that exports it.
    pub module: ModuleName,
    /// The interface: short or with its package, with or without a version; see [`InterfaceName::goes_by`]. Empty for a function that
    /// the world exports itself.
    pub interface: String,
    /// The function's name.
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

/// The SHA-256 of some bytes, written `sha256:<hex>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Digests `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest that SHA-256 gave for bytes which came piece by piece.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// 64 hexadecimal characters.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
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
        let hex =
            text.strip_prefix("sha256:").filter(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
        let hex = hex.ok_or_else(bad)?;
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).map_err(|_| bad())?;
        }
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

/// A generation's number: it grows by one with each that is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GenerationNumber(pub u64);

impl fmt::Display for GenerationNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests;
