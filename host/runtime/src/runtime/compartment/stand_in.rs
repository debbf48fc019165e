//! Calls of a module that a stand-in answers. They are admitted, counted, traced and bounded in time like all others, but need no instance.

use std::sync::Arc;

use wasmtime::component::Val;

use super::Compartment;
use crate::link::{FunctionIndex, Linked};
use watertight_model::ids::InterfaceName;
use watertight_store::{CallContext, CallError, CallResult, CalleeAnswer, CalleeRequest, ModuleData, StandIn, Values};

/// The stand-in of a compartment's only module, with the names of the functions that it answers.
pub(super) struct Substitute {
    stand_in: Arc<dyn StandIn>,
    /// The interface and the name of each exported function, in the order of their [`FunctionIndex`].
    functions: Vec<(InterfaceName, String)>,
}

impl Substitute {
    /// Returns the stand-in of the compartment. `None` if its modules run their own code.
    pub(super) fn find(linked: &Linked, modules: &[ModuleData]) -> Option<Self> {
        // The planner gives a module with a stand-in a compartment of its own.
        let [module] = modules else { return None };
        let stand_in = module.shared.iter().find_map(|shared| shared.downcast_ref::<Arc<dyn StandIn>>())?.clone();
        let mut functions: Vec<_> = linked.functions().collect();
        functions.sort_unstable_by_key(|(_, place)| place.0);
        let functions = functions.into_iter().map(|((_, interface, name), _)| (interface.clone(), name.clone()));
        Some(Self { stand_in, functions: functions.collect() })
    }
}

impl Compartment {
    /// Answers a call by the stand-in.
    pub(super) async fn substitute(
        self: &Arc<Self>,
        substitute: &Substitute,
        place: FunctionIndex,
        parameters: &[Val],
        mut call: CallContext,
    ) -> CallResult {
        self.lower_limits(&mut call);
        let lease = self.admit_without_instance(place, &call).await?;
        let (interface, function) = &substitute.functions[place.0 as usize];
        let answer = substitute.stand_in.answer(interface, function, parameters);
        let answered = tokio::time::timeout_at(call.deadline.time().into(), answer).await;
        lease.put_back();
        match answered {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(reason)) => {
                let module = Some(self.module(place).name.clone());
                Err(CallError::Trap { reason, module, callees: Vec::new() })
            }
            Err(_) => Err(self.deadline_error(place)),
        }
    }

    /// Answers a call that another compartment has made from a task of its own. No value of the function streams.
    pub(super) async fn serve_substitute(
        self: &Arc<Self>,
        substitute: &Substitute,
        place: FunctionIndex,
        request: CalleeRequest,
        call: CallContext,
    ) {
        let parameters = request.parameters.into_plain();
        let result = self.substitute(substitute, place, &parameters, call).await;
        let result: CalleeAnswer = result.map(|value| Values::plain_result(value.into_iter().collect()));
        if let Err(error) = &result {
            self.metrics.count_failure(error.kind());
        }
        // This fails if the caller has gone.
        let _ = request.answer.send(result);
    }
}
