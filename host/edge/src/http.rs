//! The data listener: it turns HTTP requests into calls of module functions, and their results into responses. Modules with routes never see
//! HTTP (invariant 9 in `ARCHITECTURE.md`); mounted modules answer whole requests.
//!
//! A request takes the current generation once and stays on it (invariant 3). Routes belong to a generation, so the listener does not use
//! axum's router. It uses only axum's request and response types.

pub mod access;
pub mod answer;
mod call;
mod client;
mod compression;
pub mod details;
pub mod document;
mod door;
mod forwarded;
pub mod head;
pub mod media;
mod context;
mod mount;
mod middleware;
pub mod panics;
mod parameters;
pub mod server;
mod tried;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Method, Request, Response, StatusCode, header};
use hyper::body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::Val;

use watertight_disk::failpoint::panic_point;
use watertight_graph::routes::RouteMatch;
use watertight_model::config::HttpLimits;
use watertight_runtime::runtime::{Generation, InFlight, Runtime};
use watertight_store::{CallContext, RequestInfo, RequestNotes};
use watertight_telemetry::table::CallOrigin;

use answer::HostProblem;
use context::{Origin, RequestContext};
use details::Failure;
use door::CrossOrigin;
use middleware::Passage;
use mount::HandledRequest;
use parameters::{ReadBody, UploadFolder};
use server::{Connection, CountedResponse, PermitShare, RequestBody};

pub use context::{drop_body, request_id};

/// The header that carries a request's id, in requests and in responses.
pub static REQUEST_ID: header::HeaderName = header::HeaderName::from_static("x-request-id");
/// The header that carries the trace context of a request (W3C Trace Context), in requests and in responses.
pub static TRACEPARENT: header::HeaderName = header::HeaderName::from_static("traceparent");
/// The header in which tracing vendors keep their own data of a trace (W3C Trace Context).
static TRACESTATE: header::HeaderName = header::HeaderName::from_static("tracestate");
/// The response header that carries the number of the generation that answered.
pub static GENERATION: header::HeaderName = header::HeaderName::from_static("watertight-generation");

/// The size of a list of bytes, in bytes, from which on making its value would hold up other requests.
const LONG_LIST: u64 = 256 << 10;

/// The right of one request to be in flight on the data listener. Dropping this value lets another request take its place.
struct InFlightPermit {
    _permit: OwnedSemaphorePermit,
    _share: PermitShare,
    _generation: InFlight,
}

/// The right of a request to go on to its route or mount.
enum Entry {
    /// No permit was taken yet. The request counts on its generation.
    Arrived(InFlight),
    /// The permit was taken before the first middleware.
    Admitted(Arc<InFlightPermit>),
}

/// What answers a request: the index of a route or of a mount in its generation.
#[derive(Debug, Clone, Copy)]
enum Answerer {
    Route(usize),
    Mount(usize),
}

/// The answer to a request.
struct Answer {
    response: Response<Body>,
    /// Whether the body is still being made while it is sent. Otherwise it is whole and in memory.
    is_stream: bool,
}

impl From<Response<Body>> for Answer {
    fn from(response: Response<Body>) -> Self {
        Self { response, is_stream: false }
    }
}

/// Whether a mount takes a request for `host`, whose normalized path is `path`.
fn is_mounted<B>(generation: &Generation, request: &Request<B>, host: Option<&str>, path: &str) -> bool {
    matches!(generation.routes.find(host, request.method(), path), RouteMatch::Mount(..))
}

fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// The state that all requests of the data listener share.
pub struct DataListener {
    runtime: Arc<Runtime>,
    limits: HttpLimits,
    in_flight: Arc<Semaphore>,
    /// The room for bytes that functions get as lists, in KiB.
    list_room: Arc<Semaphore>,
    /// The folder for what large uploads have sent.
    uploads: UploadFolder,
}

/// The maximum size of all lists of bytes that requests give to running calls, in KiB. As values of Wasmtime they take 32 times as much
/// memory. Further uploads wait.
const LIST_ROOM: u32 = 64 << 10;

impl DataListener {
    /// Creates the listener's state for the application that `runtime` runs. `limits` bounds the requests in flight. Large uploads wait in
    /// unnamed files in the folder `uploads`.
    pub fn new(runtime: Arc<Runtime>, limits: HttpLimits, uploads: PathBuf) -> Arc<Self> {
        let in_flight = Arc::new(Semaphore::new(limits.in_flight as usize));
        let list_room = Arc::new(Semaphore::new(LIST_ROOM as usize));
        Arc::new(Self { runtime, limits, in_flight, list_room, uploads: UploadFolder::new(uploads) })
    }

    /// Waits for room for `bytes` of lists, until `deadline`. A list larger than all room waits for all of it.
    async fn acquire_list_room(&self, bytes: u64, deadline: Instant) -> Result<Option<OwnedSemaphorePermit>, Failure> {
        let room = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX).min(LIST_ROOM);
        if room == 0 {
            return Ok(None);
        }
        let acquired = self.list_room.clone().acquire_many_owned(room);
        let acquired = tokio::time::timeout_at(deadline.into(), acquired).await.map_err(|_| HostProblem::Overloaded)?;
        Ok(acquired.ok())
    }

    /// Waits until every request in flight has ended, including requests whose client has disconnected. Returns whether that happened
    /// before `deadline`. The caller must ensure that no new request begins meanwhile.
    pub async fn wait_idle(&self, deadline: Instant) -> bool {
        let all = self.in_flight.acquire_many(self.limits.in_flight);
        tokio::time::timeout_at(deadline.into(), all).await.is_ok()
    }

    /// Answers one request. This method never fails: every error becomes a response.
    pub async fn handle(self: Arc<Self>, request: Request<RequestBody>) -> CountedResponse {
        let generation = self.runtime.current();
        let on = generation.enter();
        let context = RequestContext::new(&request, &generation);
        let connection = request.body().connection().clone();
        let mut found = None;
        let door = generation.routes.door();
        let host = context.origin.host();
        let checked = head::check_for(&request, |path| is_mounted(&generation, &request, host, path));
        let mut rules =
            if door.has_cors() { CrossOrigin::of(&generation.routes, host, &request).map(Box::new) } else { None };
        let accepts = (door.config.compression && request.headers().contains_key(header::ACCEPT_ENCODING))
            .then(|| request.headers().clone());
        let preflight = rules.take_if(|rules| checked.is_ok() && rules.is_preflight());
        let answered = match (checked, preflight) {
            (Ok(()), Some(preflight)) => Ok(Box::pin(preflight.answer()).await.into()),
            (Ok(()), None) => {
                let answer = self.answer(request, &context.origin, &generation, on, &mut found);
                panics::catch_panic(answer).await.unwrap_or_else(|panic| {
                    context.origin.record_panic(&panic, &generation);
                    Err(HostProblem::HostFailed.into())
                })
            }
            (Err(failure), _) => Err(failure),
        };
        let answer = answered.unwrap_or_else(|failure| door::problem(door, failure, &context.origin.id).into());
        let Answer { mut response, is_stream } = answer;
        // Of a stream, only its buffers are in memory.
        let length = if is_stream { 0 } else { response.body().size_hint().lower() };
        let held = (length > 0).then(|| connection.hold(length).ok());
        if let Some(None) = held {
            response = door::problem(door, HostProblem::Overloaded.into(), &context.origin.id);
        }
        if let Some(rules) = rules {
            response = Box::pin(rules.apply(response)).await;
        }
        door::add_headers(door, &mut response);
        if let Some(headers) = accepts.filter(|_| !is_stream) {
            response = Box::pin(compression::compress(&headers, response)).await;
        }
        CountedResponse { response: context.finish(response, &generation, found), held: held.flatten() }
    }

    /// Takes a permit for one request in flight, if it has none. Returns `None` if no permit is free, or if `connection` already has at least
    /// as many permits as are free.
    fn acquire_permit(&self, connection: &Arc<Connection>, entry: Entry) -> Option<Arc<InFlightPermit>> {
        let on = match entry {
            Entry::Arrived(on) => on,
            Entry::Admitted(permit) => return Some(permit),
        };
        let take = || self.in_flight.clone().try_acquire_owned().ok();
        let (permit, share) = connection.acquire_permit(self.in_flight.available_permits(), take)?;
        Some(Arc::new(InFlightPermit { _permit: permit, _share: share, _generation: on }))
    }

    /// Lets the first middleware that covers the request, or else its route or mount, answer it. Sets `found` to the route or mount as soon
    /// as it is known.
    async fn answer(
        self: &Arc<Self>,
        request: Request<RequestBody>,
        origin: &Origin,
        generation: &Arc<Generation>,
        on: InFlight,
        found: &mut Option<Answerer>,
    ) -> Result<Answer, Failure> {
        let (head, body) = request.into_parts();
        let entry = Entry::Arrived(on);
        if generation.routes.middlewares().is_empty() {
            return self.dispatch(head, body, origin, generation, entry, found).await;
        }
        let plain = head::normalize_path(head.uri.path());
        let Some(first) = generation.routes.middleware(0, origin.host(), &plain) else {
            drop(plain);
            return self.dispatch(head, body, origin, generation, entry, found).await;
        };
        *found = match generation.routes.find(origin.host(), &head.method, &plain) {
            RouteMatch::Route(index, ..) => Some(Answerer::Route(index)),
            RouteMatch::Mount(place, _) => Some(Answerer::Mount(place)),
            RouteMatch::Document | RouteMatch::OtherMethods(_) | RouteMatch::Nothing | RouteMatch::Misdirected => None,
        };
        drop(plain);
        let connection = body.connection().clone();
        let permit = self.acquire_permit(&connection, entry).ok_or(HostProblem::Overloaded)?;
        let reached = Arc::new(OnceLock::new());
        let passage = Passage {
            listener: self.clone(),
            generation: generation.clone(),
            origin: origin.clone(),
            connection,
            permit,
            reached: reached.clone(),
            next: 0,
        };
        let answer = Box::pin(passage.meet(first, head, body)).await;
        *found = reached.get().copied().or(*found);
        answer
    }

    /// Finds the route or the mount of a request, and lets it answer. Sets `found` as soon as it is known.
    async fn dispatch(
        &self,
        head: Parts,
        body: RequestBody,
        origin: &Origin,
        generation: &Arc<Generation>,
        entry: Entry,
        found: &mut Option<Answerer>,
    ) -> Result<Answer, Failure> {
        let connection = body.connection().clone();
        let plain = head::normalize_path(head.uri.path());
        let (index, route, path) = match generation.routes.find(origin.host(), &head.method, &plain) {
            RouteMatch::Route(index, route, path) => (index, route, path),
            RouteMatch::Mount(place, mount) => {
                drop(plain);
                *found = Some(Answerer::Mount(place));
                let mounted = HandledRequest::of_mount(generation, (place, mount), head, body);
                mounted.check_length(origin)?;
                // The body flows while the handler runs, so the permit is taken before it.
                let permit = self.acquire_permit(&connection, entry).ok_or(HostProblem::Overloaded)?;
                // Boxed, so that requests to routes don't carry the state of a handler's exchange.
                return Box::pin(mounted.answer(origin, permit)).await;
            }
            RouteMatch::Document => return Ok(document::answer(generation).into()),
            RouteMatch::OtherMethods(allow) if head.method == Method::OPTIONS => {
                let mut response = no_content();
                response.headers_mut().insert(header::ALLOW, allow);
                return Ok(response.into());
            }
            RouteMatch::Nothing if head.method == Method::OPTIONS && plain == "*" => return Ok(no_content().into()),
            RouteMatch::OtherMethods(allow) => {
                return Err(Failure::from(HostProblem::MethodNotAllowed).with_header(header::ALLOW, allow));
            }
            RouteMatch::Nothing => return Err(HostProblem::NoSuchPath.into()),
            RouteMatch::Misdirected => return Err(HostProblem::Misdirected.into()),
        };
        *found = Some(Answerer::Route(index));
        panic_point("http::answer");
        answer::check(route, &head)?;
        let target = generation.route_target(index);
        let deadline = origin.arrival + generation.time(target);
        let is_upload = route.body.is_upload();
        let limit = if is_upload { generation.upload_limit(target) } else { generation.body_limit(target) };
        let body = if body.is_end_stream() {
            Ok(ReadBody::absent(route))
        } else {
            // Boxed, so that requests without a body don't carry the state of reading one.
            let read = Box::pin(parameters::read_body(route, &head.headers, body, limit, deadline, &self.uploads));
            // A client that sends its body slowly must not keep a retired generation alive.
            generation.run_until_cut_off(read).await.unwrap_or_else(|| Err(HostProblem::BodyTooSlow.into()))
        };
        if body.as_ref().is_err_and(|failure| failure.status() == StatusCode::PAYLOAD_TOO_LARGE) {
            generation.report_large_body(target, limit, &origin.id, &origin.trace);
        }
        let mut body = body?;
        let list_bytes = body.as_ref().map_or(0, ReadBody::list_bytes);
        let list_room = self.acquire_list_room(list_bytes, deadline).await?;
        // The permit is taken only after the body has arrived: a client that sends slowly must not occupy one.
        let permit = self.acquire_permit(&connection, entry).ok_or(HostProblem::Overloaded)?;
        let mut decode = || parameters::decode(route, &path, &head, body.as_mut());
        let values = if list_bytes > LONG_LIST { tokio::task::block_in_place(decode)? } else { decode()? };
        drop(body);
        let asked = answer::Asked::new(route, &head, &values);
        let line = RequestInfo {
            method: route.method.as_str(),
            route: route.label.clone(),
            uri: origin.uri.clone(),
            generation: generation.number,
            client: origin.client.clone(),
        };
        let notes = RequestNotes::new(line);
        let call_context =
            CallContext::within_trace(origin.id.clone(), deadline, CallOrigin::Route, origin.trace.clone());
        let call_context = call_context.with_request(notes.clone());
        let (result, _permit) =
            call::detached(generation.clone(), target, values, call_context, (permit, list_room)).await;
        let limit = generation.result_limit(target);
        let write = |result: Option<Val>| {
            answer::from_result(route, result.as_ref(), limit, &asked).unwrap_or_else(|error| {
                generation.report_unencodable_result(target, &error, &origin.id, &origin.trace);
                Err(HostProblem::ModuleFailed.into())
            })
        };
        let response = generation.offload(target, || result.map_err(Failure::from).and_then(write));
        response.map(Answer::from).map_err(|failure| answer::storage_full_if_server_error(failure, &notes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The maximum size of the future of a request, in bytes. It is moved when a request begins, so its size costs every request time. What
    /// few requests need is boxed.
    const MAX_FUTURE: usize = 7 << 9;

    #[test]
    fn the_future_of_a_request_is_small() {
        fn size<A, B, F>(_: impl Fn(A, B) -> F) -> usize {
            size_of::<F>()
        }
        let size = size(DataListener::handle);
        assert!(size <= MAX_FUTURE, "it has {size} bytes");
    }
}
