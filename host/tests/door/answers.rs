//! Answers beyond what a table of cases can say: what the log says of bad values, compression, the plan, and the examples of the page.

use std::fmt::Write as _;

use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, ETAG, IF_NONE_MATCH, RANGE};
use serde_json::json;
use watertight_testkit::app::{App, guest};
use watertight_testkit::client::client;
use watertight_testkit::paths::repository;
use watertight_testkit::wire;

use crate::app;

#[test]
fn the_log_says_which_value_is_bad() {
    let host = app("answers-routes.toml", "").launch().start();
    for (target, told) in [
        ("/plain/a%0Ab", "the header `x-id`, which is `{id}`: a value has a character that no header can hold"),
        ("/session?text=a%3Bb", "the cookie `session`, which is `{}`: a value has a character that no cookie can hold"),
        (
            "/tagged?text=a%22b",
            "the header `etag`, which is `v{}`: a value has a character that no entity tag can hold",
        ),
        ("/shown?text=a&media_type=x", "the header `content-type`, which is `{media_type}`: it is not a media type"),
        ("/moved?text=a%20b", "the header `location`, which is `{}`: a value is no URL"),
        ("/moved", "an answer of status 303: a value of its `Location` is absent"),
    ] {
        wire::once(host.listen(), &wire::get(target)).unwrap().expect(500);
        assert!(host.has_logged(told), "{told}: {}", host.log());
    }
    let long = format!("/books/{}?next=b", "a".repeat(4_000));
    wire::once(host.listen(), &wire::get(&long)).unwrap().expect(500);
    assert!(host.has_logged("title=\"{id}\"`: it is too long"), "{}", host.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_body_has_a_tag_of_its_own_and_a_part_is_never_compressed() {
    let host = app("answers-routes.toml", "[http]\ncompression = true").launch().start();
    let get = |target: &str| client().get(host.url(target)).header(ACCEPT_ENCODING, "gzip");
    let text = format!("/page?text={}", "a".repeat(2000));
    let whole = get(&text).send().await.unwrap();
    assert_eq!(whole.headers()[CONTENT_ENCODING], "gzip");
    let tag = whole.headers()[ETAG].clone();
    assert!(tag.to_str().unwrap().starts_with("W/\""), "{tag:?}");
    let again = get(&text).header(IF_NONE_MATCH, &tag).send().await.unwrap();
    assert_eq!((again.status().as_u16(), &again.headers()[ETAG]), (304, &tag));
    let part = get("/weak-bytes/9000").header(RANGE, "bytes=0-4999").send().await.unwrap();
    assert_eq!(part.status(), 206);
    assert!(!part.headers().contains_key(CONTENT_ENCODING));
    assert_eq!(part.bytes().await.unwrap().len(), 5000);
    assert_eq!(get("/weak-bytes/9000").send().await.unwrap().headers()[CONTENT_ENCODING], "gzip");
}

#[test]
fn problems_have_the_types_that_the_manifest_says() {
    let settings = "[http]\nproblems = \"https://example.com/problems#\"";
    let host = app("answers-routes.toml", settings).launch().start();
    for (target, kind) in [("/fail?how=broken", "broken"), ("/nothing", "no-such-path")] {
        let answer = wire::once(host.listen(), &wire::get(target)).unwrap();
        assert_eq!(answer.body["type"], json!(format!("https://example.com/problems#{kind}")), "{answer:?}");
    }
}

/// The page's routes are those of an application, and its requests have the answers that it shows.
#[test]
fn the_examples_of_the_page_are_true() {
    let page = std::fs::read_to_string(repository().join("host/docs/answers.md")).unwrap();
    let mut routes = String::new();
    for block in blocks(&page, "toml").filter(|block| block.contains("[[route]]")) {
        let _ = writeln!(routes, "{block}");
    }
    let manifest = format!(
        "[app]\nname = \"library\"\nroutes = [\"routes/*.toml\"]\n[modules.library]\ncomponent = {:?}\n",
        guest("door")
    );
    let host = App::new(&manifest).routes(&routes).launch().start();
    let mut shown = 0;
    for block in blocks(&page, "console") {
        let mut lines = block.lines();
        let command = lines.next().and_then(|line| line.strip_prefix("$ curl -i ")).unwrap();
        let (target, headers) = request_of(command);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let method = if command.contains("-X PUT") { "PUT" } else { "GET" };
        let answer = wire::once(host.listen(), &wire::request(method, &target, &headers, b"")).unwrap();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        assert_eq!(status, answer.status.to_string(), "{command}: {answer:?}");
        for line in lines.by_ref().take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").unwrap();
            assert_eq!(answer.header(name), value, "{command}: {name}");
        }
        let body: Vec<&str> = lines.collect();
        assert_eq!(answer.text, body.join("\n"), "{command}");
        shown += 1;
    }
    assert!(shown >= 4, "{shown}");
}

/// Returns the blocks of a page that are in a language.
fn blocks<'a>(page: &'a str, language: &str) -> impl Iterator<Item = &'a str> {
    page.split(&format!("\n```{language}\n"))
        .skip(1)
        .map(|rest| rest.split("\n```").next().unwrap())
        .collect::<Vec<_>>()
        .into_iter()
}

/// Returns the target and the headers of a command that calls curl.
fn request_of(command: &str) -> (String, Vec<(String, String)>) {
    let mut headers = Vec::new();
    let mut target = String::new();
    for (index, word) in command.split('\'').enumerate() {
        if index % 2 == 1 && word.contains(": ") {
            let (name, value) = word.split_once(": ").unwrap();
            headers.push((name.to_owned(), value.to_owned()));
        } else if let Some((_, path)) = word.split_once("127.0.0.1:8080") {
            target = path.split(' ').next().unwrap().to_owned();
        }
    }
    (target, headers)
}
