//! Middlewares: modules that get a request before its route or mount, and pass it on.
//!
//! Each request that a middleware passes on looks for what answers it anew, as the middleware made it: the next middleware in the order of
//! the table that covers its path, and then a route or a mount. So a path that a middleware changes meets the checks of the new path. The
//! host stays that of the client's request.

use std::sync::{Arc, OnceLock};

use axum::http::request::Parts;
use axum::http::{Request, Response, header};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http_body_util::BodyExt as _;

use super::answer::HostProblem;
use super::context::Origin;
use super::details::Failure;
use super::door;
use super::head;
use super::mount::{HandledRequest, host_of};
use super::panics::catch_panic;
use super::server::{Connection, RequestBody, content_length};
use super::{Answer, Answerer, DataListener, Entry, InFlightPermit, is_mounted};
use watertight_runtime::runtime::{Generation, HandlerPlace};
use watertight_store::{CutAnswer, Downstream, PassedBody, RequestBody as PassedRequestBody};

/// The way of a request from one middleware on.
#[derive(Clone)]
pub(super) struct Passage {
    pub(super) listener: Arc<DataListener>,
    pub(super) generation: Arc<Generation>,
    pub(super) origin: Origin,
    pub(super) connection: Arc<Connection>,
    /// The permit of the client's request, which all that middlewares make of it share.
    pub(super) permit: Arc<InFlightPermit>,
    /// The route or the mount that a request reached at the end of the way.
    pub(super) reached: Arc<OnceLock<Answerer>>,
    /// The index of the first middleware that the request has not met yet.
    pub(super) next: usize,
}

impl Passage {
    /// Lets the middleware at index `place` answer a request.
    pub(super) async fn meet(self, place: usize, head: Parts, body: RequestBody) -> Result<Answer, Failure> {
        let Self { generation, origin, permit, .. } = self.clone();
        let middleware = &generation.routes.middlewares()[place];
        let label = middleware.path.clone();
        let downstream: Arc<dyn Downstream> = Arc::new(Self { next: place + 1, ..self });
        let request = HandledRequest {
            generation: &generation,
            place: HandlerPlace::Middleware(place),
            prefix: None,
            label,
            downstream: Some(downstream),
            head,
            body,
        };
        request.check_length(&origin)?;
        request.answer(&origin, permit).await
    }

    /// Lets the next middleware, or else a route or a mount, answer a request that was passed on.
    async fn go_on(self, request: Request<RequestBody>) -> Result<Answer, Failure> {
        let host = self.origin.host();
        head::check_for(&request, |path| is_mounted(&self.generation, &request, host, path))?;
        let (head, body) = request.into_parts();
        let next = self.generation.routes.middleware(self.next, host, &head::normalize_path(head.uri.path()));
        if let Some(place) = next {
            return self.meet(place, head, body).await;
        }
        let Self { listener, generation, origin, permit, reached, .. } = self;
        let mut found = None;
        let answer = listener.dispatch(head, body, &origin, &generation, Entry::Admitted(permit), &mut found).await;
        if let Some(found) = found {
            // A middleware may pass on several requests. The first one counts in metrics and logs.
            let _ = reached.set(found);
        }
        answer
    }
}

impl Downstream for Passage {
    fn answer(self: Arc<Self>, request: Request<PassedRequestBody>) -> BoxFuture<'static, Response<PassedBody>> {
        let passage = Self::clone(&self);
        let work = async move {
            let length = content_length(request.headers());
            let mut request = request.map(|body| RequestBody::passed_on(body, length, passage.connection.clone()));
            // WASI keeps the host out of the headers, where HTTP/1.1 has it.
            let host = host_of(request.uri());
            request.headers_mut().insert(header::HOST, host);
            let (origin, generation) = (passage.origin.clone(), passage.generation.clone());
            let answered = catch_panic(passage.go_on(request)).await.unwrap_or_else(|panic| {
                origin.record_panic(&panic, &generation);
                Err(HostProblem::HostFailed.into())
            });
            let door = generation.routes.door();
            let answer = answered.unwrap_or_else(|failure| door::problem(door, failure, &origin.id).into());
            answer.response.map(|body| body.map_err(|_| CutAnswer).boxed_unsync())
        };
        work.boxed()
    }
}
