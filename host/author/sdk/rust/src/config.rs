//! The values and secrets that the manifest gives to a module (`[modules.NAME.config]` and `[modules.NAME.secrets]`), as a trait.

use std::fmt;
use std::str::FromStr;

/// The source of a module's configuration.
pub trait Config {
    /// Returns the value or the secret of a key, if the manifest has the key.
    ///
    /// # Errors
    ///
    /// The source of the values can't be read. Watertight keeps them in memory and never returns this.
    fn setting(&self, key: &str) -> Result<Option<String>, ConfigError>;

    /// Returns the value of a key that the manifest must have.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Missing`] without the key.
    fn required(&self, key: &str) -> Result<String, ConfigError> {
        self.setting(key)?.ok_or_else(|| ConfigError::Missing(key.to_owned()))
    }

    /// Returns the secret of a key that the manifest must have, in a type that no log line shows.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Missing`] without the key.
    fn secret(&self, key: &str) -> Result<Secret, ConfigError> {
        self.required(key).map(Secret)
    }

    /// Returns the value of a key as a number, an address or the like; `default` without the key.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Invalid`] if the value can't be read as `T`.
    fn parsed<T: FromStr<Err: fmt::Display>>(&self, key: &str, default: T) -> Result<T, ConfigError> {
        let Some(text) = self.setting(key)? else { return Ok(default) };
        text.parse().map_err(|error: T::Err| ConfigError::Invalid { key: key.to_owned(), reason: error.to_string() })
    }
}

/// A secret. Its debug output does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Returns the secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A reason for which a setting can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The manifest lacks a key.
    #[error("the manifest gives no `{0}` to this module")]
    Missing(String),
    /// A value is not of the type that the module expects. The value itself is not part of the error.
    #[error("the setting `{key}` can't be used: {reason}")]
    Invalid {
        /// The key of the value.
        key: String,
        /// Why the value can't be read.
        reason: String,
    },
    /// The source of the values can't be read.
    #[error("the configuration can't be read: {0}")]
    Unreadable(String),
}
