//! Requests that another listener of this process hands to the data listener: tries of operations. They meet every limit of requests.
//! Limits of connections are those of the listener on which they arrive.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, Response};
use http_body_util::BodyExt as _;

use super::DataListener;
use super::server::{BodyError, Connection, CountedResponse, RequestBody, content_length};
use watertight_store::BodyFault;

impl DataListener {
    /// Answers a request that arrived over `connection` of another listener. `kept` is dropped once the response has been sent, or when
    /// nobody waits for it any more. This method never fails: every error becomes a response.
    pub async fn answer_for<T: Send + 'static>(
        self: Arc<Self>,
        request: Request<Body>,
        connection: Arc<Connection>,
        kept: T,
    ) -> Response<Body> {
        let length = content_length(request.headers());
        let request = request
            .map(|body| RequestBody::passed_on(body.map_err(|error| fault(&error)).boxed_unsync(), length, connection));
        let CountedResponse { response, held } = self.handle(request).await;
        let guards = (kept, held);
        response.map(|body| {
            Body::new(body.map_err(move |error| {
                // The guards live as long as this function, and so as long as the body.
                let _guards = &guards;
                error
            }))
        })
    }
}

/// Returns what an error of the other listener's body means to the reader of the body.
fn fault(error: &axum::Error) -> BodyFault {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        match error.downcast_ref() {
            Some(BodyError::Stalled) => return BodyFault::TooSlow,
            Some(BodyError::NoRoom(_)) => return BodyFault::NoRoom,
            _ => cause = error.source(),
        }
    }
    BodyFault::CutOff
}
