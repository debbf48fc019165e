//! Reads the configuration values and secrets of modules from the manifest, environment variables and files.
//!
//! The manifest's text is kept with a generation and may be shown. The content of environment variables and secret files is not kept: it
//! is read again at each start and each change, so that no file of the host contains a secret.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::source::LocatedValue;
use super::tree::{Table, Value};
use super::{AppConfig, ModuleConfig};
use crate::ids::ModuleName;
use crate::problem::{Code, Problem, Problems};

/// Greatest size of a secret, in bytes. Keys and certificates are shorter.
const MAX_SECRET: usize = 64 << 10;
/// The prefix of the host's own environment variables. No module may read a variable with this prefix: the admin token is one of them.
const OWN_VARIABLES: &str = "WATERTIGHT_";

/// The source of a configuration value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueSource {
    /// `"EUR"`: the manifest itself.
    Text(String),
    /// `{ env = "APP_REGION", default = "eu" }`: an environment variable of the host.
    Variable {
        /// The name of the environment variable.
        name: String,
        /// The value to use if the variable is not set. `None` means that the variable must be set.
        default: Option<String>,
    },
}

/// The source of a secret. The manifest can't be one, because it is kept and may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// `{ file = "secrets/key" }`: a file, relative to the manifest. One line break at its end is not part of the secret.
    File(PathBuf),
    /// `{ env = "NAME" }`: an environment variable of the host.
    Variable(String),
}

/// Reads a module's table `config`.
pub(super) fn read_config(table: &mut Table<'_>) -> BTreeMap<String, LocatedValue<ValueSource>> {
    let read = |(key, value): (&str, Value<'_>)| Some((key.to_owned(), ValueSource::read(&value)?));
    table.entries().into_iter().filter_map(read).collect()
}

/// Reads a module's table `secrets`. Reports keys that are in `config` too, because modules ask for both in the same way.
pub(super) fn read_secrets(
    table: &mut Table<'_>,
    config: &BTreeMap<String, LocatedValue<ValueSource>>,
    root: &Path,
) -> BTreeMap<String, LocatedValue<SecretSource>> {
    let read = |(key, value): (&str, Value<'_>)| {
        if let Some(other) = config.get(key) {
            let problem = Problem::new(Code::Duplicate, format!("`{key}` is both in `config` and in `secrets`"));
            value.report(problem.help(format!("the one in `config` is in line {}", other.line)));
        }
        Some((key.to_owned(), SecretSource::read(&value, root)?))
    };
    table.entries().into_iter().filter_map(read).collect()
}

impl ValueSource {
    fn read(value: &Value<'_>) -> Option<LocatedValue<Self>> {
        if !value.is_table() {
            return Some(value.at(Self::Text(value.string()?.to_owned())));
        }
        let read = value.table(|table| {
            let name = table.required("env").and_then(|value| variable(&value));
            let default = table.optional("default").map(|value| value.string().map(str::to_owned));
            // A default that is not a string is already reported.
            Some(Self::Variable { name: name?, default: default.map_or(Some(None), |default| default.map(Some))? })
        });
        read.flatten().map(|source| value.at(source))
    }
}

impl SecretSource {
    fn read(value: &Value<'_>, root: &Path) -> Option<LocatedValue<Self>> {
        let read = value.table(|table| {
            let (file, variable_) = (table.optional("file"), table.optional("env"));
            match (file, variable_) {
                (Some(file), None) => match file.string()? {
                    "" => {
                        file.refuse("the text is empty; write the path of a file");
                        None
                    }
                    text => Some(Self::File(root.join(text))),
                },
                (None, Some(name)) => Some(Self::Variable(variable(&name)?)),
                _ => {
                    value.refuse("give a secret exactly one source: `file` or `env`");
                    None
                }
            }
        });
        read.flatten().map(|source| value.at(source))
    }
}

/// Reads the name of an environment variable that modules may be given. Reports any other value and returns `None`.
fn variable(value: &Value<'_>) -> Option<String> {
    let name = value.string()?;
    if name.is_empty() || name.contains(['=', '\0']) {
        value.refuse(format_args!("`{}` is not the name of an environment variable", name.escape_debug()));
        return None;
    }
    if name.starts_with(OWN_VARIABLES) {
        value.refuse(format_args!("`{name}` is one of the host's own variables, which modules can't read"));
        return None;
    }
    Some(name.to_owned())
}

/// A text that no output shows. Its memory is zeroed when the last clone is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(std::sync::Arc<Zeroizing<String>>);

impl Secret {
    /// Makes a secret of `text`.
    pub fn new(text: Zeroizing<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text of the secret. Only the module that the secret belongs to may get it.
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

/// The configuration values and secrets of one module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModuleValues {
    /// The configuration values, by key.
    pub config: BTreeMap<String, String>,
    /// The secrets, by key. No key is in `config` too.
    pub secrets: BTreeMap<String, Secret>,
}

/// The configuration values and secrets of all modules, as they were when they were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Values(BTreeMap<ModuleName, ModuleValues>);

impl Values {
    /// Reads every configuration value and every secret of every module from its source.
    ///
    /// # Errors
    ///
    /// A problem for each value and each secret that can't be read. No message contains a part of a value or secret.
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
        Problems::ok_or_problems(problems, values)
    }

    /// Returns the values and secrets of a module. `None` means that the configuration has no such module.
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
                (Err(ValueError::Missing), Some(default)) => Ok(default.clone()),
                (found, _) => found.map_err(|why| format!("`config.{key}`: the variable `{name}` {why}")),
            },
        };
        match found {
            Ok(text) => drop(values.config.insert(key.clone(), text)),
            Err(message) => report(
                source.line,
                message,
                "set the variable where the host is started, or give a default in the manifest: `default = \"…\"`",
            ),
        }
    }
    for (key, source) in &module.secrets {
        let found = match &source.value {
            SecretSource::Variable(name) => from_environment(name).map(Zeroizing::new).map_err(|why| {
                let message = format!("`secrets.{key}`: the variable `{name}` {why}");
                (message, "set the variable where the host is started, and let only the host's user read it")
            }),
            SecretSource::File(file) => from_file(file).map_err(|why| {
                let message = format!("`secrets.{key}`: {} {why}", file.display());
                (message, "write the secret to the file, and let only the host's user read it")
            }),
        };
        match found {
            Ok(text) => drop(values.secrets.insert(key.clone(), Secret::new(text))),
            Err((message, help)) => report(source.line, message, help),
        }
    }
    values
}

/// The reason that a value or secret can't be read. It never contains a part of the value.
#[derive(Debug, thiserror::Error)]
enum ValueError {
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

fn from_environment(name: &str) -> Result<String, ValueError> {
    std::env::var(name).map_err(|error| match error {
        std::env::VarError::NotPresent => ValueError::Missing,
        // The error contains the value, so it is dropped.
        std::env::VarError::NotUnicode(_) => ValueError::NotText,
    })
}

fn from_file(file: &Path) -> Result<Zeroizing<String>, ValueError> {
    // This check comes before opening the file, because opening a pipe would block until something writes to it.
    if !file.metadata().map_err(ValueError::File)?.is_file() {
        return Err(ValueError::File(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file")));
    }
    // The buffer has its final size from the start: growing it would leave copies of the secret in freed memory.
    let mut bytes = Zeroizing::new(vec![0; MAX_SECRET + 2]);
    let mut length = 0;
    let mut open = File::open(file).map_err(ValueError::File)?;
    loop {
        match open.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ValueError::File(error)),
        }
    }
    let text = std::str::from_utf8(&bytes[..length]).map_err(|_| ValueError::NotText)?;
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    match text.len() {
        0 => Err(ValueError::Empty),
        1..=MAX_SECRET => Ok(Zeroizing::new(text.to_owned())),
        _ => Err(ValueError::TooLong),
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
