//! Calls a handler of `wasi:http` 0.3: the interface `wasi:http/handler`.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use ::http::header::HOST;
use ::http::uri::{Parts, Scheme};
use ::http::{Request, Uri};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::oneshot;
use wasmtime::component::{Access, Func, Resource};
use wasmtime::{AsContextMut as _, Store};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p3;
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode;

use super::request::HandlerInput;
use super::response::ResponseSlot;
use super::{Answer, HandlerError, refusal};
use crate::runtime::compartment::Begin;
use watertight_store::InstanceState;

/// The parameters of `handle`.
type Parameters = (Resource<p3::Request>,);
/// The result of `handle`.
type Results = (Result<Resource<p3::Response>, ErrorCode>,);

/// Returns what calls the function `handle` of an instance for a request. The head of the handler's answer goes to `answer`, and its body to
/// `slot`. The call ends when nothing of the request is left to do in the instance and the body of the answer has ended.
pub(super) fn start(
    request: Request<HandlerInput>,
    slot: Arc<ResponseSlot>,
    answer: oneshot::Sender<Answer>,
) -> impl for<'s> FnOnce(&'s mut Store<InstanceState>, Func) -> BoxFuture<'s, wasmtime::Result<()>> + Send {
    move |store, function| {
        let work = async move {
            let handle = function.typed::<Parameters, Results>(&*store)?;
            let request = with_authority(request)?;
            let http = WasiHttpView::http(store.data_mut());
            let (request, sent) = p3::Request::from_http(http.hooks, request);
            let request = http.table.push(request)?;
            let running = store.run_concurrent(async move |accessor| {
                let (answered,) = handle.call_concurrent(accessor, (request,)).await?;
                let head = accessor.with(|mut access| respond(&mut access, answered, sent, &slot))?;
                // This fails if the client has gone away. The slot knows that, too.
                let _ = answer.send(head);
                // A body can also flow without the guest: from or to another compartment.
                let ends = accessor.with(|mut access| access.data_mut().ends().clone());
                poll_fn(|context| {
                    let (tasks, streams) = (accessor.poll_no_interesting_tasks(context), ends.poll_closed(context));
                    if tasks.is_ready() { streams } else { Poll::Pending }
                })
                .await;
                poll_fn(|context| slot.poll_finished(context)).await;
                Ok(())
            });
            running.await?
        };
        work.boxed()
    }
}

/// Returns what begins to call the function `handle` of an instance that other requests use at the same time. The head of the handler's
/// answer goes to `answer`, and its body to `slot`. The call ends as that of [`start`] does.
pub(super) fn begin(request: Request<HandlerInput>, slot: Arc<ResponseSlot>, answer: oneshot::Sender<Answer>) -> Begin {
    Box::new(move |accessor, function, (task, call)| {
        let request = with_authority(request)?;
        let (handle, started, finished, sent, ends) = accessor.with(|mut access| {
            let handle = function.typed::<Parameters, Results>(&access)?;
            let http = WasiHttpView::http(access.data_mut());
            let (request, sent) = p3::Request::from_http(http.hooks, request);
            let request = http.table.push(request)?;
            let started = handle.start_call_concurrent(access.as_context_mut(), (request,))?;
            let finished = access.data_mut().begin_task(task, call, started.group());
            let ends = access.data_mut().view(task, |state| state.ends().clone());
            wasmtime::error::Ok((handle, started, finished, sent, ends))
        })?;
        let rest = async move {
            let (answered,) = handle.finish_call_concurrent(accessor, started).await?;
            let head = accessor.with(|mut access| respond(&mut access, answered, sent, &slot))?;
            let _ = answer.send(head);
            // It resolves by being dropped.
            let _ = finished.await;
            poll_fn(|context| ends.poll_closed(context)).await;
            poll_fn(|context| slot.poll_finished(context)).await;
            Ok(())
        };
        Ok(rest.boxed())
    })
}

/// Passes the body of a handler's answer to `slot`. Returns the head, or why the answer can't be sent. `sent` resolves when the request's
/// body was read.
fn respond(
    access: &mut Access<'_, InstanceState>,
    answered: Result<Resource<p3::Response>, ErrorCode>,
    sent: impl Future<Output = Result<(), wasmtime_wasi_http::Error>> + Send + 'static,
    slot: &ResponseSlot,
) -> wasmtime::Result<Answer> {
    let response = match answered {
        Ok(response) => response,
        Err(code) => {
            slot.refuse();
            return Ok(Err(refusal(code)));
        }
    };
    let response = WasiHttpView::http(access.data_mut()).table.delete(response)?;
    let (mut head, body) = response.into_http(access.as_context_mut(), sent)?.into_parts();
    let unfit = |reason: &str| (HandlerError::Failed, reason.to_owned());
    Ok(slot.answer(&mut head, body).map(|()| head).map_err(unfit))
}

/// Gives the target of a request its scheme and its host. In HTTP/1.1, the host stands in a header only.
fn with_authority(mut request: Request<HandlerInput>) -> wasmtime::Result<Request<HandlerInput>> {
    let mut target = std::mem::take(request.uri_mut()).into_parts();
    if target.authority.is_none() {
        target.authority = request.headers().get(HOST).and_then(|host| host.to_str().ok()?.parse().ok());
    }
    let Parts { scheme, .. } = &mut target;
    scheme.get_or_insert(Scheme::HTTP);
    *request.uri_mut() = Uri::from_parts(target)?;
    Ok(request)
}
