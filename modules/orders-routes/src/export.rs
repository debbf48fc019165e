//! `GET /orders/export`: all orders as NDJSON, one order on a line, in the order of their ids.
//!
//! One page is in memory at a time: the next one is read once the client has taken the one before. The export has each order that was there
//! when it began, once, as the order was when its page was read. An export that breaks off ends without the body's regular end, so clients
//! notice. `?after=ID` goes on after the last order that arrived.

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse as _;
use futures::stream;
use shop_orders::model::{Error, Order};

use crate::app::App;
use crate::problem::Problem;
use crate::routes::Answer;
use crate::{input, write};

/// The orders that are still to be sent.
struct Export {
    app: App,
    /// The orders of the current page. `None`: they are still to be read.
    page: Option<Vec<Order>>,
    /// The id after which the current page begins.
    after: String,
    /// The id with which the export ends.
    until: String,
}

pub(crate) async fn export(State(app): State<App>, request: Request) -> Answer {
    let (head, body) = request.into_parts();
    input::no_body(body).await?;
    let mut faults = Vec::new();
    let query = input::Query::read(&head, &["after"], &mut faults);
    Problem::check(faults)?;
    let after = query.text("after").unwrap_or_default().to_owned();
    // The first page is read before the answer begins, so that a database that fails is answered by a status.
    let first = || {
        let until = app.api().last_id()?.unwrap_or_default();
        let page = app.api().orders(&after, &until)?;
        Ok((until, page))
    };
    let (until, page) = first().map_err(|error| Problem::of(error, &app))?;
    let export = Export { app, page: Some(page), after, until };
    let body = Body::from_stream(stream::try_unfold(export, Export::next));
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

impl Export {
    /// Returns the next piece of the body, and what is left after it.
    async fn next(mut self) -> Result<Option<(Bytes, Self)>, Error> {
        let page = match self.page.take() {
            Some(page) => page,
            None => self.app.orders_of_stream(&self.after, &self.until)?,
        };
        let Some(last) = page.last() else { return Ok(None) };
        last.id.clone_into(&mut self.after);
        Ok(Some((write::lines(&page).into(), self)))
    }
}
