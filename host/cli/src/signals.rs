//! The signals that commands react to.

use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::output;

/// The time after a signal in which another one counts as the same. For example, `timeout` sends each signal twice.
const DUPLICATE_WINDOW: Duration = Duration::from_millis(500);

/// Returns a future that resolves at SIGTERM or Ctrl-C. The signals are caught from this call on, not from the first poll.
pub(super) fn termination() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("the handler for SIGTERM can't be installed")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("the handler for Ctrl-C can't be installed")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Returns a future that resolves at SIGTERM, Ctrl-C or SIGHUP: the signals that end a command of a terminal.
pub(super) fn termination_or_hangup() -> anyhow::Result<impl Future<Output = ()>> {
    let (ended, mut hangup) = (termination()?, hangup()?);
    Ok(async move {
        tokio::select! {
            () = ended => {}
            _ = hangup.recv() => {}
        }
    })
}

/// Returns a stream of SIGHUP signals, caught from this call on.
pub(super) fn hangup() -> anyhow::Result<Signal> {
    signal(SignalKind::hangup()).context("the handler for SIGHUP can't be installed")
}

/// Ignores SIGUSR1 and SIGUSR2, which would otherwise end the process. Child processes are not affected.
pub(super) fn ignore_user_signals() -> anyhow::Result<()> {
    for (kind, name) in [(SignalKind::user_defined1(), "SIGUSR1"), (SignalKind::user_defined2(), "SIGUSR2")] {
        // Dropping the stream keeps the signal handler installed.
        drop(signal(kind).with_context(|| format!("the handler for {name} can't be installed"))?);
    }
    Ok(())
}

/// Waits for a further signal. Must be called right after a signal has come.
pub(super) async fn second_termination() {
    tokio::time::sleep(DUPLICATE_WINDOW).await;
    match termination_or_hangup() {
        Ok(again) => again.await,
        Err(_) => std::future::pending().await,
    }
}

/// Runs `work` to its end despite signals: the first signal prints `words`, a further one ends the process.
pub(super) async fn run_to_end<T>(work: impl Future<Output = T>, words: &str) -> anyhow::Result<T> {
    let first = termination_or_hangup()?;
    let mut work = std::pin::pin!(work);
    tokio::select! {
        done = &mut work => return Ok(done),
        () = first => output::say(words),
    }
    tokio::select! {
        done = &mut work => Ok(done),
        () = second_termination() => std::process::exit(1),
    }
}
