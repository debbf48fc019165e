//! The calls that share a store, and which of them runs at the moment.
//!
//! Only Wasmtime decides that: it reports whenever it switches to code that another call of the host has caused (a *task group*). A guest
//! that mixes its requests up can't make the host do so.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use wasmtime::component::{TaskGroupHook, TaskGroupId};

use super::limits::{CpuAccount, CpuMeter, LimitHit};
use super::local::Local;
use super::{CallContext, CalleeTask, FailureReport, LogBudget, MetLimit};
use watertight_relay::ends::Ends;
use watertight_telemetry::{LineRateLimit, Trace};

/// Identifies a call among those that share a store. No number is used again in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TaskId(pub u64);

/// What belongs to one call of a store.
pub(super) struct CallState {
    pub(super) context: CallContext,
    pub(super) cpu: Arc<CpuMeter>,
    pub(super) log: Arc<LogBudget>,
    pub(super) limit_hit: Option<LimitHit>,
    /// The limits of capabilities that the call met, each once for each module.
    pub(super) met_limits: Vec<MetLimit>,
    /// The states that capabilities keep, at most one of each type, or of each type and module.
    pub(super) locals: Vec<Local>,
    /// The guest's report of its failure, if it made one.
    pub(super) failure: Option<Box<FailureReport>>,
    /// The number of streams and futures that are open with other compartments.
    pub(super) ends: Ends,
    /// The calls in other compartments that have returned and go on, because they stream.
    pub(super) callees: Vec<CalleeTask>,
    /// The account that callees in tasks of their own charge. `None` before the call has such a callee.
    pub(super) account: Option<Arc<CpuAccount>>,
}

impl CallState {
    pub(super) fn new(context: CallContext, lines: Arc<LineRateLimit>) -> Self {
        let (cpu, log) = (CpuMeter::new(), Arc::new(LogBudget::new(lines)));
        cpu.begin(context.cpu);
        log.begin(context.log);
        Self {
            context,
            cpu,
            log,
            limit_hit: None,
            met_limits: Vec::new(),
            locals: Vec::new(),
            failure: None,
            ends: Ends::default(),
            callees: Vec::new(),
            account: None,
        }
    }

    /// Returns the processor time that the call has left, as the limit of a callee.
    pub(super) fn cpu_left(&self) -> Duration {
        let own = self.cpu.left();
        self.context.payer.as_ref().map_or(own, |payer| own.min(payer.left()))
    }
}

/// The calls that share a store.
pub(super) struct SharedTasks {
    pub(super) switch: Arc<TaskSwitch>,
    pub(super) calls: HashMap<TaskId, CallState>,
    /// The call that the host looks at, in place of the one that runs.
    pub(super) viewed: Option<TaskId>,
}

impl SharedTasks {
    /// Returns the call that runs. `None` while the host runs for no call.
    pub(super) fn current(&self) -> Option<TaskId> {
        self.viewed.or_else(|| self.switch.current().map(|task| task.id))
    }
}

/// A call whose code may run, with what code without access to the store needs of it.
#[derive(Debug)]
pub(crate) struct RunningTask {
    pub(crate) id: TaskId,
    pub(crate) request: Arc<str>,
    pub(crate) trace: Trace,
    pub(crate) log: Arc<LogBudget>,
    cpu: Arc<CpuMeter>,
}

impl RunningTask {
    pub(super) fn of(id: TaskId, call: &CallState) -> Arc<Self> {
        let CallContext { request, trace, .. } = &call.context;
        let (request, trace) = (request.clone(), trace.clone());
        Arc::new(Self { id, request, trace, log: call.log.clone(), cpu: call.cpu.clone() })
    }
}

/// Knows which call of a shared store runs, and measures the processor time of each.
#[derive(Default)]
pub struct TaskSwitch(Mutex<Switch>);

#[derive(Default)]
struct Switch {
    /// The calls by the task groups that Wasmtime made for them. The sender is dropped when nothing of a group is left.
    groups: HashMap<TaskGroupId, (Arc<RunningTask>, oneshot::Sender<()>)>,
    current: Option<Arc<RunningTask>>,
    /// The call whose code ran last.
    last: Option<TaskId>,
}

impl TaskSwitch {
    fn lock(&self) -> MutexGuard<'_, Switch> {
        // A poisoned mutex is used all the same: no change of the switch can panic halfway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the call that runs.
    pub(crate) fn current(&self) -> Option<Arc<RunningTask>> {
        self.lock().current.clone()
    }

    /// Returns the call with this id, if something of it is left to do.
    pub(crate) fn find(&self, id: TaskId) -> Option<Arc<RunningTask>> {
        self.lock().groups.values().map(|(task, _)| task).find(|task| task.id == id).cloned()
    }

    /// Returns the call whose code ran last: the one at fault, after an error of the store.
    pub fn last(&self) -> Option<TaskId> {
        self.lock().last
    }

    /// Tells which call a new task group belongs to. The receiver resolves when nothing of the group is left.
    pub(super) fn bind(&self, group: TaskGroupId, task: Arc<RunningTask>) -> oneshot::Receiver<()> {
        let (running, finished) = oneshot::channel();
        self.lock().groups.insert(group, (task, running));
        finished
    }

    /// Runs one poll of the store. Between polls, no call uses processor time, also while one waits in a function of the host.
    pub fn poll<T>(&self, poll: impl FnOnce() -> T) -> T {
        if let Some(task) = &self.lock().current {
            task.cpu.start_poll();
        }
        let polled = poll();
        if let Some(task) = &self.lock().current {
            task.cpu.end_poll();
        }
        polled
    }
}

/// Passes Wasmtime's reports to the switch of a store.
pub(super) struct SwitchHook(pub(super) Arc<TaskSwitch>);

impl TaskGroupHook for SwitchHook {
    fn handle_start(&mut self, _: TaskGroupId) -> wasmtime::Result<()> {
        Ok(())
    }

    fn handle_enter(&mut self, id: TaskGroupId) -> wasmtime::Result<()> {
        let mut switch = self.0.lock();
        let task = switch.groups.get(&id).map(|(task, _)| task.clone());
        if let Some(task) = &task {
            switch.last = Some(task.id);
            task.cpu.start_poll();
        }
        switch.current = task;
        Ok(())
    }

    fn handle_exit(&mut self, _: TaskGroupId) -> wasmtime::Result<()> {
        if let Some(task) = self.0.lock().current.take() {
            task.cpu.end_poll();
        }
        Ok(())
    }

    fn handle_finish(&mut self, id: TaskGroupId) -> wasmtime::Result<()> {
        self.0.lock().groups.remove(&id);
        Ok(())
    }
}
