//! Tells whether a listener's task still runs: the listener answers a question between two connections.

use std::convert::Infallible;

use tokio::sync::{mpsc, oneshot};

/// A question that the listener's task answers.
type Ping = oneshot::Sender<()>;

/// The questions to one listener.
pub(super) struct Pings {
    ask: mpsc::Sender<Ping>,
    asked: mpsc::Receiver<Ping>,
}

impl Default for Pings {
    fn default() -> Self {
        let (ask, asked) = mpsc::channel(1);
        Self { ask, asked }
    }
}

impl Pings {
    pub(super) fn pulse(&self) -> Pulse {
        Pulse(self.ask.clone())
    }

    /// Answers questions, as long as it is polled.
    pub(super) async fn answer(&mut self) -> Infallible {
        while let Some(ping) = self.asked.recv().await {
            // This fails if whoever asked has stopped to wait.
            let _ = ping.send(());
        }
        std::future::pending().await
    }
}

/// A handle that tells whether a listener's task still runs. Clones ask the same listener.
#[derive(Clone)]
pub struct Pulse(mpsc::Sender<Ping>);

impl Pulse {
    /// Waits for the listener's answer. Returns `false` if the listener has stopped. Never resolves if its task hangs.
    pub async fn is_alive(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.0.send(answer).await.is_ok() && answered.await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn only_a_listener_that_runs_answers() {
        let mut pings = Pings::default();
        let pulse = pings.pulse();
        let hangs = tokio::time::timeout(Duration::from_millis(20), pulse.is_alive()).await;
        assert!(hangs.is_err());
        tokio::select! {
            alive = pulse.is_alive() => assert!(alive),
            never = pings.answer() => match never {},
        }
        drop(pings);
        assert!(!pulse.is_alive().await);
    }
}
