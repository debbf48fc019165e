//! Bridged calls: calls from a module of one compartment to a module of another.
//!
//! Wasmtime lifts the arguments out of the caller's memory. The host passes them to the generation of the call, which calls an instance of
//! the callee's compartment. Wasmtime does not compare the types of caller and callee; the graph has done so. This file decides at link
//! time whether a failure reaches the caller as a typed error or as a trap.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::types::ComponentFunc;
use wasmtime::component::{Linker, Val};

use super::{Composition, FunctionName};
use crate::store::{BridgeIndex, CallContext, CallError, CallResult, CalleeError, Deadline, InstanceState};
use watertight_component::shape::{Function, Type};
use watertight_graph::graph::AppGraph;
use watertight_model::ids::ModuleName;
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
            let bridge = Arc::new(Bridge {
                index,
                caller: bridged.caller.clone(),
                module: provider.module.clone(),
                function: format!("{}.{name}", provider.export),
                has_unavailable: has_unavailable(function),
            });
            instance.func_new_async(name, move |store, _: ComponentFunc, parameters, results| {
                Box::new(bridge.clone().call(store, parameters, results))
            })?;
            called.push((provider.module.clone(), provider.export.clone(), name.clone()));
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
            return Err(wasmtime::Error::msg("a module called another module while its store served no call"));
        };
        let outcome = crossing.await;
        if let Some(span) = span {
            span.end(outcome.as_ref().err().map(|error| error as &dyn std::fmt::Display));
        }
        let result = self.convert_outcome(outcome, &store.data().call().deadline)?;
        if let ([slot], Some(value)) = (results, result) {
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

    /// Converts the outcome of a bridged call to the value that the caller receives, or to the error that traps the caller. `deadline` is
    /// the deadline of the caller's own call.
    fn convert_outcome(&self, outcome: CallResult, deadline: &Deadline) -> wasmtime::Result<Option<Val>> {
        let error = match outcome {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        // The caller's own deadline has passed too, so it can't receive an answer.
        if matches!(error, CallError::Deadline { .. }) && deadline.has_passed() {
            return Err(wasmtime::Trap::Interrupt.into());
        }
        if self.has_unavailable {
            let text = format!("module `{}` is unavailable: {}", self.module, error.public_reason());
            let error = Val::Variant(UNAVAILABLE.to_owned(), Some(Box::new(Val::String(text))));
            return Ok(Some(Val::Result(Err(Some(Box::new(error))))));
        }
        Err(CalleeError { module: self.module.clone(), error }.into())
    }
}
