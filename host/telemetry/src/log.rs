//! Which lines the host logs: said at the start, and changed while it runs.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The longest text that says which lines are logged, in bytes.
const MAX_TEXT: usize = 4_096;

/// Why such a text is refused.
#[derive(Debug, thiserror::Error)]
pub enum BadLogLevel {
    /// It is too long.
    #[error("it has more than {MAX_TEXT} bytes")]
    TooLong,
    /// It says nothing.
    #[error("it is empty; to log nothing, say `off`")]
    Empty,
    /// A word of it is no level, and no target with one.
    #[error("`{0}` is no level: off, error, warn, info, debug or trace; for a target say its level, `{0}=debug`")]
    NoLevel(String),
    /// It can't be understood.
    #[error("it can't be understood: {0}")]
    Syntax(#[from] tracing_subscriber::filter::ParseError),
    /// It could not be put in place.
    #[error("it can't be put in place: {0}")]
    Failed(String),
}

/// Reads a level, or directives as `tracing` has them: `info,request=debug`.
///
/// # Errors
///
/// [`BadLogLevel`]. A lone word that is no level would be the name of a target to `tracing`, and silence everything else.
pub fn parse_log_level(text: &str) -> Result<EnvFilter, BadLogLevel> {
    if text.len() > MAX_TEXT {
        return Err(BadLogLevel::TooLong);
    }
    if text.trim().is_empty() {
        return Err(BadLogLevel::Empty);
    }
    for word in text.split(',').map(str::trim) {
        let is_name = !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || "_-:".contains(c));
        if is_name && word.parse::<LevelFilter>().is_err() {
            return Err(BadLogLevel::NoLevel(word.to_owned()));
        }
    }
    Ok(EnvFilter::try_new(text)?)
}

/// Puts directives in place of those before.
type Apply = dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync;

/// What is logged now, and the way to change it.
pub struct LogControl {
    /// Changed together with what it says.
    text: Mutex<String>,
    apply: Box<Apply>,
}

impl LogControl {
    /// `text` is in place; `apply` puts another.
    pub fn new(text: String, apply: impl Fn(EnvFilter) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self { text: Mutex::new(text), apply: Box::new(apply) }
    }

    /// What is logged, in words.
    pub fn now(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Logs that from now on.
    ///
    /// # Errors
    ///
    /// [`BadLogLevel`]; nothing has changed then.
    pub fn set(&self, text: &str) -> Result<(), BadLogLevel> {
        let filter = parse_log_level(text)?;
        let mut now = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        (self.apply)(filter).map_err(BadLogLevel::Failed)?;
        text.clone_into(&mut now);
        Ok(())
    }
}

impl fmt::Debug for LogControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogControl").field(&self.now()).finish()
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
            assert!(parse_log_level(text).is_ok(), "{text}");
        }
        for text in ["", " ", "debgu", "info,request", "info,request=debgu", "request=debug=trace", &"a".repeat(5_000)]
        {
            assert!(parse_log_level(text).is_err(), "{text}");
        }
    }
}
