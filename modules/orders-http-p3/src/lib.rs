//! The orders module with routes of its own, for `wasi:http` 0.3: connects the routes of `orders-routes` to `wasi:http/handler`. The exports
//! of the contract come with `shop-orders`.
//!
//! Requests may share an instance (`instances.concurrent`). Nothing here belongs to one request, and a transaction is never open while a
//! request waits for something else.
#![cfg(target_arch = "wasm32")]
#![allow(unsafe_code, unreachable_pub, reason = "the macro that exports the handler writes such code")]

use std::sync::LazyLock;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures::future::BoxFuture;
use shop_common::component::Host;
use shop_orders::component::orders;
use shop_orders_routes::app::App;
use shop_orders_routes::routes::{answer, router};
use wasip3::clocks::monotonic_clock;
use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Request, Response};
use wasip3::http_compat::{http_from_wasi_request, http_into_wasi_response};

/// The routes. They are made once for an instance, which serves many requests.
static ROUTER: LazyLock<Router> = LazyLock::new(|| router(App::new(orders(), Host::connect(), sleep)));

struct Component;

impl Guest for Component {
    /// Answers a request. The body of the answer is written by a task that goes on afterwards, and ends when the client leaves.
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        Host::connect();
        let request = http_from_wasi_request(request)?.map(Body::new);
        let response = answer(ROUTER.clone(), request).await.map_err(|_| ErrorCode::ConnectionTerminated)?;
        http_into_wasi_response(response)
    }
}

wasip3::http::service::export!(Component);

fn sleep(time: Duration) -> BoxFuture<'static, ()> {
    Box::pin(monotonic_clock::wait_for(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
}
