//! Recovery: modules that export `resume` are called for what was left unfinished, at each start and on a schedule while the host serves.
//!
//! A module is never called for that twice at once, whatever generations are alive: the start has ended before anything else runs, and
//! after it one loop calls each module once at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use wasmtime::component::Val;

use super::{Generation, Runtime, Target, detached};
use crate::store::{CallContext, UnderWay};
use watertight_graph::graph::RESUME;
use watertight_model::ids::{InterfaceName, ModuleName};
use watertight_telemetry::Trace;
use watertight_telemetry::table::{Origin, ResumeMoment, ResumeOutcome};

/// How often one start asks one module whether it has more to resume. What is left then is left to the schedule.
const MAX_CALLS_AT_START: u32 = 10_000;
/// How often one run of the schedule asks.
const MAX_CALLS_OF_A_RUN: u32 = 1_000;
/// Modules that are called by the schedule at once.
const MAX_RUNS: usize = 4;
/// How often the schedule looks whether another generation has other modules, or other times for them.
const LOOK: Duration = Duration::from_secs(1);
/// The part of a module's interval by which a run may come earlier, so that hosts that started together don't go on together.
const JITTER: f64 = 0.2;

/// The result of one call of `resume`.
enum Resumed {
    /// Nothing is left.
    Finished,
    /// The module wants to be called again.
    More,
    /// It failed, for that reason.
    Failed(String),
}

impl Generation {
    /// Lets every module that wants to pick up what an earlier process left unfinished. Nothing else may run meanwhile. What fails is
    /// logged, and left to the schedule and to the next start.
    pub async fn resume(self: &Arc<Self>) {
        for (module, target) in self.resumable() {
            let next = || Some((self.clone(), target, UnderWay::Nothing));
            run(&module, MAX_CALLS_AT_START, ResumeMoment::Start, next).await;
        }
    }

    /// The modules that export `resume`, each with that function.
    fn resumable(&self) -> Vec<(ModuleName, Target)> {
        let name: InterfaceName = RESUME.parse().expect("the host's own interface is well named");
        let found = self.graph.modules.iter().filter_map(|(module, node)| {
            let export = node.artifact.shape.exports.keys().find(|export| export.serves(&name))?;
            Some((module.clone(), self.target(module, export, "resume")?))
        });
        found.collect()
    }

    /// How often modules are called while the host serves; those that are called at starts only aren't among them.
    fn schedule(&self) -> BTreeMap<ModuleName, Duration> {
        let interval = |(module, _): (ModuleName, Target)| {
            let interval = self.graph.modules[&module].resume?;
            Some((module, interval))
        };
        self.resumable().into_iter().filter_map(interval).collect()
    }

    /// Calls `resume` once. The call goes on to its end where the returned future is dropped.
    async fn call_resume(self: Arc<Self>, target: Target, under_way: UnderWay) -> Resumed {
        let in_flight = self.enter();
        let deadline = Instant::now() + self.time(target);
        let mut call = CallContext::within_trace("resume".into(), deadline, Origin::Resume, Trace::new());
        call.under_way = under_way;
        let called = detached(async move {
            let result = self.call(target, &[], call).await;
            drop(in_flight);
            result
        });
        match called.await {
            Ok(Some(Val::Result(Ok(Some(more))))) if *more == Val::Bool(true) => Resumed::More,
            Ok(Some(Val::Result(Err(Some(reason))))) => {
                Resumed::Failed(if let Val::String(reason) = *reason { reason } else { String::new() })
            }
            Ok(_) => Resumed::Finished,
            Err(error) => Resumed::Failed(error.to_string()),
        }
    }
}

impl Runtime {
    /// Calls modules on their schedules, for as long as the returned future is polled. A call that is under way when it is dropped goes on
    /// to its end, and counts as in flight.
    pub async fn recover(self: Arc<Self>) -> Infallible {
        let (mut due, mut running) = (BTreeMap::<ModuleName, Instant>::new(), BTreeSet::new());
        let mut runs = JoinSet::new();
        loop {
            let schedule = self.current().schedule();
            let now = Instant::now();
            due.retain(|module, _| schedule.contains_key(module));
            for (module, interval) in &schedule {
                let next = now + jittered(*interval);
                // Where the interval has become shorter, it counts from now.
                due.entry(module.clone()).and_modify(|due| *due = (*due).min(now + *interval)).or_insert(next);
            }
            let free = MAX_RUNS.saturating_sub(running.len());
            let ready = due.iter().filter(|(module, due)| **due <= now && !running.contains(*module));
            for module in ready.map(|(module, _)| module.clone()).take(free).collect::<Vec<_>>() {
                running.insert(module.clone());
                let runtime = self.clone();
                runs.spawn(async move {
                    runtime.recover_module(&module).await;
                    module
                });
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                Some(ended) = runs.join_next() => {
                    // A run that panicked can't say whose it was: its module is not called again before the next start.
                    if let Ok(module) = ended {
                        running.remove(&module);
                        // The interval begins at a run's end.
                        due.remove(&module);
                    }
                }
            }
        }
    }

    /// Calls one module until it has nothing more to resume, each time on the generation that is current then.
    async fn recover_module(&self, module: &ModuleName) {
        let next = || {
            let generation = self.current();
            let (_, target) = generation.resumable().into_iter().find(|(name, _)| name == module)?;
            Some((generation, target, UnderWay::AtMost(self.longest_request(module))))
        };
        run(module, MAX_CALLS_OF_A_RUN, ResumeMoment::Schedule, next).await;
    }

    /// The longest that a request of a module may take on any generation that isn't freed.
    fn longest_request(&self, module: &ModuleName) -> Duration {
        let alive = self.retired().into_iter().chain([self.current()]);
        let limits = alive.filter_map(|generation| {
            let home = generation.graph.home(module)?;
            Some(generation.graph.compartments[home].limits.request)
        });
        limits.max().unwrap_or_default()
    }
}

/// Calls a module up to `most` times, as long as it has more to resume and `next` has where. Counts and logs how that went.
async fn run(
    module: &ModuleName,
    most: u32,
    moment: ResumeMoment,
    next: impl Fn() -> Option<(Arc<Generation>, Target, UnderWay)>,
) {
    let begun = Instant::now();
    let mut telemetry = None;
    let mut outcome = ResumeOutcome::Unfinished;
    for _ in 0..most {
        // The module is gone from what runs now.
        let Some((generation, target, under_way)) = next() else { break };
        telemetry = Some(generation.telemetry().clone());
        match generation.call_resume(target, under_way).await {
            Resumed::More => {}
            Resumed::Finished => {
                outcome = ResumeOutcome::Finished;
                break;
            }
            Resumed::Failed(reason) => {
                tracing::error!(%module, reason, "the module could not resume what was left unfinished");
                outcome = ResumeOutcome::Failed;
                break;
            }
        }
    }
    if outcome == ResumeOutcome::Unfinished {
        tracing::warn!(%module, calls = most, "the module has more to resume; it is called again at its next time");
    }
    if let Some(telemetry) = telemetry {
        telemetry.resumed(module, moment, outcome, begun.elapsed());
    }
}

/// A time up to [`JITTER`] shorter.
fn jittered(interval: Duration) -> Duration {
    // Where the system has no random bytes, the runs of hosts meet.
    let random = f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX);
    interval.mul_f64(1.0 - JITTER * random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_comes_within_its_interval() {
        for _ in 0..1_000 {
            let time = jittered(Duration::from_secs(60));
            assert!((Duration::from_secs(48)..=Duration::from_secs(60)).contains(&time), "{time:?}");
        }
    }
}
