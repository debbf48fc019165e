//! The import `wasi:http/handler`, by which a middleware passes requests on.

use ::http::Request;
use ::http::uri::{Authority, PathAndQuery, Scheme};
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;
use wasmtime::AsContextMut as _;
use wasmtime::component::{Accessor, Linker, Resource};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::p3::{self, Response};

use crate::{BodyFault, InstanceState, KeptBody, PassingOn, RequestBody};

/// The interface that middlewares import. It serves later versions of 0.3 too.
const HANDLER: &str = "wasi:http/handler@0.3.0";

/// The result of `handle`.
type Answer = Result<Resource<Response>, ErrorCode>;

/// Defines the import. In a call that is not one of a middleware, every request is denied.
pub(super) fn add_to_linker(linker: &mut Linker<InstanceState>) -> wasmtime::Result<()> {
    linker.instance(HANDLER)?.func_wrap_concurrent("handle", |accessor, (request,)| {
        Box::pin(async move { Ok((pass_on(accessor, request).await?,)) })
    })
}

/// Passes a request on, and returns the answer as soon as its head is there.
async fn pass_on(accessor: &Accessor<InstanceState>, request: Resource<p3::Request>) -> wasmtime::Result<Answer> {
    let (read, is_read) = oneshot::channel::<()>();
    // The guest learns that the body is sent when whoever answers has read it, or given it up.
    let sent = async {
        let _ = is_read.await;
        Ok(())
    };
    let taken = accessor.with(|mut access| -> wasmtime::Result<_> {
        let passing = access.data_mut().call().passing_on.clone();
        let mut request = WasiHttpView::http(access.data_mut()).table.delete(request)?;
        // A request that the guest made itself may name none of these: nothing but its path matters here.
        request.scheme.get_or_insert(Scheme::HTTP);
        request.authority.get_or_insert(Authority::from_static("localhost"));
        request.path_with_query.get_or_insert(PathAndQuery::from_static("/"));
        match request.into_http(access.as_context_mut(), sent) {
            Ok((request, _)) => Ok(Ok((passing, request))),
            Err(error) => error.downcast().map(Err),
        }
    })?;
    let (passing, request) = match taken {
        Ok((Some(passing), request)) => (passing, request),
        Ok((None, _)) => return Ok(Err(ErrorCode::HttpRequestDenied)),
        Err(code) => return Ok(Err(code)),
    };
    let limit = passing.body_limit;
    let request = request.map(|body| {
        let body = body.map_frame(move |frame| {
            let _ = &read;
            frame
        });
        body.map_err(move |error| BodyFault::passed_on(&error, limit)).boxed_unsync()
    });
    let Some(answered) = send(&passing, request) else { return Ok(Err(ErrorCode::ConnectionLimitReached)) };
    let Ok(response) = answered.await else { return Ok(Err(ErrorCode::InternalError(None))) };
    accessor.with(|mut access| {
        let http = WasiHttpView::http(access.data_mut());
        // Nobody waits for what the guest says about its use of the body.
        let (response, _) = Response::from_http(http.hooks, response);
        Ok(Ok(http.table.push(response)?))
    })
}

/// Lets a task answer the request, because another store runs for it. Returns `None` if the call passes on too many at once.
fn send(passing: &PassingOn, request: Request<RequestBody>) -> Option<oneshot::Receiver<::http::Response<KeptBody>>> {
    let place = passing.take_place()?;
    let answering = passing.downstream.clone().answer(request);
    let (mut reply, answered) = oneshot::channel();
    let passing = passing.clone();
    tokio::spawn(async move {
        let response = tokio::select! {
            response = answering => response,
            // The middleware's call has ended.
            () = reply.closed() => return,
        };
        let _ = reply.send(response.map(|body| passing.keep(body, place)));
    });
    Some(answered)
}
