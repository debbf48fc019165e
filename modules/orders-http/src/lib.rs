//! The orders module with routes of its own, for `wasi:http` 0.2: connects the routes of `orders-routes` to `wasi:http/incoming-handler`.
//! The exports of the contract come with `shop-orders`.
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
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{ErrorCode, IncomingRequest, ResponseOutparam};
use wstd::http::request::try_from_incoming;
use wstd::http::server::Responder;
use wstd::runtime::block_on;

/// The routes. They are made once for an instance, which serves many requests.
static ROUTER: LazyLock<Router> = LazyLock::new(|| router(App::new(orders(), Host::connect(), sleep)));

struct Component;

impl Guest for Component {
    /// Answers a request, and returns once the answer is sent. wstd's macro `http_server` does the same, but traps when a client leaves.
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        Host::connect();
        block_on(async {
            let responder = Responder::new(out);
            let request = match try_from_incoming(request) {
                Ok(request) => request.map(|body| Body::new(body.into_boxed_body())),
                Err(error) => return responder.fail(error),
            };
            let Ok(response) = answer(ROUTER.clone(), request).await else {
                return responder.fail(ErrorCode::ConnectionTerminated.into());
            };
            // An error says that the client has left, or that a stream broke off and was logged. The host knows both.
            let _ = responder.respond(response.map(wstd::http::Body::from_http_body)).await;
        });
    }
}

wasip2::http::proxy::export!(Component with_types_in wasip2);

fn sleep(time: Duration) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        wstd::task::sleep(time.into()).await;
    })
}
