//! The host's log filter: parsed at the start, and replaced while the host runs.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The longest text of a log filter, in bytes.
const MAX_TEXT: usize = 4_096;

/// The targets of the lines that this host writes. All its crates have names that begin with the first.
const OWN_TARGETS: [&str; 16] = [
    "watertight",
    "admin",
    "change",
    "compile",
    "database",
    "fake",
    "handler",
    "http",
    "limit",
    "module",
    "panic",
    "request",
    "sql",
    "state",
    "telemetry",
    "trap",
];
/// The word that stands for the filter with which the host started.
const DEFAULT: &str = "default";

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
/// A level without a target that is more verbose than `info` is that of this host's own lines. Libraries stay at `info`, unless a
/// directive names them.
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
    Ok(EnvFilter::try_new(text.split(',').map(for_own_targets).collect::<Vec<_>>().join(","))?)
}

/// Replaces a verbose level without a target by directives for this host's own targets.
fn for_own_targets(directive: &str) -> String {
    match directive.trim().parse::<LevelFilter>() {
        Ok(level) if level > LevelFilter::INFO => {
            let own = OWN_TARGETS.map(|target| format!(",{target}={level}"));
            format!("info{}", own.concat())
        }
        _ => directive.to_owned(),
    }
}

/// A function that replaces the logger's filter.
type Apply = dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync;

/// The log filter in use, and the function that replaces it.
pub struct LogControl {
    /// The filter's text. The lock is held while the filter is replaced, so text and filter stay in step.
    text: Mutex<String>,
    /// The text of the filter with which the host started.
    first: String,
    apply: Box<Apply>,
}

impl LogControl {
    /// Creates the control of the log filter. `text` is the filter in use, and `apply` replaces it.
    pub fn new(text: String, apply: impl Fn(EnvFilter) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self { first: text.clone(), text: Mutex::new(text), apply: Box::new(apply) }
    }

    /// Returns the text of the log filter in use.
    pub fn current(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the log filter. `default` stands for the filter with which the host started.
    ///
    /// # Errors
    ///
    /// Returns [`LogFilterError`] if `text` is no filter or the logger refuses it. The old filter stays then.
    pub fn set(&self, text: &str) -> Result<(), LogFilterError> {
        let text = if text.trim() == DEFAULT { &self.first } else { text };
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
    use std::fs;
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_verbose_level_is_that_of_the_hosts_own_lines() {
        let shown = parse_log_filter("debug,hyper=trace").unwrap().to_string();
        for directive in ["watertight=debug", "module=debug", "hyper=trace", "info"] {
            assert!(shown.split(',').any(|found| found == directive), "{directive}: {shown}");
        }
        assert!(!shown.split(',').any(|found| found == "debug"), "{shown}");
        assert_eq!(parse_log_filter("warn").unwrap().to_string(), "warn");
    }

    #[test]
    fn the_first_filter_comes_back() {
        let applied = Arc::new(Mutex::new(Vec::new()));
        let seen = applied.clone();
        let control = LogControl::new("warn,module=info".to_owned(), move |filter| {
            seen.lock().unwrap().push(filter.to_string());
            Ok(())
        });
        control.set("error").unwrap();
        assert_eq!(control.current(), "error");
        control.set("default").unwrap();
        assert_eq!(control.current(), "warn,module=info");
        assert_eq!(applied.lock().unwrap().len(), 2);
    }

    /// Adds the targets that the Rust files of a folder name.
    fn add_targets(folder: &Path, targets: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                add_targets(&path, targets);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let named = text.split("target: \"").skip(1).filter_map(|rest| rest.split('"').next());
                targets.extend(named.filter(|name| name.chars().all(|c| c.is_ascii_lowercase())).map(str::to_owned));
            }
        }
    }

    #[test]
    fn every_target_of_the_host_is_known() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut targets = Vec::new();
        for entry in fs::read_dir(crates).unwrap() {
            let source = entry.unwrap().path().join("src");
            if source.is_dir() {
                add_targets(&source, &mut targets);
            }
        }
        assert!(targets.len() > 10, "{targets:?}");
        for target in targets {
            assert!(OWN_TARGETS.contains(&&*target), "`{target}` is missing in OWN_TARGETS");
        }
    }

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
