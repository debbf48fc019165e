//! The signals that the command line hears, and what they mean.

use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::output;

/// How long after a signal another one means the same: `timeout`, for one, sends each twice.
const SAME_SIGNAL: Duration = Duration::from_millis(500);

/// Waits for SIGTERM or Ctrl-C. They are heard from the call on, not from the first poll.
pub(super) fn signalled() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be heard")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("Ctrl-C can't be heard")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Waits for SIGTERM, Ctrl-C or SIGHUP: what ends a command that belongs to a terminal.
pub(super) fn signalled_or_hung_up() -> anyhow::Result<impl Future<Output = ()>> {
    let (ended, mut hangup) = (signalled()?, hangup()?);
    Ok(async move {
        tokio::select! {
            () = ended => {}
            _ = hangup.recv() => {}
        }
    })
}

/// Hears SIGHUP from the call on.
pub(super) fn hangup() -> anyhow::Result<Signal> {
    signal(SignalKind::hangup()).context("SIGHUP can't be heard")
}

/// Takes SIGUSR1 and SIGUSR2, which would end the process, and does nothing for them. Processes that this one starts are not concerned.
pub(super) fn ignore_user_signals() -> anyhow::Result<()> {
    for (kind, name) in [(SignalKind::user_defined1(), "SIGUSR1"), (SignalKind::user_defined2(), "SIGUSR2")] {
        // The handler outlives what hears it.
        drop(signal(kind).with_context(|| format!("{name} can't be heard"))?);
    }
    Ok(())
}

/// Waits for a further signal, after one that was heard just now.
pub(super) async fn signalled_again() {
    tokio::time::sleep(SAME_SIGNAL).await;
    match signalled_or_hung_up() {
        Ok(again) => again.await,
        Err(_) => std::future::pending().await,
    }
}

/// Does `work` to its end, although a signal asks to stop: the first one has `words` said, a further one ends the process.
pub(super) async fn finish<T>(work: impl Future<Output = T>, words: &str) -> anyhow::Result<T> {
    let first = signalled_or_hung_up()?;
    let mut work = std::pin::pin!(work);
    tokio::select! {
        done = &mut work => return Ok(done),
        () = first => output::say(words),
    }
    tokio::select! {
        done = &mut work => Ok(done),
        () = signalled_again() => std::process::exit(1),
    }
}
