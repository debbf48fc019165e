//! What of the running application is looked at for metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use prometheus::IntCounter;

use super::{Generation, Runtime, Target};
use watertight_telemetry::{Snapshot, table};

/// How often a stop looks whether everything has ended.
const FINISH_GLANCE: Duration = Duration::from_millis(5);

/// A way from one compartment to another.
pub(super) struct Edge {
    /// Where it leads.
    pub(super) target: Target,
    /// Calls that took it.
    pub(super) calls: IntCounter,
    /// How long a call may take there, where that is less than where it comes from: elsewhere the caller's deadline comes first, and no
    /// clock need be read.
    pub(super) time: Option<Duration>,
}

/// A request that is in flight on a generation for as long as this lives. It doesn't keep the generation.
pub struct InFlight(Arc<AtomicUsize>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Generation {
    /// Counts a request as in flight here.
    pub fn enter(&self) -> InFlight {
        self.in_flight.fetch_add(1, Relaxed);
        InFlight(self.in_flight.clone())
    }
}

impl Runtime {
    /// Waits until nothing is in flight on any generation, up to `deadline`: neither requests, nor what operators called, whether or not
    /// their clients still wait. Returns whether that came first. Nothing new may begin meanwhile.
    pub async fn finish(&self, deadline: Instant) -> bool {
        let is_idle = || {
            let alive = self.retired().into_iter().chain([self.current()]);
            alive.map(|generation| generation.in_flight.load(Relaxed)).sum::<usize>() == 0
        };
        while !is_idle() {
            if Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(FINISH_GLANCE).await;
        }
        true
    }
}

impl Runtime {
    /// Adds what can be seen of the generations that are not freed, and of their compartments: those of one name together.
    pub fn sample(&self, now: &mut Snapshot) {
        let current = self.current();
        // One that is published right now is both.
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
                for module in compartment.modules() {
                    // Those of one name share their calls, on whatever generation.
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
