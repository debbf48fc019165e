//! Recovery: calls the modules that export `resume`, at each start and on a schedule, to finish work that was left unfinished.
//!
//! `resume` of one module never runs twice at once, over all generations. The calls at the start end before anything else runs. After the
//! start, one loop makes the calls, one at a time for each module.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use wasmtime::component::Val;

use super::{Generation, Runtime, Target, detached};
use watertight_graph::graph::RESUME;
use watertight_model::ids::{InterfaceName, ModuleName};
use watertight_store::{CallContext, ConcurrentCalls};
use watertight_telemetry::Trace;
use watertight_telemetry::table::{CallOrigin, ResumeMoment, ResumeOutcome};

/// The largest number of calls of one module's `resume` in one start. The schedule continues with what is left.
const MAX_CALLS_AT_START: u32 = 10_000;
/// The largest number of calls of one module's `resume` in one run of the schedule.
const MAX_CALLS_OF_A_RUN: u32 = 1_000;
/// Greatest number of modules whose `resume` the schedule calls at the same time.
const MAX_RUNS: usize = 4;
/// The interval at which the schedule checks whether the current generation has other modules or other intervals.
const SCHEDULE_INTERVAL: Duration = Duration::from_secs(1);
/// The fraction of an interval by which a run may come early. It spreads the runs of hosts that started together.
const JITTER: f64 = 0.2;

/// The result of one call of `resume`.
enum ResumeResult {
    /// The module has nothing left to resume.
    Finished,
    /// The module asks to be called again.
    More,
    /// The call failed, with the reason.
    Failed(String),
}

impl Generation {
    /// Calls `resume` of every module that exports it, to finish work that an earlier process left unfinished. No other call may run
    /// meanwhile. Failures are logged; the schedule and the next start try again.
    pub async fn resume(self: &Arc<Self>) {
        for (module, target) in self.resumable() {
            let next = || Some((self.clone(), target, ConcurrentCalls::Nothing));
            run(&module, MAX_CALLS_AT_START, ResumeMoment::Start, next).await;
        }
    }

    /// Lists the modules of this generation that export `resume`, each with the position of that function.
    fn resumable(&self) -> Vec<(ModuleName, Target)> {
        let name: InterfaceName = RESUME.parse().expect("the host's own interface is well named");
        let found = self.graph.modules.iter().filter_map(|(module, node)| {
            let export = node.artifact.shape.exports.keys().find(|export| export.can_serve(&name))?;
            Some((module.clone(), self.target(module, export, "resume")?))
        });
        found.collect()
    }

    /// Returns the interval of each module that the schedule calls. Modules that are called at starts only are left out.
    fn schedule(&self) -> BTreeMap<ModuleName, Duration> {
        let interval = |(module, _): (ModuleName, Target)| {
            let interval = self.graph.modules[&module].resume?;
            Some((module, interval))
        };
        self.resumable().into_iter().filter_map(interval).collect()
    }

    /// Calls `resume` at `target` once. `under_way` says which other calls of the module may run meanwhile. If the returned future is
    /// dropped, the call goes on to its end.
    async fn call_resume(self: Arc<Self>, target: Target, under_way: ConcurrentCalls) -> ResumeResult {
        let in_flight = self.enter();
        let deadline = Instant::now() + self.time(target);
        let mut call = CallContext::within_trace("resume".into(), deadline, CallOrigin::Resume, Trace::new());
        call.concurrent_calls = under_way;
        let called = detached(async move {
            let result = self.call(target, &[], call).await;
            drop(in_flight);
            result
        });
        match called.await {
            Ok(Some(Val::Result(Ok(Some(more))))) if *more == Val::Bool(true) => ResumeResult::More,
            Ok(Some(Val::Result(Err(Some(reason))))) => {
                ResumeResult::Failed(if let Val::String(reason) = *reason { reason } else { String::new() })
            }
            Ok(_) => ResumeResult::Finished,
            Err(error) => ResumeResult::Failed(error.to_string()),
        }
    }
}

impl Runtime {
    /// Runs the schedule of `resume` calls for as long as the returned future is polled. If it is dropped, a call that has begun goes on
    /// to its end and counts as in flight.
    pub async fn recover(self: Arc<Self>) -> Infallible {
        let (mut due, mut running) = (BTreeMap::<ModuleName, Instant>::new(), BTreeSet::new());
        let mut runs = JoinSet::new();
        loop {
            let schedule = self.current().schedule();
            let now = Instant::now();
            due.retain(|module, _| schedule.contains_key(module));
            for (module, interval) in &schedule {
                let next = now + jittered(*interval);
                // If the interval has become shorter, the new interval counts from now.
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
                () = tokio::time::sleep(SCHEDULE_INTERVAL) => {}
                Some(ended) = runs.join_next() => {
                    // A panicked run does not return its module's name, so that module stays marked as running until the next start.
                    if let Ok(module) = ended {
                        running.remove(&module);
                        // The next interval begins when the run ends.
                        due.remove(&module);
                    }
                }
            }
        }
    }

    /// Calls `resume` of one module until nothing is left, each time on the generation that is current then.
    async fn recover_module(&self, module: &ModuleName) {
        let next = || {
            let generation = self.current();
            let (_, target) = generation.resumable().into_iter().find(|(name, _)| name == module)?;
            Some((generation, target, ConcurrentCalls::AtMost(self.longest_request(module))))
        };
        run(module, MAX_CALLS_OF_A_RUN, ResumeMoment::Schedule, next).await;
    }

    /// Returns the longest time that a request of a module may take, over all generations that are not freed.
    fn longest_request(&self, module: &ModuleName) -> Duration {
        let alive = self.retired().into_iter().chain([self.current()]);
        let limits = alive.filter_map(|generation| {
            let home = generation.graph.compartment_of(module)?;
            Some(generation.graph.compartments[home].limits.request)
        });
        limits.max().unwrap_or_default()
    }
}

/// Calls `resume` of a module up to `most` times, until nothing is left or a call fails. Counts and logs the result.
///
/// Before each call, `next` returns the generation, the position of `resume` in it, and the calls of the module that may run meanwhile. It
/// returns `None` if there is no such module any more, which ends the calls.
async fn run(
    module: &ModuleName,
    most: u32,
    moment: ResumeMoment,
    next: impl Fn() -> Option<(Arc<Generation>, Target, ConcurrentCalls)>,
) {
    let begun = Instant::now();
    let mut telemetry = None;
    let mut outcome = ResumeOutcome::Unfinished;
    for _ in 0..most {
        // `None` means that the current generation no longer has the module.
        let Some((generation, target, under_way)) = next() else { break };
        telemetry = Some(generation.telemetry().clone());
        match generation.call_resume(target, under_way).await {
            ResumeResult::More => {}
            ResumeResult::Finished => {
                outcome = ResumeOutcome::Finished;
                break;
            }
            ResumeResult::Failed(reason) => {
                tracing::error!(%module, reason, "the module's `resume` failed, so unfinished work is left");
                outcome = ResumeOutcome::Failed;
                break;
            }
        }
    }
    if outcome == ResumeOutcome::Unfinished {
        tracing::warn!(%module, calls = most, "the module has more to resume; it is called again on its schedule or at the next start");
    }
    if let Some(telemetry) = telemetry {
        telemetry.record_resume(module, moment, outcome, begun.elapsed());
    }
}

/// Returns `interval` shortened by a random part of up to [`JITTER`].
fn jittered(interval: Duration) -> Duration {
    // Without random bytes there is no jitter. That is harmless: only the spreading of runs is lost.
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
