//! Tests of the stream of events.

use axum::body::BodyDataStream;
use futures::StreamExt as _;
use serde_json::Value;

use crate::client::{Client, json};
use crate::world::draft;

/// A connection that follows the events.
struct Follower(BodyDataStream);

/// An event as a client sees it.
#[derive(Debug, Default, PartialEq)]
struct Event {
    name: String,
    id: Option<i64>,
    data: Value,
    retry: bool,
}

impl Follower {
    async fn new(client: &Client, last: Option<i64>) -> Self {
        let last = last.map(|last| last.to_string());
        let headers: Vec<(&str, &[u8])> = last.iter().map(|last| ("last-event-id", last.as_bytes())).collect();
        let response = client.send("GET", "/orders/events", &headers, "").await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-cache");
        Self(response.into_body().into_data_stream())
    }

    /// Returns the next event. A comment is an event without name, id and data.
    async fn next(&mut self) -> Event {
        let piece = self.0.next().await.unwrap().unwrap();
        let text = std::str::from_utf8(&piece).unwrap();
        assert!(text.ends_with("\n\n"), "an event is one piece: {text:?}");
        let mut event = Event::default();
        for line in text.trim_end().lines() {
            match line.split_once(": ").unwrap_or((line, "")) {
                ("event", name) => event.name = name.to_owned(),
                ("id", id) => event.id = Some(id.parse().unwrap()),
                ("data", data) => event.data = serde_json::from_str(data).unwrap(),
                ("retry", _) => event.retry = true,
                (comment, _) => assert!(comment.starts_with(':') || comment.is_empty(), "{line:?}"),
            }
        }
        event
    }

    /// Returns the events up to the next heartbeat.
    async fn until_quiet(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            match self.next().await {
                quiet if quiet == Event::default() => return events,
                event => events.push(event),
            }
        }
    }
}

fn place(client: &Client) -> String {
    client.shop.orders().place(draft("tok_visa"), None).unwrap().id
}

fn id_of(event: &Event) -> &str {
    event.data["id"].as_str().unwrap()
}

#[tokio::test]
async fn a_stream_begins_with_its_position_and_goes_on_with_what_happens() {
    let client = Client::new();
    place(&client);
    let mut follower = Follower::new(&client, None).await;
    let begin = follower.next().await;
    assert!(begin.retry && begin.id.is_some() && begin.data.is_null() && begin.name.is_empty(), "{begin:?}");
    assert_eq!(follower.until_quiet().await, [], "what happened before is not sent");

    let (first, second) = (place(&client), place(&client));
    let events = follower.until_quiet().await;
    assert_eq!(events.iter().map(id_of).collect::<Vec<_>>(), [&first, &second]);
    assert!(events.iter().all(|event| event.name == "order") && events.is_sorted_by_key(|event| event.id));
    assert_eq!(events[0].data, json(client.get(&format!("/orders/{first}")).await).await);

    client.shop.orders().cancel(&first).unwrap();
    let events = follower.until_quiet().await;
    assert_eq!((events.len(), id_of(&events[0]), &events[0].data["status"]), (1, &*first, &"cancelled".into()));
}

#[tokio::test]
async fn a_client_that_resumes_misses_no_order() {
    let client = Client::new();
    let mut follower = Follower::new(&client, None).await;
    let begin = follower.next().await.id;
    let placed: Vec<String> = (0..250).map(|_| place(&client)).collect();
    // A client may leave at any event, also at the first one, which has no data.
    let mut last = begin;
    let mut seen = Vec::new();
    for pieces in [0, 1, 99, 100, 7] {
        let mut follower = Follower::new(&client, last).await;
        assert_eq!(follower.next().await.id, last, "a stream begins where the client left");
        for _ in 0..pieces {
            let event = follower.next().await;
            last = event.id;
            seen.push(id_of(&event).to_owned());
        }
    }
    // An order that the client saw and one that it did not see change while it is away.
    for id in [&placed[0], &placed[249]] {
        client.shop.orders().cancel(id).unwrap();
    }
    let mut follower = Follower::new(&client, last).await;
    let rest = follower.until_quiet().await;
    seen.extend(rest[1..].iter().map(|event| id_of(event).to_owned()));
    let mut expected = placed[..249].to_vec();
    expected.extend([placed[0].clone(), placed[249].clone()]);
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn each_change_that_a_customer_sees_is_an_event() {
    let client = Client::new();
    let mut follower = Follower::new(&client, None).await;
    follower.next().await;
    client.shop.orders().place(draft("tok_declined"), None).unwrap_err();
    client.shop.orders().place(draft("tok_timeout"), None).unwrap_err();
    let statuses: Vec<Value> = follower.until_quiet().await.iter().map(|event| event.data["status"].clone()).collect();
    assert_eq!(statuses, ["declined", "cancelled"]);
    // Attempts to finish the order are nothing that a customer sees.
    let before = client.shop.orders_db.count("select max(changed) from orders");
    client.shop.let_time_pass();
    client.shop.orders_db.execute_directly("update orders set attempts = attempts + 1");
    assert_eq!(client.shop.orders_db.count("select max(changed) from orders"), before);
}

#[tokio::test]
async fn a_position_of_another_database_is_told() {
    let client = Client::new();
    place(&client);
    let mut follower = Follower::new(&client, Some(1_000)).await;
    let begin = follower.next().await;
    let reset = follower.next().await;
    assert_eq!((&*reset.name, reset.id), ("reset", begin.id));
    let next = place(&client);
    assert_eq!(id_of(&follower.next().await), next);
}

#[tokio::test]
async fn a_position_that_is_no_number_is_refused() {
    let client = Client::new();
    for text in ["x", "", "1.5", "99999999999999999999"] {
        let refused = client.send("GET", "/orders/events", &[("last-event-id", text.as_bytes())], "").await;
        assert_eq!(refused.status(), 400, "{text}");
        assert_eq!(json(refused).await["errors"][0]["name"], "last-event-id");
    }
}

#[tokio::test]
async fn a_database_that_fails_ends_the_stream() {
    let client = Client::new();
    let mut follower = Follower::new(&client, None).await;
    follower.next().await;
    client.shop.orders_db.execute_directly("alter table orders rename to other");
    assert!(follower.0.next().await.unwrap().is_err());
}
