//! Requests in flight and the metrics that are sampled from the running application.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use prometheus::IntCounter;

use super::{Generation, Runtime, Target};
use watertight_telemetry::{Snapshot, table};

/// The pause between two checks whether all requests have ended at a stop.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A bridge from one compartment to a function of another.
pub(super) struct BridgeTarget {
    /// The function that the bridge leads to.
    pub(super) target: Target,
    /// The counter of calls over this bridge.
    pub(super) calls: IntCounter,
    /// The callee's time limit, if it is shorter than the caller's. Otherwise the caller's deadline comes first, and no clock is read.
    pub(super) time: Option<Duration>,
}

/// A guard that counts a request as in flight on a generation for as long as the guard lives. It does not keep the generation alive.
pub struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Generation {
    /// Counts a request as in flight on this generation until the returned guard is dropped.
    pub fn enter(&self) -> InFlight {
        self.in_flight.fetch_add(1, Relaxed);
        InFlight(self.in_flight.clone())
    }
}

impl Runtime {
    /// Waits until nothing is in flight on any generation, at most until `deadline`. Calls by operators count too, and so do calls whose
    /// client has gone. Returns whether all ended in time. No new call may begin meanwhile.
    pub async fn finish(&self, deadline: Instant) -> bool {
        let is_idle = || {
            let alive = self.retired().into_iter().chain([self.current()]);
            alive.map(|generation| generation.in_flight.load(Relaxed)).sum::<usize>() == 0
        };
        while !is_idle() {
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        true
    }

    /// Ends the requests that still run, on all generations, because the host's time to stop is over. Returns whether there were any.
    pub fn cut_off(&self) -> bool {
        let alive: Vec<_> = self.retired().into_iter().chain([self.current()]).collect();
        let is_busy = alive.iter().any(|generation| generation.in_flight.load(Relaxed) > 0);
        alive.iter().for_each(|generation| generation.cut_off());
        is_busy
    }
}

impl Runtime {
    /// Adds the state of all generations that are not freed to `now`, a snapshot of the metrics. Compartments of one name are added up.
    pub fn sample(&self, now: &mut Snapshot) {
        let current = self.current();
        // A generation that is being retired can appear as current and as retired.
        let mut retired = self.retired();
        retired.retain(|generation| generation.number != current.number);
        now.add(&table::GENERATION, &[], current.number.0);
        now.add(&table::GENERATIONS_ALIVE, &[], 1 + retired.len() as u64);
        let mut calls = BTreeMap::new();
        for generation in retired.iter().chain([&current]) {
            let number = generation.number.to_string();
            now.add(&table::IN_FLIGHT, &[&number], generation.in_flight.load(Relaxed) as u64);
            for compartment in generation.compartments() {
                let (name, stats) = (compartment.name().as_str(), compartment.stats());
                now.add(&table::INSTANCES_WARM, &[name], stats.warm as u64);
                now.add(&table::INSTANCES_WARM_BYTES, &[name], stats.memory);
                for module in compartment.modules() {
                    // A module has the same admission on every generation, so its numbers are taken once.
                    calls.extend(compartment.calls(&module.name).map(|stats| (module.name.clone(), stats)));
                }
            }
        }
        for (module, stats) in calls {
            let module = [module.as_str()];
            now.add(&table::CALLS_RUNNING, &module, stats.running as u64);
            now.add(&table::CALLS_WAITING, &module, stats.waiting as u64);
            now.add(&table::CALLS_LIMIT, &module, stats.limit as u64);
        }
    }
}
