//! Calls a handler of `wasi:http` 0.2: the interface `wasi:http/incoming-handler`.

use std::sync::Arc;

use ::http::{Request, uri};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime::component::{Func, Resource};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};

use super::request::HandlerInput;
use super::response::ResponseSlot;
use super::{Answer, HandlerError, refusal};
use watertight_store::InstanceState;

/// The parameters of `handle`.
type Parameters = (Resource<HostIncomingRequest>, Resource<HostResponseOutparam>);

/// Returns what calls the function `handle` of an instance for a request. The head of the handler's answer goes to `answer`, and its body to
/// `slot`.
pub(super) fn start(
    request: Request<HandlerInput>,
    slot: Arc<ResponseSlot>,
    answer: oneshot::Sender<Answer>,
) -> impl for<'s> FnOnce(&'s mut Store<InstanceState>, Func) -> BoxFuture<'s, wasmtime::Result<()>> + Send {
    move |store, function| {
        let work = async move {
            let scheme = if request.uri().scheme() == Some(&uri::Scheme::HTTPS) { Scheme::Https } else { Scheme::Http };
            let mut http = WasiHttpView::http(store.data_mut());
            let request = http.new_incoming_request(scheme, request)?;
            let outparam = http.new_response_outparam_from_callback(move |answered| {
                let head = match answered {
                    Ok(response) => {
                        let (mut head, body) = response.into_parts();
                        let unfit = |reason: &str| (HandlerError::Failed, reason.to_owned());
                        slot.answer(&mut head, body).map(|()| head).map_err(unfit)
                    }
                    Err(code) => {
                        slot.refuse();
                        Err(refusal(code))
                    }
                };
                // This fails if the client has gone away. The slot knows that, too.
                let _ = answer.send(head);
            })?;
            let handle = function.typed::<Parameters, ()>(&*store)?;
            handle.call_async(&mut *store, (request, outparam)).await
        };
        work.boxed()
    }
}
