//! Whatever a value is, an answer has the headers that its route says, each with that value or none: nothing splits a header, a path or a
//! cookie.

use std::net::SocketAddr;

use percent_encoding::percent_decode_str;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};
use serde_json::json;
use watertight_testkit::app::{App, guest};
use watertight_testkit::wire::{self, Answer};

/// A place of an answer in which a value stands.
struct Position {
    /// The path of the route.
    path: &'static str,
    /// The keys of the route, where `{id}` is the value.
    keys: &'static str,
    /// The header that has the value.
    header: &'static str,
    /// Finds the value in the header. `None` if the header is not as it should be.
    read: fn(&str) -> Option<String>,
    /// Whether the place can hold a value.
    holds: fn(&str) -> bool,
}

const POSITIONS: [Position; 9] = [
    Position {
        path: "/header",
        keys: "answer.headers.X-Id = \"{id}\"",
        header: "x-id",
        read: |value| Some(value.to_owned()),
        holds: is_header_text,
    },
    Position {
        path: "/within",
        keys: "answer.headers.X-Id = \"a {id} b\"",
        header: "x-id",
        read: |value| Some(value.strip_prefix("a ")?.strip_suffix(" b")?.to_owned()),
        holds: is_header_text,
    },
    Position {
        path: "/quoted",
        keys: "answer.headers.X-Id = 'a=\"{id}\"; b'",
        header: "x-id",
        read: |value| unquoted(value.strip_prefix("a=\"")?, "; b"),
        holds: is_header_text,
    },
    Position {
        path: "/segment",
        keys: "status = 201\nanswer.headers.Location = \"/books/{id}/pages\"",
        header: "location",
        read: |value| decoded(value.strip_prefix("/books/")?.strip_suffix("/pages")?),
        holds: |_| true,
    },
    Position {
        path: "/query",
        keys: "status = 201\nanswer.headers.Location = \"/books?id={id}&b=c\"",
        header: "location",
        read: |value| decoded(value.strip_prefix("/books?id=")?.strip_suffix("&b=c")?),
        holds: |_| true,
    },
    Position {
        path: "/link",
        keys: "answer.headers.Link = '</books/{id}>; rel=\"next\"'",
        header: "link",
        read: |value| decoded(value.strip_prefix("</books/")?.strip_suffix(">; rel=\"next\"")?),
        holds: |_| true,
    },
    Position {
        path: "/cookie",
        keys: "answer.cookies.c = { value = \"{id}\" }",
        header: "set-cookie",
        read: |value| {
            Some(value.strip_prefix("c=")?.strip_suffix("; HttpOnly; SameSite=Lax; Secure; Path=/")?.to_owned())
        },
        holds: |text| text.chars().all(|c| c.is_ascii_graphic() && !['"', ',', ';', '\\'].contains(&c)),
    },
    Position {
        path: "/tag",
        keys: "answer.etag = \"{id}\"",
        header: "etag",
        read: |value| Some(value.strip_prefix('"')?.strip_suffix('"')?.to_owned()),
        holds: |text| text.chars().all(|c| c.is_ascii_graphic() && c != '"'),
    },
    Position {
        path: "/file",
        keys: "answer.filename = \"{id}.txt\"",
        header: "content-disposition",
        read: file_name,
        holds: |_| true,
    },
];

fn is_header_text(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte))
}

fn decoded(text: &str) -> Option<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-._~%".contains(c);
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    text.chars().all(is_part).then(|| decoded.into_owned())
}

/// Reads a quoted string up to its end, after which the text must be `rest`.
fn unquoted(text: &str, rest: &str) -> Option<String> {
    let mut read = String::new();
    let mut characters = text.chars();
    loop {
        match characters.next()? {
            '"' => return (characters.as_str() == rest).then_some(read),
            '\\' => read.push(characters.next()?),
            c => read.push(c),
        }
    }
}

/// Reads the name of a file, in which `_` stands for what ends a folder's name.
fn file_name(value: &str) -> Option<String> {
    let (plain, rest) = value.strip_prefix("attachment; filename=\"")?.split_once('"')?;
    let name = match rest.strip_prefix("; filename*=UTF-8''") {
        Some(name) => decoded(name)?,
        None => rest.is_empty().then(|| plain.to_owned())?,
    };
    Some(name.strip_suffix(".txt")?.to_owned())
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        vec(any::<char>(), 0..12).prop_map(String::from_iter),
        "[\r\n\0\t a-c\"\\\\,;:<>=%/?#&{}\u{e9}\u{2028}\u{85}]{0,16}",
        "[ -~]{0,16}",
        Just("a\r\nSet-Cookie: b=c\r\n\r\n<html>".to_owned()),
    ]
}

fn ask(address: SocketAddr, path: &str, id: &str) -> Answer {
    let body = json!({ "id": id, "next": null }).to_string();
    wire::once(address, &wire::request("POST", path, &[("content-type", "application/json")], body.as_bytes())).unwrap()
}

fn names(answer: &Answer) -> Vec<&str> {
    answer.headers.iter().map(|(name, _)| &**name).collect()
}

/// Checks the answers with a value in each place. `plain` and `failed` are an answer for each place with a value that stands anywhere, and
/// one that is refused.
fn check(address: SocketAddr, plain: &[Answer], failed: &Answer, id: &str) -> Result<(), TestCaseError> {
    for (Position { path, header, read, holds, .. }, plain) in POSITIONS.iter().zip(plain) {
        let answer = ask(address, path, id);
        if !holds(id) {
            prop_assert_eq!(answer.status, 500, "{}: {:?}", path, answer);
            prop_assert_eq!(&answer.body["type"], "/problems/module-failed");
            prop_assert_eq!(names(&answer), names(failed), "{}", path);
            continue;
        }
        prop_assert_eq!(answer.status, plain.status, "{}: {:?}", path, answer);
        prop_assert_eq!(names(&answer), names(plain), "{}", path);
        prop_assert_eq!(&answer.body["id"], id);
        let value = read(answer.header(header));
        let expected = match *path {
            // White space around a header's value is not part of it.
            "/header" => id.trim_matches([' ', '\t']).to_owned(),
            "/file" => id.replace(|c: char| c.is_control() || ['/', '\\'].contains(&c), "_"),
            _ => id.to_owned(),
        };
        prop_assert_eq!(value, Some(expected), "{}: {}", path, answer.header(header));
    }
    Ok(())
}

#[test]
fn no_value_leaves_its_place() {
    let door = guest("door");
    let route = |Position { path, keys, .. }: &Position| {
        format!("[[route]]\nmethod = \"POST\"\npath = \"{path}\"\ncall = \"door/books.get\"\nbody = \"*\"\n{keys}\n\n")
    };
    let app = App::new(&format!(
        "[app]\nname = \"door\"\nroutes = [\"routes/*.toml\"]\n[modules.door]\ncomponent = {door:?}\n"
    ));
    let host = app.routes(&POSITIONS.iter().map(route).collect::<String>()).launch().start();
    let plain: Vec<Answer> = POSITIONS.iter().map(|position| ask(host.listen(), position.path, "plain")).collect();
    for (answer, position) in plain.iter().zip(&POSITIONS) {
        assert!(answer.status < 300 && !answer.header(position.header).is_empty(), "{}: {answer:?}", position.path);
    }
    let failed = ask(host.listen(), "/header", "\n");
    let config = Config { cases: 150, failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
    let ran = TestRunner::new(config).run(&texts(), |id| check(host.listen(), &plain, &failed, &id));
    if let Err(TestError::Fail(why, id)) = &ran {
        panic!("{id:?}: {why}\n{}", host.log());
    }
    ran.unwrap();
}
