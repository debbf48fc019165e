//! Problems: faults of an application that are found before any of it runs.
//!
//! All checks add to one list of [`Problem`]s, so that an operator can correct a manifest or a module in one pass. The codes are stable:
//! programs may match them.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::{InterfaceName, ModuleName};

/// Greatest number of characters in each text of a problem. Names in manifests, routes and components have no bound, and problems repeat
/// them.
const MAX_TEXT: usize = 2_000;

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $variant:ident = $text:literal,)*) => {
        /// The kind of a problem. Its text is stable and part of the host's interface.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Code {
            /// All codes, in the order of the documentation.
            pub const ALL: &[Code] = &[$(Code::$variant,)*];

            /// Returns the stable text of the code.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Code::$variant => $text,)*
                }
            }

            /// Returns the meaning of the code, as the documentation lists it.
            pub fn meaning(self) -> &'static str {
                match self {
                    $(Code::$variant => concat!($($doc),*).trim_ascii(),)*
                }
            }
        }
    };
}

codes! {
    /// A file can't be read.
    Unreadable = "unreadable",
    /// A file is not valid TOML.
    Syntax = "syntax",
    /// A key is unknown: the format doesn't have it.
    UnknownKey = "unknown-key",
    /// A key that the format requires is missing.
    MissingKey = "missing-key",
    /// A value has the wrong type, is out of its range, or lacks its unit.
    BadValue = "bad-value",
    /// The environment variable or the file that a module's value or secret comes from is missing or can't be read.
    MissingValue = "missing-value",
    /// A name refers to something that the manifest doesn't have.
    UnknownName = "unknown-name",
    /// A name, an address or an entry is given twice.
    Duplicate = "duplicate",
    /// A file is not a component: it is truncated, a core module, or invalid.
    NotAComponent = "not-a-component",
    /// A component's section `watertight:module`, with its name, migrations and documentation, can't be used.
    BadSection = "bad-section",
    /// A migration can't be applied, or was changed after it was applied.
    Migration = "migration",
    /// A module imports an interface or function that no module it may call exports, and that the host doesn't have.
    MissingExport = "missing-export",
    /// A module imports another module's interface or function, and its `calls` doesn't name that module.
    UndeclaredCall = "undeclared-call",
    /// A module imports a capability that its `uses` doesn't grant.
    Ungranted = "ungranted",
    /// An import, a route or a mount fits several exports: several modules export the interface or function, or a module exports several versions of it.
    Ambiguous = "ambiguous",
    /// An import and the export that would serve it differ in type or in the resources that their handles mean, or an export that the host calls differs from its contract.
    TypeMismatch = "type-mismatch",
    /// Modules or compartments call each other in a cycle.
    Cycle = "cycle",
    /// Modules can't be placed: together in one compartment, apart from a module that they call, or on any engine.
    Placement = "placement",
    /// A route names a function that doesn't exist.
    UnknownFunction = "unknown-function",
    /// A route binds a parameter that the function doesn't have, binds one twice, or leaves one out, or names a field or case that the result doesn't have.
    BadBinding = "bad-binding",
    /// A route or a call needs a type that routes or calls can't carry.
    UnsupportedType = "unsupported-type",
    /// A route's `errors` leaves out an error case of the function, or has a case that the function doesn't have.
    ErrorTable = "error-table",
    /// Two routes match the same requests, two mounts have the same path, or a path is not valid.
    RouteConflict = "route-conflict",
    /// A mount or a middleware names a module that has no fitting HTTP handler.
    NoHandler = "no-handler",
    /// A note, not a fault: nothing uses an export of a module, an entry of its `calls`, or `instances.concurrent` of a compartment.
    Unreached = "unreached",
    /// A note, not a fault: a compartment allows more calls at once than its engine has room for.
    Room = "room",
    /// A note, not a fault: a component is older than the sources that stand beside the manifest.
    Outdated = "outdated",
    /// A note, not a fault: a recorded example of a function doesn't fit the function's types.
    StaleExample = "stale-example",
    /// A component can't be compiled for this host.
    Compile = "compile",
    /// The state folder can't be used.
    State = "state",
    /// A change was dropped, because a rollback was made after the change was requested and before it was published.
    Overtaken = "overtaken",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let known = Code::ALL.iter().find(|code| code.as_str() == text);
        known.copied().ok_or_else(|| serde::de::Error::custom(format!("`{text}` is not the code of a problem")))
    }
}

/// A fault of an application, with everything that is known about its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The kind of the problem.
    pub code: Code,
    /// What is wrong, in one sentence. The other fields of the problem say where.
    pub message: String,
    /// The module that the problem is about. `None` if it is about no single module.
    pub module: Option<ModuleName>,
    /// The interface that the problem is about. `None` if it is about no interface.
    pub interface: Option<InterfaceName>,
    /// The function that the problem is about. `None` if it is about no single function.
    pub function: Option<String>,
    /// The path to the part of a type that the problem is about: `draft.lines[].quantity`. `None` if it is about no such part.
    pub type_path: Option<String>,
    /// What was expected at the place of the problem. `None` if `message` says it.
    pub expected: Option<String>,
    /// What was found at the place of the problem. `None` if `message` says it.
    pub found: Option<String>,
    /// The file that has the fault. `None` if the fault is in no file.
    #[serde(serialize_with = "lossy")]
    pub file: Option<PathBuf>,
    /// The line in `file`, counted from 1. `None` if the fault is in no line.
    pub line: Option<u32>,
    /// What the operator can do about the problem. `None` if `message` says it.
    pub help: Option<String>,
}

/// Cuts a text after [`MAX_TEXT`] characters, and marks the cut with `…`. Escapes control characters: files may have been made to deceive
/// whoever reads the text in a terminal.
fn clip(mut text: String) -> String {
    let is_raw = |character: char| character.is_control() && character != '\n';
    if text.contains(is_raw) {
        let escape =
            |character| if is_raw(character) { character.escape_default().to_string() } else { character.into() };
        text = text.chars().map(escape).collect();
    }
    if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Serializes a path as text. Bytes that are not UTF-8 become replacement characters.
fn lossy<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(serializer)
}

impl Problem {
    /// Makes a problem of a code and a message. The other methods add what else is known.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: clip(message.into()),
            module: None,
            interface: None,
            function: None,
            type_path: None,
            expected: None,
            found: None,
            file: None,
            line: None,
            help: None,
        }
    }

    /// Sets the module that the problem is about.
    pub fn module(mut self, module: &ModuleName) -> Self {
        self.module = Some(module.clone());
        self
    }

    /// Sets the interface that the problem is about. The name of a world sets none, because a world's own functions are in no interface.
    pub fn interface(mut self, interface: &InterfaceName) -> Self {
        self.interface = Some(interface.clone()).filter(|interface| !interface.is_world());
        self
    }

    /// Sets the function that the problem is about.
    pub fn function(mut self, function: impl Into<String>) -> Self {
        self.function = Some(clip(function.into()));
        self
    }

    /// Sets the path to the part of a type that the problem is about.
    pub fn type_path(mut self, path: impl Into<String>) -> Self {
        self.type_path = Some(clip(path.into()));
        self
    }

    /// Sets what was expected at the place of the problem, and what was found there.
    pub fn expected(mut self, expected: impl Into<String>, found: impl Into<String>) -> Self {
        self.expected = Some(clip(expected.into()));
        self.found = Some(clip(found.into()));
        self
    }

    /// Sets the file that has the fault. An empty path means a component that was uploaded, and sets no file.
    pub fn file(mut self, file: &Path) -> Self {
        self.file = (!file.as_os_str().is_empty()).then(|| file.to_owned());
        self
    }

    /// Sets the line of the file, counted from 1.
    pub fn line(mut self, line: u32) -> Self {
        self.line = Some(line);
        self
    }

    /// Sets the help: what the operator can do about the problem.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(clip(help.into()));
        self
    }
}

impl fmt::Display for Problem {
    /// Writes code and message in the first line, and each known detail in an indented line of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.code, self.message)?;
        if let Some(file) = &self.file {
            write!(f, "\n  --> {}", file.display())?;
            if let Some(line) = self.line {
                write!(f, ":{line}")?;
            }
        }
        let place = [
            ("module", self.module.as_ref().map(ToString::to_string)),
            ("interface", self.interface.as_ref().map(ToString::to_string)),
            ("function", self.function.clone()),
            ("type", self.type_path.clone()),
            ("expected", self.expected.clone()),
            ("found", self.found.clone()),
            ("help", self.help.clone()),
        ];
        for (label, text) in place {
            if let Some(text) = text {
                write!(f, "\n  {label:<9} {text}")?;
            }
        }
        Ok(())
    }
}

/// A list of problems, with at least one: the reason that an application or a change was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Returns `value` if `problems` is empty.
    ///
    /// # Errors
    ///
    /// All `problems` if there are any.
    pub fn ok_or_problems<T>(problems: Vec<Problem>, value: T) -> Result<T, Problems> {
        if problems.is_empty() { Ok(value) } else { Err(Problems(problems)) }
    }

    /// Returns the problems.
    pub fn as_slice(&self) -> &[Problem] {
        &self.0
    }

    /// Returns the problems as an owned list.
    pub fn into_vec(self) -> Vec<Problem> {
        self.0
    }
}

impl From<Vec<Problem>> for Problems {
    fn from(problems: Vec<Problem>) -> Self {
        Self(problems)
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Returns the one of `names` that is most similar to `text`, if it is similar enough to be what was meant.
pub fn nearest<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Least similarity of two names, from 0 to 1, that may be meant to be the same.
    const SIMILAR: f64 = 0.75;
    let scored = names.into_iter().map(|name| (strsim::jaro_winkler(text, name), name));
    let best = scored.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (best.0 >= SIMILAR).then_some(best.1)
}

/// Returns what a message adds about a name that is none of `names`: the one that was probably meant, or else all of them.
pub fn suggest<'a>(text: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    match nearest(text, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => "there are none".to_owned(),
        None => format!("the known names are {}", list_names(names)),
    }
}

/// Lists names for a message: "`a`, `b`".
pub fn list_names<T: fmt::Display>(names: impl IntoIterator<Item = T>) -> String {
    /// Greatest number of names in a message. Longer lists help nobody.
    const MAX_NAMES: usize = 20;
    let mut names = names.into_iter();
    let shown: Vec<String> = names.by_ref().take(MAX_NAMES).map(|name| format!("`{name}`")).collect();
    let more = if names.next().is_some() { " …" } else { "" };
    if shown.is_empty() { "none".to_owned() } else { shown.join(", ") + more }
}

/// Returns the message of an error and those of all its causes, in one line.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
