//! Bridged calls: calls from a module of one compartment to a module of another.
//!
//! Wasmtime lifts the arguments out of the caller's memory. The host passes them to the generation of the call, which calls an instance of
//! the callee's compartment. Wasmtime does not compare the types of caller and callee; the graph has done so. This file decides at link
//! time whether a failure reaches the caller as a typed error or as a trap.
//!
//! A plain function with plain values runs within the poll of its caller. An `async func`, and a function that carries streams or futures,
//! runs in a task of its own: both stores must go on at the same time.

use std::sync::Arc;

use wasmtime::component::types::ComponentFunc;
use wasmtime::component::{Accessor, Linker, Val};
use wasmtime::{AsContextMut as _, StoreContextMut};

use super::{Composition, FunctionName};
use watertight_component::shape::{Function, Type};
use watertight_graph::graph::AppGraph;
use watertight_model::ids::ModuleName;
use watertight_relay::ends::Role;
use watertight_store::{
    BridgeIndex, CallContext, CallError, CalleeAnswer, CalleeError, CalleeTask, Deadline, InstanceState, Values,
};
use watertight_telemetry::{Span, SpanKind};

/// The error case that tells a caller that a module does not answer. Its payload is a string.
const UNAVAILABLE: &str = "unavailable";

/// A function of another compartment, as one module of this compartment imports it.
struct Bridge {
    index: BridgeIndex,
    /// The module that imports the function.
    caller: ModuleName,
    /// The module that exports the function.
    module: ModuleName,
    /// The interface and name of the function.
    function: String,
    /// The type of the function, as the caller imports it.
    shape: Arc<Function>,
    /// Whether the function's error type has the case [`UNAVAILABLE`].
    has_unavailable: bool,
}

/// Defines every import of the compartment's composed component that another compartment serves. Returns the functions behind these
/// imports, in the order of their [`BridgeIndex`].
pub(super) fn add_to_linker(
    linker: &mut Linker<InstanceState>,
    graph: &AppGraph,
    composition: &Composition,
) -> wasmtime::Result<Vec<FunctionName>> {
    let mut called = Vec::new();
    for (label, bridged) in &composition.bridges {
        let provider = &bridged.provider;
        let interface = &graph.modules[&bridged.caller].artifact.shape.imports[&bridged.import];
        let mut instance = linker.instance(label)?;
        for (name, function) in &interface.functions {
            let index = BridgeIndex(u32::try_from(called.len()).expect("a component has fewer imports"));
            let exported = provider.function.as_deref().unwrap_or(name);
            let bridge = Arc::new(Bridge {
                index,
                caller: bridged.caller.clone(),
                module: provider.module.clone(),
                function: if provider.export.is_world() {
                    exported.to_owned()
                } else {
                    format!("{}.{exported}", provider.export)
                },
                shape: Arc::new(function.clone()),
                has_unavailable: has_unavailable(function),
            });
            if function.is_async {
                instance.func_new_concurrent(name, move |accessor, _: ComponentFunc, parameters, results| {
                    Box::pin(bridge.clone().call_beside(accessor, parameters, results))
                })?;
            } else if function.has_stream() {
                instance.func_new_async(name, move |store, _: ComponentFunc, parameters, results| {
                    Box::new(bridge.clone().call_streaming(store, parameters, results))
                })?;
            } else {
                instance.func_new_async(name, move |store, _: ComponentFunc, parameters, results| {
                    Box::new(bridge.clone().call(store, parameters, results))
                })?;
            }
            called.push((provider.module.clone(), provider.export.clone(), exported.to_owned()));
        }
    }
    Ok(called)
}

/// Returns whether a function returns `result<_, E>`, where `E` is a variant with a case `unavailable(string)`.
fn has_unavailable(function: &Function) -> bool {
    let Some(Type::Result { err: Some(error), .. }) = &function.result else { return false };
    let Type::Variant(variant) = &**error else { return false };
    variant.body.iter().any(|case| *case.name == *UNAVAILABLE && case.ty == Some(Type::String))
}

/// A bridged call in a task of its own, before its answer.
struct RunningCall {
    callee: CalleeTask,
    span: Option<Span>,
    /// Whether its parameters have streams or futures.
    streams: bool,
}

/// Ends the trace span of a bridged call.
fn end(span: Option<Span>, error: Option<&CallError>) {
    if let Some(span) = span {
        span.end(error.map(|error| error as &dyn std::fmt::Display));
    }
}

fn no_call() -> wasmtime::Error {
    wasmtime::Error::msg("a module called another module while its store served no call")
}

impl Bridge {
    async fn call(
        self: Arc<Self>,
        store: StoreContextMut<'_, InstanceState>,
        parameters: &[Val],
        results: &mut [Val],
    ) -> wasmtime::Result<()> {
        let call = store.data().call();
        let span = self.span(call);
        let Some(crossing) = store.data().call_bridge(self.index, parameters, span.as_ref()) else {
            return Err(no_call());
        };
        let outcome = crossing.await;
        end(span, outcome.as_ref().err());
        let result = match outcome {
            Ok(value) => value,
            Err(error) => Some(self.convert_error(error, &store.data().call().deadline)?),
        };
        if let ([slot], Some(value)) = (results, result) {
            *slot = value;
        }
        Ok(())
    }

    /// Calls an `async func`. The caller's store goes on meanwhile. The call ends if the future is dropped, because the caller cancelled it.
    async fn call_beside(
        self: Arc<Self>,
        accessor: &Accessor<InstanceState>,
        parameters: &[Val],
        results: &mut [Val],
    ) -> wasmtime::Result<()> {
        let mut running = accessor.with(|mut access| self.start(access.as_context_mut(), parameters))?;
        let answer = running.callee.answer().await;
        accessor.with(|mut access| self.finish(access.as_context_mut(), running, answer?, results))
    }

    /// Calls a plain function that carries streams or futures. The caller's store waits until the function has returned.
    async fn call_streaming(
        self: Arc<Self>,
        mut store: StoreContextMut<'_, InstanceState>,
        parameters: &[Val],
        results: &mut [Val],
    ) -> wasmtime::Result<()> {
        let mut running = self.start(store.as_context_mut(), parameters)?;
        let answer = running.callee.answer().await;
        self.finish(store, running, answer?, results)
    }

    /// Starts a call in a task of its own.
    fn start(
        &self,
        mut store: StoreContextMut<'_, InstanceState>,
        parameters: &[Val],
    ) -> wasmtime::Result<RunningCall> {
        let ends = store.data().ends().clone();
        let parameters =
            Values::leave(store.as_context_mut(), &self.shape, Role::Parameter, parameters.to_vec(), &ends)?;
        let streams = parameters.has_ends();
        let span = self.span(store.data().call());
        let started = store.data_mut().start_bridge(self.index, self.shape.clone(), parameters, span.as_ref());
        let callee = started.ok_or_else(no_call)?;
        Ok(RunningCall { callee, span, streams })
    }

    /// Ends a call that was started: passes its result or its failure to the caller. A call that streams goes on.
    fn finish(
        &self,
        mut store: StoreContextMut<'_, InstanceState>,
        running: RunningCall,
        answer: CalleeAnswer,
        results: &mut [Val],
    ) -> wasmtime::Result<()> {
        let RunningCall { callee, span, streams } = running;
        end(span, answer.as_ref().err());
        let values = match answer {
            Ok(values) => {
                if streams || values.has_ends() {
                    store.data_mut().keep_callee(callee);
                }
                let ends = store.data().ends().clone();
                values.enter(store, &self.shape, &ends)?
            }
            Err(error) => vec![self.convert_error(error, &store.data().call().deadline)?],
        };
        for (slot, value) in results.iter_mut().zip(values) {
            *slot = value;
        }
        Ok(())
    }

    /// Starts the trace span of a bridged call. `None` if the trace is not recorded.
    fn span(&self, call: &CallContext) -> Option<Span> {
        let Self { caller, module, function, .. } = self;
        let mut span = call.trace.child(SpanKind::Internal, || format!("{module}/{function}"))?;
        span.set("watertight.caller", caller.to_string());
        span.set("watertight.callee", module.to_string());
        span.set("watertight.function", function.clone());
        Some(span)
    }

    /// Converts the failure of a bridged call to the value that the caller receives, or to the error that traps the caller. `deadline` is
    /// the deadline of the caller's own call.
    fn convert_error(&self, error: CallError, deadline: &Deadline) -> wasmtime::Result<Val> {
        // The caller's own deadline has passed too, so it can't receive an answer.
        if matches!(error, CallError::Deadline { .. }) && deadline.has_passed() {
            return Err(wasmtime::Trap::Interrupt.into());
        }
        if self.has_unavailable {
            let text = format!("module `{}` is unavailable: {}", self.module, error.public_reason());
            let error = Val::Variant(UNAVAILABLE.to_owned(), Some(Box::new(Val::String(text))));
            return Ok(Val::Result(Err(Some(Box::new(error)))));
        }
        Err(CalleeError { module: self.module.clone(), error }.into())
    }
}
