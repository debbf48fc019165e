//! Tests of the pictures of products: raw uploads, forms of browsers, and what is refused.

use std::fmt::Write as _;

use watertight_testkit::client::{Answer, client, send};
use watertight_testkit::host::{Host, Launch};

const PATH: &str = "/products/tea/picture";

/// The start of a PNG of 2 × 3 pixels, with so many bytes after it.
fn png(rest: usize) -> Vec<u8> {
    let head = [0, 0, 0, 2, 0, 0, 0, 3, 8, 2, 0, 0, 0];
    [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".as_slice(), &head, &vec![7; rest]].concat()
}

async fn put(host: &Host, kind: &str, bytes: Vec<u8>) -> Answer {
    send(client().put(host.url(PATH)).header("content-type", kind).body(bytes)).await
}

/// Sends a picture as the form of a browser does.
async fn post(host: &Host, kind: &str, bytes: &[u8]) -> Answer {
    let mut head = String::new();
    let _ = write!(head, "--X\r\nContent-Disposition: form-data; name=\"picture\"; filename=\"..\\\\tea.png\"\r\n");
    let _ = write!(head, "Content-Type: {kind}\r\n\r\n");
    let form = [head.as_bytes(), bytes, b"\r\n--X--\r\n"].concat();
    let request = client().post(host.url(PATH)).header("content-type", "multipart/form-data; boundary=X");
    send(request.body(form)).await
}

#[tokio::test]
async fn a_picture_is_uploaded_raw_and_from_a_form() {
    let host = Launch::shop().start();
    let info = format!("{PATH}/info");
    host.get(&info).await.expect(404);
    let stored = put(&host, "image/png", png(1)).await.expect(200);
    assert_eq!(
        (stored.at("/media_type"), &stored.body["width"], &stored.body["height"]),
        ("image/png", &2.into(), &3.into())
    );
    assert_eq!(host.get(&info).await.expect(200).body, stored.body);
    // Beyond 256 KiB an upload waits in a file.
    let large = png(900 << 10);
    let stored = post(&host, "image/png", &large).await.expect(200);
    assert_eq!(stored.body["size"], large.len());
    assert_eq!(host.get(&info).await.expect(200).body, stored.body);
    let read = host.called("products/pictures.get-picture", serde_json::json!(["tea"])).await;
    assert_eq!(read["ok"]["digest"], stored.body["digest"]);

    send(client().delete(host.url(PATH))).await.expect(204);
    send(client().delete(host.url(PATH))).await.expect(404);
    host.get(&info).await.expect(404);
}

#[tokio::test]
async fn what_is_no_picture_is_refused() {
    let host = Launch::shop().start();
    let other = put(&host, "image/svg+xml", b"<svg/>".to_vec()).await.expect(415);
    assert!(other.header("accept").contains("image/webp"), "{other:?}");
    let told = put(&host, "image/png", b"<html><script>alert(1)</script></html>".to_vec()).await.expect(415);
    assert_eq!(told.problem(), "unsupported");
    let told = put(&host, "image/gif", png(1)).await.expect(422);
    assert_eq!(told.at("/payload/field"), "media-type");
    assert_eq!(post(&host, "text/html", &png(1)).await.expect(422).problem(), "invalid");
    // The module's own limit, and that of its compartment.
    assert_eq!(put(&host, "image/png", png(1 << 20)).await.expect(413).problem(), "too-large");
    let told = put(&host, "image/png", png(2 << 20)).await.expect(413);
    assert!(told.body.get("case").is_none(), "{told:?}");
    send(client().post(host.url(PATH)).header("content-type", "multipart/form-data; boundary=X").body("--X--\r\n"))
        .await
        .expect(400);
    host.get(&format!("{PATH}/info")).await.expect(404);
}
