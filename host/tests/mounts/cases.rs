//! Runs the cases of `cases.toml`, in HTTP/1.1 and HTTP/2.

use std::collections::BTreeMap;
use std::fs;

use axum::body::Body;
use axum::http::Version;
use bytes::Bytes;
use hyper::body::Frame;
use serde::Deserialize;
use watertight_testkit::app::guest;
use watertight_testkit::host::Host;
use watertight_testkit::paths::repository;

use crate::client::{Answer, flowing, read, start, try_ask};
use crate::{ROUTES, VERSIONS, app};

#[derive(Deserialize)]
pub(crate) struct Cases {
    pub(crate) case: Vec<Case>,
}

/// A request, and what its answer must be like.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// The method and the target.
    pub(crate) request: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The body of the request. With trailers, it is sent without a length.
    body: Option<String>,
    #[serde(default)]
    trailers: BTreeMap<String, String>,
    status: u16,
    /// The name of the problem that the answer reports.
    problem: Option<String>,
    /// The whole text of the answer.
    text: Option<String>,
    /// Lines that the answer has.
    #[serde(default)]
    lines: Vec<String>,
    /// Headers that the answer has. An empty value is that of a header that the answer does not have.
    #[serde(default)]
    answer: BTreeMap<String, String>,
    #[serde(default)]
    answer_trailers: BTreeMap<String, String>,
    /// Whether the answer is cut off.
    #[serde(default)]
    cut: bool,
    /// Whether the answer may be cut off instead. A busy machine interrupts a handler, and then the head is sent.
    #[serde(default)]
    or_cut: bool,
    /// What the host logs.
    pub(crate) log: Option<String>,
    /// The mounts that get the request, in `hostile.toml`. The target is a path below them.
    #[serde(default)]
    pub(crate) on: Vec<String>,
    /// The kind of failure that the metrics count for the call, in `hostile.toml`.
    pub(crate) fails: Option<String>,
    /// The limit that the metrics count, in `hostile.toml`.
    pub(crate) limit: Option<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_of_the_table_on_an_instance_that_is_used_again() {
    every_case_of_the_table("reuse", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_of_the_table_on_fresh_instances() {
    every_case_of_the_table("fresh", None).await;
}

/// A middleware that passes everything on changes nothing for clients, whether the bodies pass through it or by it.
#[tokio::test(flavor = "multi_thread")]
async fn every_case_of_the_table_behind_a_middleware() {
    every_case_of_the_table("reuse", Some("pass")).await;
    every_case_of_the_table("reuse", Some("copy")).await;
}

/// Asks all requests of the table. `order` says what the middleware in front of them does, if there is one.
async fn every_case_of_the_table(mode: &str, order: Option<&str>) {
    let text = fs::read_to_string(repository().join("host/tests/mounts/cases.toml")).unwrap();
    let mut cases: Cases = toml::from_str(&text).unwrap();
    if order.is_some() {
        // Nobody waits for the whole body: its length is known only if the handler ends before the middleware answers.
        cases.case.iter_mut().for_each(|case| drop(case.answer.remove("content-length")));
    }
    let mut settings =
        format!("[compartments.web]\nmodules = [\"web\"]\nlimits.calls = 1\ninstances.mode = \"{mode}\"\n");
    if order.is_some() {
        settings += &format!("[modules.first]\ncomponent = {:?}\nuses = [\"clocks\", \"config\"]\n", guest("passes"));
    }
    let app = app(&settings);
    if order.is_some() {
        let routes = format!("{ROUTES}\n[[middleware]]\npath = \"/\"\nmodule = \"first\"\n");
        fs::write(app.path().join("routes/routes.toml"), routes).unwrap();
    }
    let host = app.launch().start();
    let mut wrong = Vec::new();
    for case in &cases.case {
        for version in VERSIONS {
            let answer = case.ask(&host, version, order).await;
            wrong
                .extend(case.faults(&answer).into_iter().map(|fault| format!("{} in {version:?}: {fault}", case.name)));
        }
    }
    for case in &cases.case {
        if let Some(line) = case.log.as_ref().filter(|line| !host.has_logged(line)) {
            wrong.push(format!("{}: the log has no {line}", case.name));
        }
    }
    if host.log().contains("the host panicked") {
        wrong.push("the host panicked".to_owned());
    }
    assert!(wrong.is_empty(), "{}\n{}", host.log(), wrong.join("\n"));
}

impl Case {
    pub(crate) async fn ask(&self, host: &Host, version: Version, order: Option<&str>) -> Answer {
        self.try_ask(host, version, order).await.unwrap_or_else(|error| panic!("{}: no answer: {error:?}", self.name))
    }

    /// As [`Self::ask`].
    ///
    /// # Errors
    ///
    /// The connection or the stream ended without an answer.
    pub(crate) async fn try_ask(
        &self,
        host: &Host,
        version: Version,
        order: Option<&str>,
    ) -> Result<Answer, hyper::Error> {
        let (method, path) = self.request.split_once(' ').unwrap();
        let mut request = start(version, method, path);
        if let Some(order) = order {
            request = request.header("x-middleware", order);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let body = self.body.clone().unwrap_or_default();
        if self.trailers.is_empty() {
            let request = request.body(Body::from(body)).unwrap();
            return Ok(read(try_ask(host.listen(), version, request).await?).await);
        }
        let (sender, flowing) = flowing();
        let trailers = self.trailers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let frames = [Frame::data(Bytes::from(body)), Frame::trailers(trailers.collect())];
        tokio::spawn(async move {
            for frame in frames {
                sender.send(frame).await.unwrap();
            }
        });
        Ok(read(try_ask(host.listen(), version, request.body(flowing).unwrap()).await?).await)
    }

    /// Whether the answer is or may be cut off.
    pub(crate) fn may_be_cut(&self) -> bool {
        self.cut || self.or_cut
    }

    /// Lists what is wrong with the answer.
    pub(crate) fn faults(&self, answer: &Answer) -> Vec<String> {
        let mut faults = Vec::new();
        if self.or_cut && !answer.is_whole {
            return faults;
        }
        let mut check = |what: &str, is: bool| {
            if !is {
                faults.push(format!("{what} of {answer:?}"));
            }
        };
        check("the status", answer.status == self.status);
        check("the end", answer.is_whole != self.cut);
        check("the text", self.text.as_ref().is_none_or(|text| *text == answer.text));
        check("the problem", self.problem.as_ref().is_none_or(|problem| *problem == answer.problem()));
        check("the problem's id", self.problem.is_none() || answer.text.contains(answer.header("x-request-id")));
        check("the request's id", !answer.header("x-request-id").is_empty());
        check("the generation", answer.header("watertight-generation") == "1");
        for line in &self.lines {
            check(line, answer.text.lines().any(|found| found == line));
        }
        for (name, value) in &self.answer {
            check(name, answer.header(name) == value);
        }
        for (name, value) in &self.answer_trailers {
            check(name, answer.trailers.get(name).is_some_and(|found| found == value));
        }
        faults
    }
}
