//! The log of a command that runs modules in its own process, such as `test` and `call`.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use tracing_subscriber::fmt::MakeWriter;

use watertight_model::config::LogConfig;
use watertight_telemetry::log::parse_log_filter;

/// The maximum size of the log lines that are kept between two calls of [`BufferedLog::take`], in bytes.
const MAX_KEPT: usize = 256 << 10;

/// Returns the log directives that apply unless `WATERTIGHT_LOG` is set: the application's level for modules, and warnings for the host.
pub(super) fn level(config: LogConfig) -> String {
    match config.level.as_str() {
        level @ ("off" | "error" | "warn") => level.to_owned(),
        level => format!("warn,module={level}"),
    }
}

/// A log that collects the lines of all modules in memory until they are taken.
#[derive(Clone, Default)]
pub(super) struct BufferedLog(Arc<Mutex<Buffer>>);

#[derive(Default)]
struct Buffer {
    text: Vec<u8>,
    /// The number of lines that were dropped because the log was full.
    lost: usize,
}

impl BufferedLog {
    /// Starts to collect everything that this process logs. Must be called only once.
    pub(super) fn start(config: LogConfig) -> anyhow::Result<Self> {
        let asked = std::env::var("WATERTIGHT_LOG").ok().filter(|directives| !directives.is_empty());
        let text = asked.unwrap_or_else(|| level(config));
        let filter = parse_log_filter(&text).context("WATERTIGHT_LOG can't be parsed")?;
        let kept = Self::default();
        let lines = tracing_subscriber::fmt().with_writer(kept.clone()).log_internal_errors(false).with_ansi(false);
        lines.without_time().with_env_filter(filter).init();
        Ok(kept)
    }

    /// Takes the lines logged since the last call.
    pub(super) fn take(&self) -> Vec<String> {
        let Buffer { text, lost } = std::mem::take(&mut *self.kept());
        let mut lines: Vec<String> = String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
        if lost > 0 {
            lines.push(format!("… and {lost} more lines"));
        }
        lines
    }

    fn kept(&self) -> MutexGuard<'_, Buffer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl io::Write for BufferedLog {
    /// Keeps one log line whole, or drops the line and counts it if the buffer is full.
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

impl<'a> MakeWriter<'a> for BufferedLog {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
