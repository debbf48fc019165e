//! What modules write while a command runs them in this process: a running host would log it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use tracing_subscriber::fmt::MakeWriter;

use watertight_model::config::LogConfig;
use watertight_telemetry::log::parse_log_level;

/// Bytes of lines that are kept of one case of a suite.
const MAX_KEPT: usize = 256 << 10;

/// What is logged unless `WATERTIGHT_LOG` says: what modules write at the application's level, and of the host what went wrong.
pub(super) fn level(config: LogConfig) -> String {
    match config.level.as_str() {
        level @ ("off" | "error" | "warn") => level.to_owned(),
        level => format!("warn,module={level}"),
    }
}

/// Keeps the lines of all modules until they are taken.
#[derive(Clone, Default)]
pub(super) struct KeptLog(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    text: Vec<u8>,
    /// Lines that found no room.
    lost: usize,
}

impl KeptLog {
    /// Begins to keep what is logged in this process. Once only.
    pub(super) fn start(config: LogConfig) -> anyhow::Result<Self> {
        let asked = std::env::var("WATERTIGHT_LOG").ok().filter(|directives| !directives.is_empty());
        let text = asked.unwrap_or_else(|| level(config));
        let filter = parse_log_level(&text).context("WATERTIGHT_LOG can't be understood")?;
        let kept = Self::default();
        let lines = tracing_subscriber::fmt().with_writer(kept.clone()).log_internal_errors(false).with_ansi(false);
        lines.without_time().with_env_filter(filter).init();
        Ok(kept)
    }

    /// The lines since the last time.
    pub(super) fn take(&self) -> Vec<String> {
        let Kept { text, lost } = std::mem::take(&mut *self.kept());
        let mut lines: Vec<String> = String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
        if lost > 0 {
            lines.push(format!("… and {lost} more lines"));
        }
        lines
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl io::Write for KeptLog {
    /// Takes one line, whole or not at all.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut kept = self.kept();
        if kept.text.len() + line.len() > MAX_KEPT {
            kept.lost += 1;
        } else {
            kept.text.extend_from_slice(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for KeptLog {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
