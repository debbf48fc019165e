//! Tests of pictures with a real database.
#![allow(clippy::unwrap_used)]

use std::thread;

use shop_common::testing::TestPlatform;
use shop_products::model::Error;
use shop_products::service::{MAX_PICTURE, Pictures};

/// The start of a PNG of 2 × 3 pixels, with `rest` after it.
fn png(rest: &[u8]) -> Vec<u8> {
    let head = [0, 0, 0, 2, 0, 0, 0, 3, 8, 2, 0, 0, 0];
    [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".as_slice(), &head, rest].concat()
}

fn shop() -> (Pictures<TestPlatform>, TestPlatform) {
    let database = TestPlatform::new(env!("CARGO_MANIFEST_DIR"));
    (Pictures::new(database.clone()), database)
}

fn is_invalid<T>(result: Result<T, Error>, field: &str) -> bool {
    matches!(result, Err(Error::Invalid(at)) if at.field == field)
}

#[test]
fn a_picture_is_kept_replaced_and_removed() {
    let (pictures, database) = shop();
    let missing = Error::NotFound("tea".to_owned());
    assert_eq!(pictures.get("tea"), Err(missing.clone()));
    let first = pictures.put("tea", "image/png", png(b"one")).unwrap();
    assert_eq!((first.width, first.height, first.size as usize), (2, 3, png(b"one").len()));
    let second = pictures.put("tea", "Image/PNG; q=1", png(b"two")).unwrap();
    assert_ne!(second.digest, first.digest);
    let picture = pictures.get("tea").unwrap();
    assert_eq!((picture.bytes, picture.digest), (png(b"two"), second.digest.clone()));
    assert_eq!(pictures.info("tea"), Ok(second));
    pictures.remove("tea").unwrap();
    assert_eq!((pictures.remove("tea"), pictures.info("tea")), (Err(missing.clone()), Err(missing)));
    assert_eq!(database.count("select (select count(*) from pictures) + (select count(*) from picture_bytes)"), 0);
}

#[test]
fn what_a_client_sends_is_checked() {
    let (pictures, database) = shop();
    let sent = png(b"");
    assert!(is_invalid(pictures.put("", "image/png", sent.clone()), "sku"));
    assert!(is_invalid(pictures.put(&"x".repeat(65), "image/png", sent.clone()), "sku"));
    for told in ["", "image/gif", "text/html", "image/png2"] {
        assert!(is_invalid(pictures.put("tea", told, sent.clone()), "media-type"), "{told}");
    }
    let other = b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec();
    assert!(matches!(pictures.put("tea", "image/svg+xml", other), Err(Error::Unsupported(_))));
    let room = MAX_PICTURE - sent.len();
    assert_eq!(pictures.put("tea", "image/png", png(&vec![0; room + 1])), Err(Error::TooLarge));
    assert_eq!(database.count("select count(*) from pictures"), 0);
    pictures.put("tea", "image/png", png(&vec![0; room])).unwrap();
}

#[test]
fn racing_uploads_leave_one_whole_picture() {
    let (pictures, _) = shop();
    thread::scope(|scope| {
        for number in 0..8_u8 {
            let pictures = &pictures;
            scope.spawn(move || pictures.put("tea", "image/png", png(&[number; 1_000])).unwrap());
        }
    });
    let (info, picture) = (pictures.info("tea").unwrap(), pictures.get("tea").unwrap());
    assert_eq!(info.digest, picture.digest);
    let last = *picture.bytes.last().unwrap();
    assert_eq!(picture.bytes, png(&[last; 1_000]));
}
