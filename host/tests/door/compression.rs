//! Compressed answers: by what clients take, for what is worth it.

use std::io::Read as _;

use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, VARY};
use watertight_testkit::client::client;
use watertight_testkit::host::Host;

use crate::app;

/// Asks for the echo of a text, and returns the coding and the bytes of the answer.
async fn echo(host: &Host, accept: Option<&str>, text: String) -> (String, Vec<u8>) {
    let request = client().post(host.url("/text")).header("content-type", "text/plain").body(text);
    let request = match accept {
        Some(accept) => request.header(ACCEPT_ENCODING, accept),
        None => request,
    };
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let coding = answer.headers().get(CONTENT_ENCODING).map(|value| value.to_str().unwrap().to_owned());
    if coding.is_some() {
        assert_eq!(answer.headers()[VARY], "accept-encoding");
        assert!(!answer.headers().contains_key(CONTENT_LENGTH));
    }
    (coding.unwrap_or_default(), answer.bytes().await.unwrap().to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_compressed_for_clients_that_take_it() {
    let host =
        app("requests-routes.toml", "[http]\ncompression = true\n[defaults.limits]\nbody = \"16MiB\"").launch().start();
    let text = "a text that repeats itself. ".repeat(10_000);
    let plain = serde_json::to_vec(&format!("{text:?}")).unwrap();
    for (accept, expected) in [
        (Some("gzip"), "gzip"),
        (Some("br"), "br"),
        (Some("zstd"), "zstd"),
        (Some("gzip;q=0.5, br;q=0.9"), "br"),
        (Some("identity"), ""),
        (Some("gzip;q=0"), ""),
        (Some("lzw"), ""),
        (Some("*"), ""),
        (None, ""),
    ] {
        let (coding, bytes) = echo(&host, accept, text.clone()).await;
        assert_eq!(coding, expected, "{accept:?}");
        match expected {
            "" => assert_eq!(bytes, plain),
            "gzip" => {
                let mut back = Vec::new();
                flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut back).unwrap();
                assert_eq!(back, plain);
            }
            _ => assert!(bytes.len() < plain.len() / 10, "{expected}: {}", bytes.len()),
        }
    }
    // Small ones and very large ones are sent as they are.
    assert_eq!(echo(&host, Some("gzip"), "a".repeat(500)).await.0, "");
    assert_eq!(echo(&host, Some("gzip"), "a".repeat(2000)).await.0, "gzip");
    assert_eq!(echo(&host, Some("gzip"), "a".repeat(9 << 20)).await.0, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_compressed_unless_the_manifest_says_so() {
    let host = app("requests-routes.toml", "").launch().start();
    assert_eq!(echo(&host, Some("gzip"), "a".repeat(2000)).await.0, "");
}
