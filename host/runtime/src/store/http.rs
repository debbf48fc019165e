//! `wasi:http` for the module of a store: Wasmtime implements the interface, and requests go out through the module's own grant.

use std::sync::Arc;
use std::time::Instant;

use ::http::Request;
use tracing::Level;
use wasmtime_wasi_http::{Error, RequestOptions, Result, WasiBody, WasiHttpCtx, WasiHttpHooks};

use super::CallContext;
use super::log::{GuestLog, LogBudget};
use crate::outbound::OutboundClient;
use watertight_model::ids::ModuleName;
use watertight_telemetry::Trace;

/// The largest size of one set of header fields in the host, in bytes: names, values and overhead.
const MAX_FIELDS: usize = 64 << 10;

/// A store's state of `wasi:http`: Wasmtime's context and the host's hooks.
pub(super) struct Http {
    pub(super) context: WasiHttpCtx,
    pub(super) hooks: Hooks,
}

/// Sends a guest's requests through its module's grant, under the deadline of the current call.
pub(super) struct Hooks {
    /// The module's outbound client. It is `None` if the manifest does not grant `http`.
    outgoing: Option<Arc<OutboundClient>>,
    voice: DenialLog,
    deadline: Instant,
}

/// Logs denied requests in the module's name. It is a copy of the call's data, because a request may outlive its call.
#[derive(Clone)]
struct DenialLog {
    module: Option<ModuleName>,
    request: Arc<str>,
    trace: Trace,
    budget: Arc<LogBudget>,
}

impl Http {
    pub(super) fn new(
        module: Option<ModuleName>,
        outgoing: Option<Arc<OutboundClient>>,
        call: &CallContext,
        budget: Arc<LogBudget>,
    ) -> Self {
        let voice = DenialLog { module, request: call.request.clone(), trace: call.trace.clone(), budget };
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(MAX_FIELDS);
        Self { context, hooks: Hooks { outgoing, voice, deadline: call.deadline } }
    }

    pub(super) fn begin_call(&mut self, call: &CallContext) {
        let Hooks { voice, deadline, .. } = &mut self.hooks;
        (voice.request, voice.trace, *deadline) = (call.request.clone(), call.trace.clone(), call.deadline);
    }
}

/// The result that Wasmtime expects of a request: the response, and a future for the rest of the exchange.
type Answer = Result<(::http::Response<WasiBody>, Box<dyn Future<Output = Result<()>> + Send>)>;

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<()>> + Send>,
    ) -> Box<dyn Future<Output = Answer> + Send> {
        let (outgoing, voice, deadline) = (self.outgoing.clone(), self.voice.clone(), self.deadline);
        Box::new(async move {
            let outgoing = outgoing.ok_or(Error::HttpRequestDenied)?;
            match outgoing.send(request, options, deadline).await {
                Ok(answer) => Ok((answer, Box::new(async { Ok(()) }) as Box<dyn Future<Output = Result<()>> + Send>)),
                Err(failure) => {
                    if failure.should_be_logged() {
                        voice.warn(&failure.to_string());
                    }
                    Err(failure.into_error())
                }
            }
        })
    }
}

impl DenialLog {
    fn warn(&self, message: &str) {
        if let Self { module: Some(module), request, trace, budget } = self {
            GuestLog { module, request, trace, budget }.write(Level::WARN, "http", message);
        }
    }
}
