//! A client that calls the router directly.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderName, HeaderValue, Method, Request, Uri};
use axum::response::Response;
use futures::future::{BoxFuture, ready};
use serde_json::Value;
use shop_orders_routes::app::App;
use shop_orders_routes::routes::{answer, router};

use crate::world::Shop;

/// The id that each request has, as the host gives it one.
pub(crate) const ID: &str = "01M8MY2ZES5V79J46S14SQJWB7";

/// A client of one shop.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) shop: Shop,
    router: Router,
}

impl Client {
    /// Creates a new shop, and a client of it. Time does not pass: whoever waits goes on at once.
    pub(crate) fn new() -> Self {
        let shop = Shop::new();
        let router = router(App::new(shop.orders(), shop.orders_db.clone(), no_time));
        Self { shop, router }
    }

    /// Sends a request.
    pub(crate) async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &[u8])],
        body: impl Into<Body>,
    ) -> Response {
        let mut request = Request::new(body.into());
        *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
        *request.uri_mut() = target.parse::<Uri>().unwrap();
        request.headers_mut().insert("x-request-id", HeaderValue::from_static(ID));
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes()).unwrap();
            request.headers_mut().append(name, HeaderValue::from_bytes(value).unwrap());
        }
        answer(self.router.clone(), request).await.unwrap()
    }

    /// Sends a GET request.
    pub(crate) async fn get(&self, target: &str) -> Response {
        self.send("GET", target, &[], Body::empty()).await
    }
}

fn no_time(_: Duration) -> BoxFuture<'static, ()> {
    Box::pin(ready(()))
}

/// Returns the whole body of an answer.
pub(crate) async fn text(response: Response) -> String {
    String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap()
}

/// Returns the whole body of an answer as JSON.
pub(crate) async fn json(response: Response) -> Value {
    serde_json::from_str(&text(response).await).unwrap()
}
