//! Keeps the instances that `instances.warm` asks for: before a generation serves, and as long as it is the current one.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Generation;

/// The time between two looks for compartments that have lost instances.
const LOOK: Duration = Duration::from_secs(1);

impl Generation {
    /// Starts the missing warm instances of all compartments. One that does not start is only logged.
    pub(super) async fn start_missing(self: &Arc<Self>) {
        for (place, compartment) in self.compartments.iter().enumerate() {
            for _ in 0..compartment.missing() {
                self.start_first_instance(place, Some(self), true).await;
            }
        }
    }
}

/// Replaces lost instances until the generation is freed.
pub(super) async fn keep(generation: Weak<Generation>) {
    while let Some(generation) = generation.upgrade() {
        generation.start_missing().await;
        drop(generation);
        tokio::time::sleep(LOOK).await;
    }
}
