//! The middleware `headers`: adds security headers to every answer that does not have them. The body of the answer passes by it.
#![cfg(target_arch = "wasm32")]

mod bindings {
    //! The component's export, and the handler that it imports.
    #![allow(unsafe_code, reason = "generated")]

    use super::Component;

    wasip3::wit_bindgen::generate!({
        path: "../wit/middleware",
        world: "passing",
        runtime_path: "wasip3::wit_bindgen::rt",
        with: { "wasi:http/types@0.3.2": wasip3::http::types, "wasi:http/handler@0.3.2": generate },
    });
    wasip3::http::service::export!(Component);
}

use bindings::wasi::http::handler::handle as pass_on;
use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Request, Response};
use wasip3::wit_future;

/// The headers for answers that are no pages.
const HEADERS: [(&str, &str); 4] = [
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("referrer-policy", "no-referrer"),
    ("strict-transport-security", "max-age=63072000"),
    ("x-content-type-options", "nosniff"),
];

struct Component;

impl Guest for Component {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let answer = pass_on(request).await?;
        // The headers of an answer can't change, so it becomes the body of a new one.
        let (status, headers) = (answer.get_status_code(), answer.get_headers().clone());
        for (name, value) in HEADERS {
            if !headers.has(name) {
                headers.append(name, value.as_bytes()).expect("the header is valid");
            }
        }
        let (_, read) = wit_future::new(|| Ok(()));
        let (body, trailers) = Response::consume_body(answer, read);
        let (answer, _) = Response::new(headers, Some(body), trailers);
        answer.set_status_code(status).expect("the status is that of an answer");
        Ok(answer)
    }
}
