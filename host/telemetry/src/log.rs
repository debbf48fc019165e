//! The host's log filter: parsed at the start, and replaced while the host runs.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The longest text of a log filter, in bytes.
const MAX_TEXT: usize = 4_096;

/// The reason why the text of a log filter is refused.
#[derive(Debug, thiserror::Error)]
pub enum LogFilterError {
    /// The text of the filter is longer than 4,096 bytes.
    #[error("the log filter has more than {MAX_TEXT} bytes")]
    TooLong,
    /// The text of the filter is empty.
    #[error("the log filter is empty; to log nothing, write `off`")]
    Empty,
    /// A word of the text is neither a level nor a target with a level.
    #[error(
        "`{0}` is not a level (off, error, warn, info, debug, trace); to set the level of a target, write `{0}=debug`"
    )]
    NoLevel(String),
    /// The text does not parse as directives of `tracing`.
    #[error("the log filter can't be parsed: {0}")]
    Syntax(#[from] tracing_subscriber::filter::ParseError),
    /// The logger can't put the new filter into effect.
    #[error("the new log filter can't be applied, so the old one stays: {0}")]
    Failed(String),
}

/// Parses a log filter: a level, or directives in the syntax of `tracing`, such as `info,request=debug`.
///
/// # Errors
///
/// Returns [`LogFilterError`] if the text is empty, too long or no filter. A lone word that is not a level is refused too:
/// `tracing` would take it for a target's name and silence everything else.
pub fn parse_log_filter(text: &str) -> Result<EnvFilter, LogFilterError> {
    if text.len() > MAX_TEXT {
        return Err(LogFilterError::TooLong);
    }
    if text.trim().is_empty() {
        return Err(LogFilterError::Empty);
    }
    for word in text.split(',').map(str::trim) {
        let is_name = !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "_-:".contains(c));
        if is_name && word.parse::<LevelFilter>().is_err() {
            return Err(LogFilterError::NoLevel(word.to_owned()));
        }
    }
    Ok(EnvFilter::try_new(text)?)
}

/// A function that replaces the logger's filter.
type Apply = dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync;

/// The log filter in use, and the function that replaces it.
pub struct LogControl {
    /// The filter's text. The lock is held while the filter is replaced, so text and filter stay in step.
    text: Mutex<String>,
    apply: Box<Apply>,
}

impl LogControl {
    /// Creates the control of the log filter. `text` is the filter in use, and `apply` replaces it.
    pub fn new(text: String, apply: impl Fn(EnvFilter) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self { text: Mutex::new(text), apply: Box::new(apply) }
    }

    /// Returns the text of the log filter in use.
    pub fn current(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the log filter.
    ///
    /// # Errors
    ///
    /// Returns [`LogFilterError`] if `text` is no filter or the logger refuses it. The old filter stays then.
    pub fn set(&self, text: &str) -> Result<(), LogFilterError> {
        let filter = parse_log_filter(text)?;
        let mut now = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        (self.apply)(filter).map_err(LogFilterError::Failed)?;
        text.clone_into(&mut now);
        Ok(())
    }
}

impl fmt::Debug for LogControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogControl").field(&self.current()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_taken_and_slips_refused() {
        for text in
            ["info", "OFF", "info,request=debug", "warn,hyper::proto=trace", "info,[{module=x}]=debug", "request=off"]
        {
            assert!(parse_log_filter(text).is_ok(), "{text}");
        }
        for text in ["", " ", "debgu", "info,request", "info,request=debgu", "request=debug=trace", &"a".repeat(5_000)]
        {
            assert!(parse_log_filter(text).is_err(), "{text}");
        }
    }
}
