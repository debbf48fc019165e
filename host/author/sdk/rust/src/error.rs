//! One error for all capabilities of the host.

use crate::config::ConfigError;
use crate::http::HttpError;
use crate::sql::SqlError;

/// A reason for which a capability of the host failed. Its text is for the log, never for callers of the module.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A statement failed.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// A request to another host got no usable answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// A setting can't be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl Error {
    /// Returns whether the same call may succeed in a moment. A contract's error often has a case for that: `unavailable(string)`.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Sql(error) => error.is_temporary(),
            Self::Http(error) => error.is_temporary(),
            Self::Config(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask() -> Result<(), Error> {
        Err(HttpError::Timeout)?;
        Ok(())
    }

    #[test]
    fn errors_of_capabilities_are_one_error() {
        let error = ask().expect_err("it always fails");
        assert!(error.is_temporary());
        assert_eq!(error.to_string(), HttpError::Timeout.to_string());
        assert!(!Error::from(ConfigError::Missing("key".to_owned())).is_temporary());
    }
}
