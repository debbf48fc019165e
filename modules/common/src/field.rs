//! The validation of fields, and the error for a field that is not valid.

/// The maximum length of an idempotency or deduplication key, in bytes.
const MAX_KEY: usize = 128;

/// A field that was parsed but has a value that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {reason}")]
pub struct Invalid {
    /// The path to the field in the contract's names: `lines[0].unit-price`.
    pub field: String,
    /// The reason, as the rest of a sentence that begins with the field: `must not be empty`.
    pub reason: String,
}

impl Invalid {
    /// Creates the error for a field.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: field.into(), reason: reason.into() }
    }
}

/// Refuses a text that is empty or longer than `max` bytes.
///
/// # Errors
///
/// [`Invalid`] with the path `field` and the reason.
pub fn check_text(field: &str, text: &str, max: usize) -> Result<(), Invalid> {
    match text.len() {
        0 => Err(Invalid::new(field, "must not be empty")),
        length if length > max => Err(Invalid::new(field, format!("must not be longer than {max} bytes"))),
        _ => Ok(()),
    }
}

/// Refuses an idempotency or deduplication key that is empty or longer than 128 bytes.
///
/// # Errors
///
/// [`Invalid`] with the path `field` and the reason.
pub fn check_key(field: &str, key: &str) -> Result<(), Invalid> {
    check_text(field, key, MAX_KEY)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded() {
        assert!(check_text("name", "x", 1).is_ok());
        assert_eq!(check_text("name", "", 1).unwrap_err().to_string(), "name must not be empty");
        assert_eq!(check_text("name", "é", 1).unwrap_err().to_string(), "name must not be longer than 1 bytes");
        assert!(check_key("key", &"k".repeat(MAX_KEY)).is_ok() && check_key("key", &"k".repeat(MAX_KEY + 1)).is_err());
    }
}
