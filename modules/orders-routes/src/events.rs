//! `GET /orders/events`: orders that are placed or change, as server-sent events.
//!
//! The stream begins where the client says by `Last-Event-ID`, otherwise now. Its first event has an id and no data: a client that leaves
//! before anything happens can resume too. Then each order comes that was placed or has changed since, once for its changes up to then and
//! as it is now, with the number of its latest change as the id. So a client that resumes has missed no order's latest state. It may have
//! missed states in between, and it may get an order again whose event arrived without being kept.
//!
//! Nothing tells this module that the database has changed, so it looks at intervals.

use std::collections::VecDeque;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::IntoResponse as _;
use axum::response::sse::{Event, Sse};
use futures::stream;
use shop_orders::feed::Change;
use shop_orders::model::Error;

use crate::app::App;
use crate::problem::{Fault, Problem};
use crate::read::{self, Integer};
use crate::routes::Answer;
use crate::{input, write};

/// The time between two looks at the database.
const INTERVAL: Duration = Duration::from_secs(1);
/// The time without an event after which a comment is sent. A client that has left is noticed when something is sent, and the host gives a
/// handler 5 seconds to notice. It also ends a stream that is silent for `limits.stream.idle`.
const HEARTBEAT: Duration = Duration::from_secs(4);
/// The time after which clients shall connect again.
const RECONNECT: Duration = Duration::from_secs(1);
/// The header with the id of the last event that a client got.
const LAST_EVENT_ID: &str = "last-event-id";

/// A stream of events.
struct Events {
    app: App,
    /// The number of the last change that was sent or is ready.
    number: i64,
    ready: VecDeque<Event>,
    /// The time since something was sent.
    quiet: Duration,
}

pub(crate) async fn events(State(app): State<App>, request: Request) -> Answer {
    let (head, body) = request.into_parts();
    let mut faults = Vec::new();
    let given = input::header(&head.headers, LAST_EVENT_ID, &mut faults);
    let known = given.as_deref().map(read::integer::<i64>);
    if let (Some(None), Some(text)) = (known, &given) {
        faults.push(Fault::header(LAST_EVENT_ID, read::expected(i64::NAME, &format!("{:?}", read::clip(text)))));
    }
    input::nothing(&head, body, faults).await?;
    let latest = app.api().last_change().map_err(|error| Problem::of(error, &app))?;
    let events = Events::begin(app, known.flatten(), latest);
    Ok(Sse::new(stream::try_unfold(events, Events::next)).into_response())
}

impl Events {
    /// Begins a stream after the change `known`, or after the latest one.
    fn begin(app: App, known: Option<i64>, latest: i64) -> Self {
        // A number that is still to come is of another database: of the one before a backup was restored, for instance.
        let is_lost = known.is_some_and(|number| number > latest);
        let number = known.filter(|_| !is_lost).unwrap_or(latest);
        let mut ready = VecDeque::from([Event::default().retry(RECONNECT).id(number.to_string())]);
        if is_lost {
            ready.push_back(Event::default().event("reset").id(number.to_string()).data("{}"));
        }
        Self { app, number, ready, quiet: Duration::ZERO }
    }

    /// Returns the next event, and the rest of the stream. Waits until there is an event.
    async fn next(mut self) -> Result<Option<(Event, Self)>, Error> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.quiet = Duration::ZERO;
                return Ok(Some((event, self)));
            }
            let changes = match self.app.changes_of_stream(self.number) {
                // A busy database is asked again after the interval.
                Err(Error::Unavailable(_)) => Vec::new(),
                changes => changes?,
            };
            if let Some(last) = changes.last() {
                self.number = last.number;
                self.ready.extend(changes.iter().map(event));
            } else if self.quiet >= HEARTBEAT {
                self.ready.push_back(Event::default().comment(""));
            } else {
                self.app.sleep(INTERVAL).await;
                self.quiet += INTERVAL;
            }
        }
    }
}

fn event(change: &Change) -> Event {
    let order = write::order(&change.order);
    Event::default().event("order").id(change.number.to_string()).data(String::from_utf8_lossy(&order))
}
