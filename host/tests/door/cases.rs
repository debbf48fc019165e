//! Runs the cases of the tables in this folder: requests, and what their answers must be like.

use std::collections::BTreeMap;

use serde::Deserialize;
use watertight_testkit::host::Host;
use watertight_testkit::wire::{self, Answer};

use crate::{app, folder};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

/// A request, and what its answer must be like.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// The method and the target.
    request: String,
    /// The headers. A list is a field for each of its texts.
    #[serde(default)]
    headers: BTreeMap<String, Texts>,
    /// The body. `\xNN` is a byte. The lines of a form in parts end as HTTP wants it.
    #[serde(default)]
    body: String,
    status: u16,
    /// The whole text of the answer.
    text: Option<String>,
    /// The name of the problem that the answer reports.
    problem: Option<String>,
    /// The title of that problem, and what it says of this occurrence.
    title: Option<String>,
    detail: Option<String>,
    /// The faults that the answer lists: the place and the detail of each.
    #[serde(default)]
    faults: Vec<String>,
    /// Headers that the answer has. An empty value is that of a header that the answer does not have.
    #[serde(default)]
    answer: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Several(Vec<String>),
}

impl Texts {
    fn all(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Several(texts) => texts,
        }
    }
}

#[test]
fn requests_become_parameters() {
    every_case("requests", "");
}

#[test]
fn forms_in_parts_are_read_or_refused() {
    every_case("forms", "");
}

#[test]
fn results_become_answers() {
    every_case("answers", "");
}

#[test]
fn browsers_learn_what_pages_may_do() {
    let headers = "security_headers = { X-Frame-Options = \"SAMEORIGIN\", referrer-policy = false }";
    every_case("cors", &format!("[http]\nheld = \"1MiB\"\n{headers}"));
}

/// Runs the table of `name`: `NAME.toml` with the routes `NAME-routes.toml`. Forms have the routes of requests.
fn every_case(name: &str, settings: &str) {
    let routes = if name == "forms" { "requests" } else { name };
    every_case_of(name, &app(&format!("{routes}-routes.toml"), settings).launch().start());
}

/// Runs the table `NAME.toml` on a host.
pub(crate) fn every_case_of(name: &str, host: &Host) {
    let text = std::fs::read_to_string(folder().join(format!("{name}.toml"))).unwrap();
    let cases: Cases = toml::from_str(&text).unwrap();
    let wrong: Vec<String> = cases.case.iter().flat_map(|case| case.wrong(host)).collect();
    assert!(wrong.is_empty(), "{}\n{}", host.log(), wrong.join("\n"));
}

impl Case {
    fn ask(&self, host: &Host) -> Answer {
        let (method, path) = self.request.split_once(' ').unwrap();
        let fields = self.headers.iter().flat_map(|(name, texts)| texts.all().iter().map(|text| (&**name, &**text)));
        let headers: Vec<(&str, &str)> = fields.collect();
        let is_form = headers.iter().any(|(_, value)| value.to_lowercase().starts_with("multipart/"));
        let body = if is_form { self.body.replace('\n', "\r\n") } else { self.body.clone() };
        wire::once(host.listen(), &wire::request(method, path, &headers, &bytes(&body))).unwrap()
    }

    /// Lists what is wrong with the answer.
    fn wrong(&self, host: &Host) -> Vec<String> {
        let answer = self.ask(host);
        let mut wrong = Vec::new();
        let mut compare = |what: &str, expected: &str, found: &str| {
            if expected != found {
                wrong.push(format!("{}: {what} {found:?} instead of {expected:?}, in {answer:?}", self.name));
            }
        };
        compare("status", &self.status.to_string(), &answer.status.to_string());
        if let Some(text) = &self.text {
            compare("text", text, &answer.text);
        }
        let problem = answer.body["type"].as_str().and_then(|kind| kind.strip_prefix("/problems/")).unwrap_or_default();
        compare("problem", self.problem.as_deref().unwrap_or_default(), problem);
        for (key, text) in [("title", &self.title), ("detail", &self.detail)] {
            if let Some(text) = text {
                compare(key, text, answer.body[key].as_str().unwrap_or_default());
            }
        }
        let place = |fault: &serde_json::Value| match (fault["in"].as_str(), fault["name"].as_str()) {
            (Some(part), Some(name)) => format!("{part} {name}"),
            _ => fault["pointer"].as_str().unwrap_or_default().to_owned(),
        };
        let fault =
            |fault: &serde_json::Value| format!("{}: {}", place(fault), fault["detail"].as_str().unwrap_or("?"));
        let faults: Vec<String> = answer.body["errors"].as_array().into_iter().flatten().map(fault).collect();
        compare("faults", &self.faults.join("; "), &faults.join("; "));
        for (name, value) in &self.answer {
            compare(name, value, answer.header(name));
        }
        wrong
    }
}

/// Returns the bytes of a case's body.
fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x") {
        bytes.extend_from_slice(before.as_bytes());
        bytes.push(u8::from_str_radix(&after[..2], 16).unwrap());
        rest = &after[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}
