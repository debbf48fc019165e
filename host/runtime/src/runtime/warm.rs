//! Keeps the instances that `instances.warm` asks for: before a generation serves, and as long as it is the current one.

use std::sync::{Arc, Weak};

use super::Generation;

/// The time between two looks for compartments that have lost instances.
const LOOK: std::time::Duration = std::time::Duration::from_secs(1);

impl Generation {
    /// Starts the missing warm instances of all compartments. One that does not start is only logged.
    pub(super) async fn start_missing(self: &Arc<Self>) {
        let missing = |place: usize| (0..self.compartments[place].missing()).map(move |_| place);
        for place in (0..self.compartments.len()).flat_map(missing) {
            self.start_first_instance(place, Some(self), true).await;
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
