//! Instances that requests to handlers of WASI 0.3 share (`instances.concurrent`), each run by a task of its own.
//!
//! Such requests share their fate, too: Wasmtime can't end one call of a store and leave the others. A trap, a limit, or a request that
//! outlives its deadline and its grace ends the instance. Each request on it is answered, and only a request that its code has not begun
//! moves to another instance.
//!
//! Nothing in here waits for a time within the store: a guest that computes or waits in a function of the host would hold it up. Each
//! request watches its own deadline, outside (`handler/shared.rs`).

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::task::AtomicWaker;
use tokio::sync::{mpsc, oneshot};
use wasmtime::component::{Accessor, Func, Instance};

use super::lease::drop_reason;
use super::{Compartment, KEEP_MEMORY};
use crate::link::FunctionIndex;
use crate::runtime::handler::{AnswerState, Exchange};
use crate::runtime::instance::{CallEnd, PollDriver, PooledInstance};
use watertight_model::ids::GenerationNumber;
use watertight_store::{CallContext, CallError, InstanceState, TaskId, TaskSwitch};
use watertight_telemetry::table::DropReason;

/// Begins to call a handler for a request. Returns the rest of the call.
pub(in crate::runtime) type Begin = Box<
    dyn for<'a> FnOnce(
            &'a Accessor<InstanceState>,
            Func,
            (TaskId, CallContext),
        ) -> wasmtime::Result<BoxFuture<'a, wasmtime::Result<()>>>
        + Send,
>;

/// A request for an instance that it shares with others.
pub(in crate::runtime) struct SharedRequest {
    /// The handler.
    pub(in crate::runtime) function: FunctionIndex,
    pub(in crate::runtime) call: CallContext,
    pub(in crate::runtime) begin: Begin,
    pub(in crate::runtime) exchange: Arc<Exchange>,
}

/// How the call of a request on a shared instance ended.
pub(in crate::runtime) enum SharedEnd {
    /// The instance ended before the handler's code began: the request can go to another one.
    NotBegun(SharedRequest),
    /// The handler has returned, and nothing of the call is left.
    Returned(AnswerState),
    Failed(CallError),
}

/// Why an instance is ended from outside, with all requests on it.
#[derive(Debug, Clone, Copy)]
pub(in crate::runtime) enum EarlyEnd {
    /// This call has outlived its deadline and its grace.
    Late(TaskId),
    /// The generation of its requests is cut off.
    CutOff,
}

/// What the requests on an instance and the task that runs it have in common.
#[derive(Default)]
struct Seats {
    taken: AtomicUsize,
    end: Mutex<Option<EarlyEnd>>,
    task: AtomicWaker,
}

impl Seats {
    fn end(&self) -> MutexGuard<'_, Option<EarlyEnd>> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll_end(&self, context: &mut Context<'_>) -> Poll<()> {
        self.task.register(context.waker());
        if self.end().is_some() { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// A request's place on a shared instance. It must be kept until the call has ended.
pub(in crate::runtime) struct Seat {
    seats: Arc<Seats>,
    pub(in crate::runtime) task: TaskId,
    /// Resolves when the call has ended. It fails only if the host panicked.
    pub(in crate::runtime) ended: oneshot::Receiver<SharedEnd>,
}

impl Seat {
    /// Stops giving requests to the instance.
    pub(in crate::runtime) fn close_instance(&self, compartment: &Compartment) {
        compartment.shared.close(&self.seats, false);
    }

    /// Ends the instance, with all requests on it.
    pub(in crate::runtime) fn end_instance(&self, compartment: &Compartment, why: EarlyEnd) {
        // Closed before, so that no request joins that could have gone to another instance.
        self.close_instance(compartment);
        self.seats.end().get_or_insert(why);
        self.seats.task.wake();
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.taken.fetch_sub(1, Relaxed);
    }
}

/// The shared instances of a compartment that take further requests.
#[derive(Default)]
pub(super) struct SharedInstances(Mutex<Vec<OpenInstance>>);

struct OpenInstance {
    /// The generation of its requests. Those of different generations share no instance, because they are cut off at different times.
    generation: GenerationNumber,
    /// Leads to the task that runs the instance. The task ends when this is dropped and no request is left.
    requests: mpsc::Sender<Joining>,
    seats: Arc<Seats>,
    /// The number of requests so far.
    joined: u32,
}

/// A request on its way to the task of an instance.
struct Joining {
    request: SharedRequest,
    task: TaskId,
    ended: oneshot::Sender<SharedEnd>,
    compartment: Arc<Compartment>,
}

impl SharedInstances {
    fn open(&self) -> MutexGuard<'_, Vec<OpenInstance>> {
        // A poisoned mutex is used all the same: pushing and removing keep the list consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.open().len()
    }

    /// Returns the number of instances without requests.
    pub(super) fn unused(&self) -> usize {
        self.open().iter().filter(|instance| instance.seats.taken.load(Relaxed) == 0).count()
    }

    /// Lets the instances without requests end.
    pub(super) fn retire(&self) {
        self.open().retain(|instance| instance.seats.taken.load(Relaxed) > 0);
    }

    /// Stops giving requests to an instance. If `only_idle`, does so only if it has none. Returns whether it gets no requests any more.
    fn close(&self, seats: &Arc<Seats>, only_idle: bool) -> bool {
        let mut open = self.open();
        if only_idle && seats.taken.load(Relaxed) > 0 {
            return false;
        }
        open.retain(|instance| !Arc::ptr_eq(&instance.seats, seats));
        true
    }
}

impl Compartment {
    /// Returns whether requests to handlers of WASI 0.3 share instances of this compartment.
    pub(in crate::runtime) fn shares_instances(&self) -> bool {
        self.instances.shared_by().is_some()
    }

    /// Admits a call that shares an instance with others. The permit lasts as long as the returned lease, which has no instance.
    ///
    /// # Errors
    ///
    /// Returns [`CallError`] if the queue of the function's module is full, or if the deadline passes while the call waits.
    pub(in crate::runtime) async fn admit_shared(
        self: &Arc<Self>,
        place: FunctionIndex,
        call: &mut CallContext,
    ) -> Result<super::Lease, CallError> {
        self.lower_limits(call);
        self.admit_without_instance(place, call).await
    }

    /// Passes an admitted request to the first instance that has room, or to a new one.
    pub(in crate::runtime) fn join(self: &Arc<Self>, generation: GenerationNumber, request: SharedRequest) -> Seat {
        let most = self.instances.concurrent.get() as usize;
        let (ender, ended) = oneshot::channel();
        let mut joining = Joining { request, task: TaskId(0), ended: ender, compartment: self.clone() };
        let mut open = self.shared.open();
        loop {
            let has_room = |instance: &OpenInstance| match instance.seats.taken.load(Relaxed) {
                0 => true,
                taken => taken < most && instance.generation == generation,
            };
            let place = open.iter().position(has_room).unwrap_or_else(|| {
                open.push(self.open_instance(generation, most));
                open.len() - 1
            });
            let instance = &mut open[place];
            instance.joined += 1;
            joining.task = TaskId(instance.joined.into());
            let task = joining.task;
            match instance.requests.try_send(joining) {
                Ok(()) => {
                    instance.generation = generation;
                    instance.seats.taken.fetch_add(1, Relaxed);
                    let seats = instance.seats.clone();
                    if instance.joined >= self.instances.max_calls.get() {
                        open.swap_remove(place);
                    }
                    return Seat { seats, task, ended };
                }
                // The instance has just ended. The channel is never full: it has room for as many requests as the instance.
                Err(error) => {
                    joining = error.into_inner();
                    open.swap_remove(place);
                }
            }
        }
    }

    fn open_instance(self: &Arc<Self>, generation: GenerationNumber, most: usize) -> OpenInstance {
        let (requests, receiver) = mpsc::channel(most);
        let seats = Arc::<Seats>::default();
        tokio::spawn(run(Arc::downgrade(self), receiver, seats.clone(), self.instances.idle));
        OpenInstance { generation, requests, seats, joined: 0 }
    }
}

/// Runs a shared instance until it gets no requests any more, or until it fails. Makes the instance for the first request.
async fn run(
    compartment: Weak<Compartment>,
    mut requests: mpsc::Receiver<Joining>,
    seats: Arc<Seats>,
    idle: std::time::Duration,
) {
    let mut running: Option<(PooledInstance, Arc<TaskSwitch>)> = None;
    loop {
        // An instance that waits keeps neither its compartment nor a generation alive.
        let first = match tokio::time::timeout(idle, requests.recv()).await {
            Ok(Some(first)) => first,
            closed_or_idle => {
                let why = if closed_or_idle.is_ok() { DropReason::Retired } else { DropReason::Idle };
                match compartment.upgrade() {
                    Some(compartment) if compartment.shared.close(&seats, true) => {
                        compartment.count_dropped(why, usize::from(running.is_some()));
                        return;
                    }
                    Some(_) => continue,
                    None => return,
                }
            }
        };
        let compartment = first.compartment.clone();
        let (instance, switch) = match &mut running {
            Some((instance, switch)) => (instance, &*switch),
            none => match Box::pin(compartment.warm_or_new(first.request.call.clone())).await {
                Ok(mut instance) => {
                    let switch = instance.share();
                    let (instance, switch) = none.insert((instance, switch));
                    (instance, &*switch)
                }
                Err(error) => {
                    compartment.shared.close(&seats, false);
                    let _ = first.ended.send(SharedEnd::Failed(error));
                    hand_back(&mut requests);
                    return;
                }
            },
        };
        let served = Box::pin(compartment.serve_shared(instance, switch, &mut requests, &seats, first)).await;
        let why = match served {
            Err(why) => Some(why),
            Ok(()) if requests.is_closed() && requests.is_empty() => Some(match instance.calls {
                calls if calls >= compartment.instances.max_calls.get() => DropReason::MaxCalls,
                _ if compartment.is_retired() => DropReason::Retired,
                // It was closed because a call was late, which then ended in its grace.
                _ => DropReason::Deadline,
            }),
            Ok(()) if instance.state().memory() > KEEP_MEMORY && compartment.shared.close(&seats, true) => {
                Some(DropReason::Memory)
            }
            Ok(()) if compartment.is_retired() && compartment.shared.close(&seats, true) => Some(DropReason::Retired),
            Ok(()) => None,
        };
        if let Some(why) = why {
            compartment.count_dropped(why, 1);
            return;
        }
    }
}

/// Gives back the requests that wait for an instance that has ended.
fn hand_back(requests: &mut mpsc::Receiver<Joining>) {
    requests.close();
    while let Ok(Joining { request, ended, .. }) = requests.try_recv() {
        let _ = ended.send(SharedEnd::NotBegun(request));
    }
}

/// A request whose call runs.
struct Running {
    function: FunctionIndex,
    exchange: Arc<Exchange>,
    ended: Option<oneshot::Sender<SharedEnd>>,
}

impl Running {
    /// Ends the call. This must happen while the store is there, because what the handler has written is taken out of it.
    fn end(mut self, failure: Option<CallError>) {
        let state = self.exchange.end();
        if let Some(ended) = self.ended.take() {
            let _ = ended.send(failure.map_or(SharedEnd::Returned(state), SharedEnd::Failed));
        }
    }
}

impl Drop for Running {
    /// Ends a call that a panic dropped.
    fn drop(&mut self) {
        self.exchange.end();
    }
}

/// The requests whose calls run, by the ids of the calls.
type RunningRequests = Mutex<HashMap<TaskId, Running>>;

impl Compartment {
    async fn warm_or_new(&self, call: CallContext) -> Result<PooledInstance, CallError> {
        let warm = self.warm().pop();
        match warm {
            Some(warm) => Ok(warm),
            None => self.start(call).await,
        }
    }

    fn is_retired(&self) -> bool {
        self.retired.load(Relaxed)
    }

    /// Serves `first` and the requests that join it, until none is left.
    ///
    /// # Errors
    ///
    /// Returns why the instance must be dropped. All requests on it have been answered.
    async fn serve_shared(
        &self,
        instance: &mut PooledInstance,
        switch: &TaskSwitch,
        requests: &mut mpsc::Receiver<Joining>,
        seats: &Arc<Seats>,
        first: Joining,
    ) -> Result<(), DropReason> {
        let running = RunningRequests::default();
        let (function, call) = (first.request.function, first.request.call.clone());
        let work = PollDriver::of(&self.offload_histories[function.0 as usize], &call, &self.metrics);
        let mut calls = 0;
        let serve = async |accessor: &Accessor<InstanceState>, instance: Instance| {
            let mut under_way = FuturesUnordered::new();
            let mut next = Some(first);
            poll_fn(|context| {
                loop {
                    if let Some(joining) = next.take() {
                        calls += 1;
                        under_way.extend(self.begin(accessor, instance, &running, joining));
                    }
                    match under_way.poll_next_unpin(context) {
                        Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                        Poll::Ready(Some(Ok(()))) => continue,
                        Poll::Ready(None) | Poll::Pending => {}
                    }
                    match requests.poll_recv(context) {
                        Poll::Ready(Some(joining)) => next = Some(joining),
                        _ if under_way.is_empty() => return Poll::Ready(Ok(())),
                        _ => return Poll::Pending,
                    }
                }
            })
            .await
        };
        let served = instance.run_shared(switch, work, |context| seats.poll_end(context), serve).await;
        instance.calls += calls;
        let Err(error) = served else { return Ok(()) };
        self.shared.close(seats, false);
        hand_back(requests);
        let running = running.into_inner().unwrap_or_else(PoisonError::into_inner);
        Err(self.fail_all(instance, switch, running, *seats.end(), error))
    }

    /// Begins the call of a request. Returns its rest, whose error is one of the whole instance.
    fn begin<'a>(
        &'a self,
        accessor: &'a Accessor<InstanceState>,
        instance: Instance,
        running: &'a RunningRequests,
        joining: Joining,
    ) -> Option<impl Future<Output = wasmtime::Result<()>> + Send + 'a> {
        let Joining { request: SharedRequest { function, call, begin, exchange }, task, ended, .. } = joining;
        // The request was given up while it waited.
        if ended.is_closed() {
            return None;
        }
        let export = &self.exports[function.0 as usize];
        let handler = accessor.with(|mut access| instance.get_func(&mut access, export.index));
        let begun = handler.ok_or_else(|| wasmtime::Error::msg("an export that linking found is missing"));
        let begun = match begun.and_then(|handler| begin(accessor, handler, (task, call.clone()))) {
            Ok(begun) => begun,
            Err(error) => {
                let error = self.explain(&CallEnd { error, limit: None, failure: None }, &call, Some(function));
                let _ = ended.send(SharedEnd::Failed(error));
                return None;
            }
        };
        let lock = || running.lock().unwrap_or_else(PoisonError::into_inner);
        lock().insert(task, Running { function, exchange, ended: Some(ended) });
        Some(async move {
            begun.await?;
            let ends = accessor.with(|mut access| access.data_mut().view(task, InstanceState::end_call));
            ends.await?;
            accessor.with(|mut access| {
                access.data_mut().view(task, |state| {
                    self.report_limits(state);
                    self.report_hit(state, function);
                });
                access.data_mut().remove_task(task);
            });
            let ended = lock().remove(&task);
            if let Some(request) = ended {
                request.end(None);
            }
            Ok(())
        })
    }

    /// Answers all requests on an instance that has failed by `error`: the one at fault with its reason, which is logged.
    fn fail_all(
        &self,
        instance: &mut PooledInstance,
        switch: &TaskSwitch,
        mut running: HashMap<TaskId, Running>,
        end: Option<EarlyEnd>,
        error: wasmtime::Error,
    ) -> DropReason {
        for task in running.keys() {
            instance.view(*task, |state| state.ends().cut());
        }
        let fault = match end {
            Some(EarlyEnd::CutOff) => {
                for (_, request) in running.drain() {
                    let late = self.deadline_error(request.function);
                    request.end(Some(late));
                }
                return DropReason::Dropped;
            }
            Some(EarlyEnd::Late(task)) => Some(task),
            None => switch.last(),
        };
        // No guest ran if there is none: then any request stands for the instance.
        let fault = fault.filter(|task| running.contains_key(task)).or_else(|| running.keys().next().copied());
        let Some((task, request)) = fault.and_then(|task| running.remove_entry(&task)) else {
            return DropReason::Dropped;
        };
        let (explained, call) = instance.view(task, |state| {
            self.report_limits(state);
            let ended = CallEnd::of(error, state);
            (self.explain(&ended, state.call(), Some(request.function)), state.call().clone())
        });
        if !running.is_empty() {
            let told = format_args!("the request has ended its instance, with {} other requests on it", running.len());
            self.warn_about(request.function, &told, &call);
        }
        let why = drop_reason(&explained);
        request.end(Some(explained));
        for (task, request) in running.drain() {
            instance.view(task, |state| self.report_limits(state));
            let error = self.neighbour_error(request.function);
            request.end(Some(error));
        }
        why
    }
}
