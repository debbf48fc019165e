//! Tests of requests that share an instance (`instances.concurrent`): they use it at once, fail together, and never pass for each other.

use std::fs;
use std::time::Duration;

use axum::http::Version;
use futures::future::join_all;
use hyper::Response;
use hyper::body::Incoming;
use watertight_testkit::admin::Operator;
use watertight_testkit::app::{App, shares};
use watertight_testkit::builds::with_build_id;
use watertight_testkit::host::Host;

use crate::client::{Answer, get, piece, read, whole};
use crate::{VERSIONS, metric, until, until_idle};

const ROUTES: &str = r#"
[[mount]]
path = "/s"
module = "shares"
strip = true
"#;

/// Returns an application that mounts the guest `shares` at `/s`, with so many requests on an instance.
fn app(concurrent: u32, settings: &str) -> App {
    let shares = shares();
    App::new(&format!(
        "[app]\nname = \"mounts\"\nroutes = [\"routes/*.toml\"]\n\
         [modules.shares]\ncomponent = {shares:?}\nuses = [\"sql\", \"http\", \"clocks\", \"context\"]\n\
         [compartments.shared]\nmodules = [\"shares\"]\n\
         [compartments.shared.instances]\nconcurrent = {concurrent}\n{settings}\n"
    ))
    .routes(ROUTES)
}

/// Sends requests at the same time, in both versions of HTTP, and returns their answers.
async fn all(host: &Host, paths: impl IntoIterator<Item = &str>) -> Vec<Answer> {
    let asked = paths.into_iter().zip(VERSIONS.into_iter().cycle());
    join_all(asked.map(|(path, version)| whole(host.listen(), version, path))).await
}

async fn made(host: &Host) -> u64 {
    metric(host, "watertight_instances_made_total{compartment=\"shared\"}").await
}

async fn dropped(host: &Host, why: &str) -> u64 {
    metric(host, &format!("watertight_instances_dropped_total{{compartment=\"shared\",reason=\"{why}\"}}")).await
}

async fn failures(host: &Host, kind: &str) -> u64 {
    metric(host, &format!("watertight_call_errors_total{{compartment=\"shared\",kind=\"{kind}\"}}")).await
}

/// Opens streams of server-sent events, each with its first event.
async fn events(host: &Host, number: usize) -> Vec<Response<Incoming>> {
    let open = (0..number).map(async |place| {
        let mut stream = get(host.listen(), VERSIONS[place % 2], "/s/events/50").await;
        assert_eq!(piece(&mut stream).await.unwrap(), Some("data: 0\n\n".to_owned()));
        stream
    });
    join_all(open).await
}

/// Waits until this number of the guest's calls run.
async fn until_running(host: &Host, number: u64) {
    let running = "watertight_module_calls_running{module=\"shares\"}";
    until("the calls run", async || metric(host, running).await == number).await;
    // The metric counts a call before its code runs.
    tokio::time::sleep(Duration::from_millis(200)).await;
}

/// Waits until all calls of the guest have ended. The calls of clients that leave go on until the guest notices.
async fn until_unused(host: &Host) {
    until_running(host, 0).await;
    until_idle(host, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_use_one_instance_at_once_up_to_the_limit() {
    let host = app(20, "").launch().start();
    // None of them answers before all are there.
    for answer in all(&host, ["/s/meet/20"; 20]).await {
        assert_eq!(answer.expect(200).text, "20");
    }
    let before = made(&host).await;
    for answer in all(&host, ["/s/sleep/300"; 41]).await {
        assert_eq!(answer.expect(200).text, "awake");
    }
    // The first instance is made when the application starts. 41 requests need two more.
    assert_eq!((before, made(&host).await), (1, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_has_an_instance_to_itself_by_default() {
    let host = app(1, "").launch().start();
    all(&host, ["/s/sleep/300"; 3]).await.into_iter().for_each(|answer| drop(answer.expect(200)));
    assert_eq!(made(&host).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_has_served_its_calls_takes_no_more_and_ends_with_the_last() {
    let host = app(2, "max_calls = 2\nidle = \"2s\"").launch().start();
    for answer in all(&host, ["/s/sleep/200"; 5]).await {
        answer.expect(200);
    }
    until("two are dropped", async || dropped(&host, "max-calls").await == 2).await;
    // It has room for a second call.
    until("the other is idle", async || dropped(&host, "idle").await == 1).await;
    assert_eq!(made(&host).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_costs_those_on_the_instance_and_nobody_else() {
    let host = app(4, "").launch().start();
    let mut first = events(&host, 4).await;
    let mut second = events(&host, 3).await;
    // The first instance is full, so this one goes to the second.
    assert_eq!(whole(host.listen(), Version::HTTP_11, "/s/trap").await.expect(500).problem(), "module-failed");
    for stream in second {
        let rest = read(stream).await;
        assert!(!rest.is_whole, "{rest:?}");
    }
    for stream in &mut first {
        assert!(piece(stream).await.unwrap().is_some());
    }
    assert_eq!((failures(&host, "trap").await, failures(&host, "neighbour").await), (1, 3));
    assert_eq!(dropped(&host, "trap").await, 1);
    // It is logged once, with the request at fault.
    let log = host.log();
    assert_eq!(log.lines().filter(|line| line.contains("ERROR") && line.contains("trap")).count(), 1, "{log}");
    assert!(log.contains("with 3 other requests on it"), "{log}");
    second = events(&host, 1).await;
    drop((first, second));
    until_unused(&host).await;
}

/// Who has no answer yet when another request traps learns it by a status.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_processor_time_ends_the_request_that_meets_it_and_those_on_its_instance() {
    let host = app(10, "[compartments.shared.limits]\ncpu = \"200ms\"\n").launch().start();
    let spin = async {
        until_running(&host, 2).await;
        all(&host, ["/s/spin"]).await
    };
    let (waiting, spinning) = tokio::join!(all(&host, ["/s/silent"; 2]), spin);
    for answer in waiting.into_iter().chain(spinning) {
        assert_eq!(answer.expect(500).problem(), "module-failed");
    }
    assert_eq!((failures(&host, "limit").await, failures(&host, "neighbour").await), (1, 2));
    // Nobody is billed for a wait or for the time of others.
    for path in ["/s/sleep/400", "/s/work/80"] {
        all(&host, [path; 10]).await.into_iter().for_each(|answer| drop(answer.expect(200)));
    }
    assert_eq!(failures(&host, "limit").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_ends_within_its_grace_costs_nobody_else() {
    let host = app(10, "[compartments.shared.limits]\nrequest = \"500ms\"\n").launch().start();
    let mut stream = events(&host, 1).await.remove(0);
    assert_eq!(whole(host.listen(), Version::HTTP_11, "/s/late/1500").await.expect(504).problem(), "deadline");
    until("the call has gone on", async || host.log().contains("the late call has ended")).await;
    assert!(piece(&mut stream).await.unwrap().is_some());
    assert_eq!((failures(&host, "deadline").await, failures(&host, "neighbour").await), (1, 0));
    assert_eq!(made(&host).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_outlives_its_deadline_and_grace_ends_its_instance() {
    let host = app(2, "[compartments.shared.limits]\nrequest = \"500ms\"\n").launch().start();
    let first = events(&host, 1).await.remove(0);
    let late = whole(host.listen(), Version::HTTP_11, "/s/silent").await.expect(504);
    let mut other = events(&host, 1).await.remove(0);
    // The answer comes at the deadline, and the end of the instance after the grace.
    assert_eq!(late.problem(), "deadline");
    let rest = read(first).await;
    assert!(!rest.is_whole && rest.text.contains("data: 20\n"), "{rest:?}");
    assert!(piece(&mut other).await.unwrap().is_some());
    assert_eq!((failures(&host, "deadline").await, failures(&host, "neighbour").await), (1, 1));
    assert_eq!(dropped(&host, "deadline").await, 1);
    assert!(host.log().contains("with 1 other requests on it"), "{}", host.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_streams_on_one_instance_and_one_client_leaves() {
    let host = app(210, "[compartments.shared.limits]\ncalls = 300\n").launch().start();
    let mut streams = events(&host, 200).await;
    assert_eq!(made(&host).await, 1);
    drop(streams.pop());
    // The guest notices, and the other 199 go on.
    let left = async || whole(host.listen(), Version::HTTP_2, "/s/left").await.expect(200).text;
    until("the guest notices", async || left().await == "1").await;
    for stream in &mut streams {
        for _ in 0..3 {
            assert!(piece(stream).await.unwrap().is_some());
        }
    }
    assert_eq!(made(&host).await, 1);
    drop(streams);
    until("all have left", async || left().await == "200").await;
    until_unused(&host).await;
    assert!(!host.log().contains("ERROR"), "{}", host.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_ends_two_hundred_streams_on_one_instance_so_that_clients_come_again() {
    let settings = "[compartments.shared.limits]\ncalls = 500\n[http]\ndrain = \"500ms\"\n";
    let host = app(200, settings).launch().start();
    let streams = events(&host, 200).await;
    let component = with_build_id(&fs::read(shares()).unwrap(), "swapped");
    let operator = Operator::of(&host);
    let swapped = tokio::task::spawn_blocking(move || operator.swapped("shares", &component)).await.unwrap();
    assert_eq!(swapped, 2);
    let next = events(&host, 200).await;
    for stream in streams {
        let rest = read(stream).await.expect(200);
        assert_eq!(rest.header("watertight-generation"), "1");
    }
    assert!(next.iter().all(|stream| stream.headers()["watertight-generation"] == "2"));
    assert_eq!(failures(&host, "neighbour").await, 0);
    drop(next);
    until_idle(&host, 1).await;
}

/// A swap of another module leaves the compartment as it is. Requests of both generations still use different instances.
#[tokio::test(flavor = "multi_thread")]
async fn requests_of_two_generations_share_no_instance() {
    let settings = "[modules.other]\ncomponent = OTHER\n[http]\ndrain = \"1s\"\n";
    let other = watertight_testkit::app::guest("exact");
    let host = app(10, &settings.replace("OTHER", &format!("{other:?}"))).launch().start();
    let old = events(&host, 2).await;
    let component = with_build_id(&fs::read(&other).unwrap(), "swapped");
    let operator = Operator::of(&host);
    tokio::task::spawn_blocking(move || operator.swapped("other", &component)).await.unwrap();
    let mut new = events(&host, 2).await;
    for stream in old {
        read(stream).await.expect(200);
    }
    for stream in &mut new {
        assert_eq!(stream.headers()["watertight-generation"], "2");
        assert!(piece(stream).await.unwrap().is_some());
    }
    assert_eq!(failures(&host, "neighbour").await, 0);
}

/// Returns the log lines of a request. A client chooses the id of its request.
fn lines<'a>(log: &'a str, id: &str) -> Vec<&'a str> {
    log.lines().filter(|line| line.contains(id)).collect()
}

async fn ask_as(host: &Host, id: &str, path: &str) -> Answer {
    let request = crate::client::start(Version::HTTP_11, "GET", path).header("x-request-id", id);
    read(crate::client::ask(host.listen(), Version::HTTP_11, request.body(Default::default()).unwrap()).await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_the_log_belong_to_the_request_that_writes_them() {
    let host = app(10, "").launch().start();
    let paths = ["/s/say/alpha/300", "/s/say/beta/200", "/s/say/gamma/100"];
    let said = join_all(["alpha", "beta", "gamma"].iter().zip(paths).map(|(name, path)| {
        let id = format!("request-{name}");
        let host = &host;
        async move { ask_as(host, &id, path).await.expect(200) }
    }));
    assert_eq!(said.await.len(), 3);
    assert_eq!(made(&host).await, 1);
    for name in ["alpha", "beta", "gamma"] {
        // The line without an end is written when the request ends.
        until("both lines are there", async || host.log().contains(&format!("unfinished by {name}"))).await;
        let log = host.log();
        let mine = lines(&log, &format!("request-{name}"));
        for text in [format!("said by {name}"), format!("unfinished by {name}")] {
            assert!(mine.iter().any(|line| line.contains(&text)), "{text}: {log}");
        }
        assert_eq!(mine.iter().filter(|line| line.contains(" by ")).count(), 2, "{mine:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_on_after_an_answer_still_belongs_to_its_request() {
    let host = app(10, "").launch().start();
    let paths = [("alpha", "/s/after/alpha/300"), ("beta", "/s/after/beta/100"), ("gamma", "/s/say/gamma/500")];
    for (name, path) in paths {
        ask_as(&host, &format!("request-{name}"), path).await.expect(200);
    }
    until_unused(&host).await;
    let log = host.log();
    for name in ["alpha", "beta"] {
        let mine = lines(&log, &format!("request-{name}"));
        assert!(mine.iter().any(|line| line.contains(&format!("after the answer to {name}"))), "{log}");
    }
}

/// A guest that keeps a transaction, an outbound request and its standard output in globals, and uses them for another request.
#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_mixes_its_requests_up_is_not_believed() {
    let host = app(10, "").launch().start();
    let planted = ask_as(&host, "request-planter", "/s/plant/20000");
    let taken = async {
        until_running(&host, 1).await;
        ask_as(&host, "request-taker", "/s/use").await
    };
    let (planted, taken) = tokio::join!(planted, taken);
    // The transaction is closed for the other request, which can't begin one at the same time and doesn't wait for it either.
    let taken = taken.expect(200).text;
    assert!(taken.starts_with("Some(Err(Error::Closed)) Err(Error::Busy) Err("), "{taken}");
    assert_eq!(planted.expect(200).text, "Some(Ok(()))");
    assert_eq!(ask_as(&host, "request-after", "/s/notes").await.expect(200).text, "1");
    assert_eq!(made(&host).await, 1);
    let log = host.log();
    let (mine, theirs) = (lines(&log, "request-taker"), lines(&log, "request-planter"));
    for text in ["used what another has left", "denied.invalid"] {
        assert!(mine.iter().any(|line| line.contains(text)), "{log}");
        assert!(!theirs.iter().any(|line| line.contains(text)), "{theirs:?}");
    }
}

/// A request waits in a function of the host for the writer that a request on another instance holds. Both go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_the_writer_of_another_instance_ends() {
    let host = app(2, "").launch().start();
    let others = async {
        until_running(&host, 1).await;
        let holder = ask_as(&host, "request-holder", "/s/hold/60");
        let writers = async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            // The instance of the holder is full.
            all(&host, ["/s/write"; 2]).await
        };
        tokio::join!(holder, writers)
    };
    let (filling, (holder, writers)) = tokio::join!(all(&host, ["/s/sleep/1000"]), others);
    assert_eq!(filling.len(), 1);
    assert_eq!(holder.expect(200).text, "Some(Ok(()))");
    for writer in writers {
        assert_eq!(writer.expect(200).text, "Ok(())");
    }
    assert_eq!(made(&host).await, 2);
    until_unused(&host).await;
}

/// What a guest knows of requests is of the one that it serves, also while twenty share its instance and their answers have begun.
#[tokio::test(flavor = "multi_thread")]
async fn a_guest_knows_the_request_that_it_serves() {
    let host = app(20, "").launch().start();
    let ask = (0..20).map(async |number| {
        let (version, id, trace) = (VERSIONS[number % 2], format!("request-{number}"), format!("{:032x}", number + 1));
        let request = crate::client::start(version, "GET", "/s/context/20")
            .header("x-request-id", &id)
            .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
            .header("accept-language", format!("de-{number}"));
        let request = request.body(Default::default()).unwrap();
        let answer = read(crate::client::ask(host.listen(), version, request).await).await.expect(200);
        let known = format!("{id} {trace} test de-{number} true");
        assert_eq!(answer.text, [&*known; 3].join("\n"));
    });
    join_all(ask).await;
    assert_eq!(made(&host).await, 1);
    until_unused(&host).await;
}
