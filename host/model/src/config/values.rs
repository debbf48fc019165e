//! Values and secrets of modules: where the manifest says that they are, and what was found there.
//!
//! Text of the manifest is kept with a generation and may be shown. What its sources hold isn't: it is read again at each start and
//! each change, so a secret stands in no file of the host.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::source::At;
use super::tree::{Table, Value};
use super::{AppConfig, ModuleConfig};
use crate::ids::ModuleName;
use crate::problem::{Code, Problem, Problems};

/// The longest secret, in bytes: keys and certificates are shorter.
const MAX_SECRET: usize = 64 << 10;
/// What the names of the host's own variables begin with. No module is given those: the admin token is among them.
const OWN_VARIABLES: &str = "WATERTIGHT_";

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueSource {
    /// `"EUR"`: from the manifest itself.
    Text(String),
    /// `{ env = "SHOP_REGION", default = "eu" }`: from the host's environment.
    Variable {
        /// The variable.
        name: String,
        /// The value where there is no such variable.
        default: Option<String>,
    },
}

/// Where a secret comes from; never from the manifest, which is kept and shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// `{ file = "secrets/key" }`: a file, relative to the manifest. A line break at its end is no part of the secret.
    File(PathBuf),
    /// `{ env = "NAME" }`: a variable of the host's environment.
    Variable(String),
}

/// Reads a module's `config`.
pub(super) fn read_config(table: &mut Table<'_>) -> BTreeMap<String, At<ValueSource>> {
    let read = |(key, value): (&str, Value<'_>)| Some((key.to_owned(), ValueSource::read(&value)?));
    table.entries().into_iter().filter_map(read).collect()
}

/// Reads a module's `secrets`. None may have the name of a value, since both are asked for in the same way.
pub(super) fn read_secrets(
    table: &mut Table<'_>,
    config: &BTreeMap<String, At<ValueSource>>,
    root: &Path,
) -> BTreeMap<String, At<SecretSource>> {
    let read = |(key, value): (&str, Value<'_>)| {
        if let Some(other) = config.get(key) {
            let problem = Problem::new(Code::Duplicate, format!("`{key}` is both in `config` and in `secrets`"));
            value.report(problem.help(format!("the other place is line {}", other.line)));
        }
        Some((key.to_owned(), SecretSource::read(&value, root)?))
    };
    table.entries().into_iter().filter_map(read).collect()
}

impl ValueSource {
    fn read(value: &Value<'_>) -> Option<At<Self>> {
        if !value.is_table() {
            return Some(value.at(Self::Text(value.string()?.to_owned())));
        }
        let read = value.table(|table| {
            let name = table.required("env").and_then(|value| variable(&value));
            let default = table.optional("default").map(|value| value.string().map(str::to_owned));
            // A default of another type was reported.
            Some(Self::Variable { name: name?, default: default.map_or(Some(None), |default| default.map(Some))? })
        });
        read.flatten().map(|source| value.at(source))
    }
}

impl SecretSource {
    fn read(value: &Value<'_>, root: &Path) -> Option<At<Self>> {
        let read = value.table(|table| {
            let (file, variable_) = (table.optional("file"), table.optional("env"));
            match (file, variable_) {
                (Some(file), None) => match file.string()? {
                    "" => {
                        file.refuse("an empty text names no file");
                        None
                    }
                    text => Some(Self::File(root.join(text))),
                },
                (None, Some(name)) => Some(Self::Variable(variable(&name)?)),
                _ => {
                    value.refuse("a secret has one source, `file` or `env`");
                    None
                }
            }
        });
        read.flatten().map(|source| value.at(source))
    }
}

/// The name of a variable that modules may be given.
fn variable(value: &Value<'_>) -> Option<String> {
    let name = value.string()?;
    if name.is_empty() || name.contains(['=', '\0']) {
        value.refuse(format_args!("`{}` is not the name of a variable", name.escape_debug()));
        return None;
    }
    if name.starts_with(OWN_VARIABLES) {
        value.refuse(format_args!("`{name}` is a variable of the host's own, which no module is given"));
        return None;
    }
    Some(name.to_owned())
}

/// A text that is shown nowhere, and leaves nothing in memory when the last that has it lets go.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(std::sync::Arc<Zeroizing<String>>);

impl Secret {
    /// Takes a text.
    pub fn new(text: Zeroizing<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the module that it belongs to.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(a secret)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What one module is configured with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModuleValues {
    /// Its values, by key.
    pub config: BTreeMap<String, String>,
    /// Its secrets, by key; none has the key of a value.
    pub secrets: BTreeMap<String, Secret>,
}

/// What the modules of an application are configured with, as it was found when this was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Values(BTreeMap<ModuleName, ModuleValues>);

impl Values {
    /// Looks at every source.
    ///
    /// # Errors
    ///
    /// All that can't be had. No message says anything of a value.
    pub fn read(config: &AppConfig) -> Result<Self, Problems> {
        let (mut values, mut problems) = (Self::default(), Vec::new());
        for (name, module) in &config.modules {
            values.0.insert(
                name.clone(),
                read_module(module, |line, message, help| {
                    let problem =
                        Problem::new(Code::MissingValue, message).module(name).file(&config.manifest).line(line);
                    problems.push(problem.help(help));
                }),
            );
        }
        Problems::or(problems, values)
    }

    /// What a module is configured with.
    pub fn of(&self, module: &ModuleName) -> Option<&ModuleValues> {
        self.0.get(module)
    }
}

fn read_module(module: &ModuleConfig, mut report: impl FnMut(u32, String, &'static str)) -> ModuleValues {
    let mut values = ModuleValues::default();
    for (key, source) in &module.config {
        let found = match &source.value {
            ValueSource::Text(text) => Ok(text.clone()),
            ValueSource::Variable { name, default } => match (from_environment(name), default) {
                (Err(Absent::Missing), Some(default)) => Ok(default.clone()),
                (found, _) => found.map_err(|why| format!("`config.{key}`: the variable `{name}` {why}")),
            },
        };
        match found {
            Ok(text) => drop(values.config.insert(key.clone(), text)),
            Err(message) => report(
                source.line,
                message,
                "set it where the host is started, or say in the manifest what holds without it: `default = \"…\"`",
            ),
        }
    }
    for (key, source) in &module.secrets {
        let found = match &source.value {
            SecretSource::Variable(name) => from_environment(name)
                .map(Zeroizing::new)
                .map_err(|why| format!("`secrets.{key}`: the variable `{name}` {why}")),
            SecretSource::File(file) => {
                from_file(file).map_err(|why| format!("`secrets.{key}`: {} {why}", file.display()))
            }
        };
        match found {
            Ok(text) => drop(values.secrets.insert(key.clone(), Secret::new(text))),
            Err(message) => report(source.line, message, "put the secret there for the host's user alone to read"),
        }
    }
    values
}

/// Why a value can't be had. Never with the value, or a part of it.
#[derive(Debug, thiserror::Error)]
enum Absent {
    #[error("is not set")]
    Missing,
    #[error("is not UTF-8")]
    NotText,
    #[error("is empty")]
    Empty,
    #[error("has more than {MAX_SECRET} bytes")]
    TooLong,
    #[error("can't be read: {0}")]
    File(io::Error),
}

fn from_environment(name: &str) -> Result<String, Absent> {
    std::env::var(name).map_err(|error| match error {
        std::env::VarError::NotPresent => Absent::Missing,
        // It carries the value.
        std::env::VarError::NotUnicode(_) => Absent::NotText,
    })
}

fn from_file(file: &Path) -> Result<Zeroizing<String>, Absent> {
    // Opening a pipe would wait for whoever writes to it.
    if !file.metadata().map_err(Absent::File)?.is_file() {
        return Err(Absent::File(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file")));
    }
    // As large as it may become: one that grew would leave what it held before.
    let mut bytes = Zeroizing::new(vec![0; MAX_SECRET + 2]);
    let mut length = 0;
    let mut open = File::open(file).map_err(Absent::File)?;
    loop {
        match open.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Absent::File(error)),
        }
    }
    let text = std::str::from_utf8(&bytes[..length]).map_err(|_| Absent::NotText)?;
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    match text.len() {
        0 => Err(Absent::Empty),
        1..=MAX_SECRET => Ok(Zeroizing::new(text.to_owned())),
        _ => Err(Absent::TooLong),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> Result<String, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        from_file(file.path()).map(|text| text.to_string()).map_err(|why| why.to_string())
    }

    #[test]
    fn a_secret_of_a_file_is_its_text_without_the_last_line_break() {
        for bytes in [&b"k\xc3\xa9y"[..], b"k\xc3\xa9y\n", b"k\xc3\xa9y\r\n"] {
            assert_eq!(file(bytes).unwrap(), "kéy");
        }
        assert_eq!(file(b"a\nb\n\n").unwrap(), "a\nb\n");
        assert_eq!(file(&[b'x'; MAX_SECRET]).unwrap().len(), MAX_SECRET);
    }

    #[test]
    fn what_is_no_secret_is_refused_without_a_word_of_it() {
        for (bytes, why) in [
            (&b"hidden\xff"[..], "is not UTF-8"),
            (b"\n", "is empty"),
            (&[b'h'; MAX_SECRET + 1], "has more than 65536 bytes"),
            (&[b'h'; 2 * MAX_SECRET], "has more than 65536 bytes"),
        ] {
            assert_eq!(file(bytes).unwrap_err(), why);
        }
        assert!(from_file(Path::new("/dev/zero")).is_err());
    }

    #[test]
    fn a_secret_is_shown_nowhere() {
        let values = ModuleValues {
            secrets: [("k".to_owned(), Secret::new(Zeroizing::new("hidden".to_owned())))].into(),
            ..ModuleValues::default()
        };
        let shown = format!("{values:?} {values:#?} {}", values.secrets["k"]);
        assert!(shown.contains("(a secret)") && !shown.contains("hidden"), "{shown}");
    }
}
