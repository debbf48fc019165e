//! The middleware `signature`: lets only requests through whose body is signed with the secret `key`. The header `x-signature` has
//! `sha256=` and the HMAC-SHA256 of the body as it was sent, in hexadecimal digits.
#![cfg(target_arch = "wasm32")]

mod bindings {
    //! The component's export, and what it imports.
    #![allow(unsafe_code, reason = "generated")]

    use super::Component;

    wasip3::wit_bindgen::generate!({
        inline: "package example:module;
                 world module { import wasi:http/handler@0.3.2; import wasi:config/store@0.2.0-rc.1; }",
        path: ["../wit/middleware", "../../../../wit/config"],
        world: "example:module/module",
        runtime_path: "wasip3::wit_bindgen::rt",
        with: {
            "wasi:http/types@0.3.2": wasip3::http::types,
            "wasi:http/handler@0.3.2": generate,
            "wasi:config/store@0.2.0-rc.1": generate,
        },
    });
    wasip3::http::service::export!(Component);
}

use bindings::wasi::config::store;
use bindings::wasi::http::handler::handle as pass_on;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{spawn_local, wit_future, wit_stream};

/// The largest body that is read, in bytes.
const MAX_BODY: usize = 1 << 20;
/// The number of bytes that are read at once.
const CHUNK: usize = 64 << 10;

struct Component;

impl Guest for Component {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let Ok(Some(key)) = store::get("key") else { return Err(ErrorCode::ConfigurationError) };
        let Some(signature) = signature(&request) else { return Ok(refusal(401)) };
        let headers = request.get_headers().clone();
        let (method, path) = (request.get_method(), request.get_path_with_query());
        let (scheme, authority) = (request.get_scheme(), request.get_authority());
        let Some(body) = read(request).await? else { return Ok(refusal(413)) };
        let mut expected = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("a key has any length");
        expected.update(&body);
        // The comparison takes the same time for every wrong signature.
        if expected.verify_slice(&signature).is_err() {
            return Ok(refusal(401));
        }
        let (mut output, again) = wit_stream::new();
        spawn_local(async move {
            output.write_all(body).await;
        });
        let (_, no_trailers) = wit_future::new(|| Ok(None));
        let (request, _) = Request::new(headers, Some(again), no_trailers, None);
        let is_set = request.set_method(&method).and_then(|()| request.set_path_with_query(path.as_deref()));
        let is_set = is_set.and_then(|()| request.set_scheme(scheme.as_ref()));
        is_set.and_then(|()| request.set_authority(authority.as_deref())).expect("the parts are those of a request");
        pass_on(request).await
    }
}

/// Returns the signature of a request. `None` if it has none that can be read.
fn signature(request: &Request) -> Option<Vec<u8>> {
    let [given] = <[Vec<u8>; 1]>::try_from(request.get_headers().get("x-signature")).ok()?;
    hex::decode(given.strip_prefix(b"sha256=")?).ok()
}

/// Reads the body of a request. Returns `None` if it is larger than [`MAX_BODY`].
async fn read(request: Request) -> Result<Option<Vec<u8>>, ErrorCode> {
    let (_, is_read) = wit_future::new(|| Ok(()));
    let (mut body, trailers) = Request::consume_body(request, is_read);
    let mut whole = Vec::new();
    loop {
        let (_, bytes) = body.read(Vec::with_capacity(CHUNK)).await;
        if bytes.is_empty() {
            drop(body);
            // The body ended here, or it was cut off.
            trailers.await?;
            return Ok(Some(whole));
        }
        whole.extend(bytes);
        if whole.len() > MAX_BODY {
            return Ok(None);
        }
    }
}

/// Creates an answer without a body.
fn refusal(status: u16) -> Response {
    let (_, no_trailers) = wit_future::new(|| Ok(None));
    let (answer, _) = Response::new(Fields::new(), None, no_trailers);
    answer.set_status_code(status).expect("the status is valid");
    answer
}
