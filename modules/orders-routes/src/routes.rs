//! The routes of orders, and the handlers of those that answer at once.

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};

use crate::app::App;
pub use crate::problem::UnreadBody;
use crate::problem::{self, Fault, Problem};
use crate::{events, export, input, read, write};

/// What handlers return.
pub(crate) type Answer = Result<Response, Problem>;

/// The id in a path. An id that is not UTF-8 is a rejection.
type Id = Result<Path<String>, PathRejection>;

/// Creates the router.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/orders", post(place).get(list))
        .route("/orders/export", get(export::export))
        .route("/orders/events", get(events::events))
        .route("/orders/{id}", get(one))
        .route("/orders/{id}/cancel", post(cancel))
        .fallback(async || Problem::no_such_path())
        .method_not_allowed_fallback(other_method)
        .with_state(app)
}

/// Answers a method that a path does not have. OPTIONS asks which ones it has.
async fn other_method(method: Method) -> Answer {
    if method == Method::OPTIONS {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(Problem::other_method(&method))
    }
}

/// Answers a request with the router. Writes the bodies of what fails, with the id of the request.
///
/// # Errors
///
/// The body of the request could not be read to its end.
pub async fn answer(router: Router, request: Request) -> Result<Response, UnreadBody> {
    problem::answer(router, request).await
}

async fn place(State(app): State<App>, request: Request) -> Answer {
    let (head, body) = request.into_parts();
    let document = input::json(&head.headers, body).await?;
    let mut faults = Vec::new();
    input::Query::read(&head, &[], &mut faults);
    let draft = read::draft(&document, &mut faults);
    let key = input::header(&head.headers, "idempotency-key", &mut faults);
    Problem::check(faults)?;
    let order = app.api().place(draft, key.as_deref()).map_err(|error| Problem::of(error, &app))?;
    let mut answer = json(StatusCode::CREATED, write::order(&order));
    let place = HeaderValue::from_str(&format!("/orders/{}", order.id)).expect("an id is a ULID");
    answer.headers_mut().insert(LOCATION, place);
    Ok(answer)
}

async fn list(State(app): State<App>, request: Request) -> Answer {
    let (head, body) = request.into_parts();
    input::no_body(body).await?;
    let mut faults = Vec::new();
    let query = input::Query::read(&head, &["customer", "limit", "after"], &mut faults);
    let customer = query.required("customer", &mut faults);
    let limit = query.integer("limit", &mut faults);
    Problem::check(faults)?;
    let page = app.api().list(customer, limit, query.text("after")).map_err(|error| Problem::of(error, &app))?;
    Ok(json(StatusCode::OK, write::page(&page)))
}

async fn one(State(app): State<App>, id: Id, request: Request) -> Answer {
    let id = only_id(id, request).await?;
    let order = app.api().get(&id).map_err(|error| Problem::of(error, &app))?;
    Ok(json(StatusCode::OK, write::order(&order)))
}

async fn cancel(State(app): State<App>, id: Id, request: Request) -> Answer {
    let id = only_id(id, request).await?;
    let order = app.api().cancel(&id).map_err(|error| Problem::of(error, &app))?;
    Ok(json(StatusCode::OK, write::order(&order)))
}

/// Returns the id of a request that has no other input.
async fn only_id(id: Id, request: Request) -> Result<String, Problem> {
    let (head, body) = request.into_parts();
    let mut faults = Vec::new();
    let id = id.map_or_else(
        |_| {
            faults.push(Fault::path("id", "it is not UTF-8"));
            String::new()
        },
        |Path(id)| id,
    );
    input::nothing(&head, body, faults).await?;
    Ok(id)
}

fn json(status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], Body::from(body)).into_response()
}
