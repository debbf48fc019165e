//! The port to the log.

/// Where log lines go.
pub trait Log {
    /// Writes one line. `context` says which part of the module speaks.
    fn log(&self, level: Level, context: &str, message: &str);
}

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// What happened, as expected.
    Info,
    /// What will be tried again.
    Warn,
    /// What somebody must look at.
    Error,
    /// The module is gone.
    Critical,
}
