//! The capability `http`: Wasmtime implements `wasi:http`, and requests go out through the module's own grant.
//! Middlewares pass requests on by `passing.rs`, which needs no grant.

mod passing;

use std::sync::Arc;

use ::http::Request;
use futures::FutureExt as _;
use tracing::Level;
use wasmtime_wasi::NamedId;
use wasmtime_wasi_http::p2::bindings::{self as p2, named_imports::wasi::http::outgoing_handler};
use wasmtime_wasi_http::p3::bindings::{self as p3, named_imports::wasi::http::client};
use wasmtime_wasi_http::{
    Error, RequestOptions, Result, WasiBody, WasiHttp, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpNamed,
    WasiHttpNamedView, WasiHttpView,
};

use super::{Capability, CapabilityLinker, ModuleContext, SharedData, StoreState, declaration_of, wasi};
use crate::{CallContext, Deadline, GuestLog, InstanceState, LogBudget, ModuleIndex};
use watertight_model::config::OutboundConfig;
use watertight_model::config::capability::Declaration;
use watertight_model::ids::{CapabilityName, ModuleName};
use watertight_model::problem::Problems;
use watertight_outbound::OutboundClient;
use watertight_sql::Database;
use watertight_telemetry::Trace;

/// The largest size of one set of header fields in the host, in bytes: names, values and overhead.
const MAX_FIELDS: usize = 64 << 10;
/// The largest piece of a body that a guest writes at once, in bytes. For each body, the host holds two pieces until they are taken.
const MAX_PIECE: usize = 64 << 10;

pub(super) struct Http;

impl Capability for Http {
    fn declaration(&self) -> Declaration {
        declaration_of(CapabilityName::HTTP)
    }

    fn prepare(&self, module: &ModuleContext<'_>) -> std::result::Result<Option<SharedData>, Problems> {
        let grant = module.config.settings_of::<OutboundConfig>(CapabilityName::HTTP).cloned().unwrap_or_default();
        Ok(Some(Box::new(OutboundClient::new(grant, module.telemetry.outbound(module.name)))))
    }

    fn add_to_linker(&self, linker: &mut CapabilityLinker<'_>) -> wasmtime::Result<()> {
        wasi::add_named!(linker, WasiHttpNamed<InstanceState>, outgoing_handler);
        let options = p2::LinkOptions::default();
        p2::http::types::add_to_linker::<_, WasiHttp>(linker.linker(), &(&options).into(), WasiHttpView::http)?;
        if linker.has_concurrency() {
            wasi::add_named!(linker, WasiHttpNamed<InstanceState>, client);
            p3::http::types::add_to_linker::<_, WasiHttp>(linker.linker(), WasiHttpView::http)?;
            passing::add_to_linker(linker.linker())?;
        }
        Ok(())
    }
}

/// A store's state of `wasi:http`, for one module or for the interface `types`, which all modules share: Wasmtime's context, and the host's
/// hooks.
struct HttpState {
    context: WasiHttpCtx,
    hooks: Hooks,
}

/// Sends a guest's requests through its module's grant, under the deadline of the current call.
struct Hooks {
    /// The module's outbound client. `None` if these hooks send nothing.
    outgoing: Option<Arc<OutboundClient>>,
    /// The module's database while the module has a transaction open, which may have read what is not on the disk yet.
    unsynced: Option<Database>,
    voice: DenialLog,
    deadline: Deadline,
}

/// Logs denied requests in the module's name. It is a copy of the call's data, because a request may outlive its call.
#[derive(Clone)]
struct DenialLog {
    module: Option<ModuleName>,
    request: Arc<str>,
    trace: Trace,
    budget: Arc<LogBudget>,
}

impl HttpState {
    /// Creates the state of a module, or the one behind the interface `types`, which sends nothing.
    fn new(state: &InstanceState, module: Option<ModuleIndex>) -> Self {
        let call = state.call();
        let voice = DenialLog {
            module: module.map(|module| state.module(module).name.clone()),
            request: call.request.clone(),
            trace: call.trace.clone(),
            budget: state.log_budget().clone(),
        };
        let outgoing = module.and_then(|module| state.shared::<Arc<OutboundClient>>(module).ok().cloned());
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(MAX_FIELDS);
        Self { context, hooks: Hooks { outgoing, unsynced: None, voice, deadline: call.deadline.clone() } }
    }

    /// Returns Wasmtime's view of the state of a module, or of the one behind the interface `types`.
    fn view(state: &mut InstanceState, module: Option<ModuleIndex>) -> WasiHttpCtxView<'_> {
        let unsynced = module.filter(|module| state.has_transaction(*module));
        let unsynced = unsynced.and_then(|module| state.database(module).ok());
        let (Self { context, hooks }, table) = state.local_of(module, |state| Self::new(state, module));
        hooks.unsynced = unsynced;
        WasiHttpCtxView { hooks, table, ctx: context }
    }
}

impl StoreState for HttpState {
    fn begin_call(&mut self, call: &CallContext) {
        let Hooks { voice, deadline, .. } = &mut self.hooks;
        (voice.request, voice.trace, *deadline) = (call.request.clone(), call.trace.clone(), call.deadline.clone());
    }
}

impl WasiHttpNamedView for InstanceState {
    /// Returns the context of a module that sends requests.
    fn http(&mut self, id: NamedId) -> WasiHttpCtxView<'_> {
        HttpState::view(self, Some(wasi::module_of(id)))
    }
}

impl WasiHttpView for InstanceState {
    /// Returns the context behind the interface `types`.
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        HttpState::view(self, None)
    }
}

/// The result that Wasmtime expects of a request: the response, and a future for the rest of the exchange.
type Answer = Result<(::http::Response<WasiBody>, Box<dyn Future<Output = Result<()>> + Send>)>;

impl WasiHttpHooks for Hooks {
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        MAX_PIECE
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        MAX_PIECE
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<()>> + Send>,
    ) -> Box<dyn Future<Output = Answer> + Send> {
        let (outgoing, voice, deadline) = (self.outgoing.clone(), self.voice.clone(), self.deadline.latest());
        let unsynced = self.unsynced.take();
        Box::new(async move {
            let outgoing = outgoing.ok_or(Error::HttpRequestDenied)?;
            if let Some(database) = unsynced {
                database
                    .wait_until_synced(deadline)
                    .await
                    .map_err(|error| Error::InternalError(Some(error.to_string())))?;
            }
            match outgoing.send(request, options, deadline).await {
                Ok((answer, closing)) => {
                    let rest: Box<dyn Future<Output = Result<()>> + Send> = Box::new(closing.map(Ok));
                    Ok((answer, rest))
                }
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
