//! Hostile handlers: the rows of `hostile.toml`. Each ends as its row says, costs its neighbours nothing, and leaves nothing behind.
//!
//! `HOSTILE` restricts the test to the rows with this request, such as `/silent`. The test prints the neighbours' latencies.

#![allow(clippy::print_stdout, reason = "the test reports latencies")]

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use axum::http::Version;
use futures::StreamExt as _;
use watertight_testkit::app::{App, guest, handler_p3, shares};
use watertight_testkit::client::{client, send};
use watertight_testkit::host::Host;
use watertight_testkit::paths::repository;

use crate::cases::{Case, Cases};
use crate::client::whole;
use crate::neighbours::{self, Neighbours};
use crate::{VERSIONS, metric, until};

/// The number of rows that run at the same time.
const AT_ONCE: usize = 6;
/// The time for which the neighbours are asked alone.
const QUIET: Duration = Duration::from_secs(3);
/// The names of the mounts with a hostile module. Each has a module and a compartment of this name.
const MOUNTS: [&str; 4] = ["two", "fresh", "three", "shared"];
/// The largest part of a message that is printed, in bytes.
const MOST_PRINTED: usize = 400;

const ROUTES: &str = r#"
[[middleware]]
path = "/guarded"
module = "guard"

[[mount]]
path = "/guarded"
module = "behind"
strip = true

[[route]]
method = "GET"
path = "/only"
call = "aid/acts.echo"

[[route]]
method = "GET"
path = "/wait"
call = "aid/acts.wait"
"#;

/// Returns an application of hostile modules and their neighbours.
pub(crate) fn app(settings: &str) -> App {
    let (serves, shares, passes) = (guest("serves"), shares(), guest("passes"));
    let (behind, aid) = (handler_p3(), guest("probe"));
    let mut manifest = format!(
        "[app]\nname = \"hostile\"\nroutes = [\"routes/*.toml\"]\n{}\
         [modules.two]\ncomponent = {serves:?}\ncalls = [\"aid\"]\nuses = [\"sql\", \"clocks\", \"context\"]\n\
         [modules.fresh]\ncomponent = {serves:?}\ncalls = [\"aid\"]\nuses = [\"sql\", \"clocks\", \"context\"]\n\
         [modules.three]\ncomponent = {shares:?}\nuses = [\"sql\", \"http\", \"clocks\", \"context\"]\n\
         [modules.shared]\ncomponent = {shares:?}\nuses = [\"sql\", \"http\", \"clocks\", \"context\"]\n\
         [modules.guard]\ncomponent = {passes:?}\nuses = [\"clocks\", \"config\"]\n\
         [modules.behind]\ncomponent = {behind:?}\nuses = [\"clocks\"]\n\
         [modules.aid]\ncomponent = {aid:?}\nuses = [\"sql\", \"logging\", \"clocks\"]\n\
         [compartments.aid]\nmodules = [\"aid\"]\n[compartments.behind]\nmodules = [\"behind\"]\n",
        neighbours::manifest()
    );
    let mut routes = format!("{ROUTES}{}", neighbours::ROUTES);
    for name in MOUNTS.into_iter().chain(["guard"]) {
        manifest += &format!("[compartments.{name}]\nmodules = [\"{name}\"]\n");
        match name {
            "fresh" => manifest += "instances.mode = \"fresh\"\n",
            "shared" => manifest += "instances.concurrent = 50\n",
            _ => {}
        }
        // A loop that waits uses some processor time too.
        let cpu = if name == "guard" { "800ms" } else { "100ms" };
        manifest += &format!("[compartments.{name}.limits]\ncpu = \"{cpu}\"\n{LIMITS}\n");
        if name != "guard" {
            routes += &format!("[[mount]]\npath = \"/{name}\"\nmodule = \"{name}\"\nstrip = true\n");
        }
    }
    App::new(&(manifest + settings)).routes(&routes)
}

/// The limits of hostile modules. They are small, so that rows meet them soon. On a busy machine a request takes long to use up its processor
/// time, so its deadline is much longer.
const LIMITS: &str = r#"memory = "16MiB"
request = "8s"
handles = 2000
log = "16KiB"
stream = { idle = "2s", total = "10s" }"#;

/// What metrics say of hostile modules: series and values.
async fn failures(host: &Host) -> BTreeMap<String, u64> {
    let text = send(client().get(host.admin_url("/metrics"))).await.expect(200).text;
    let is_about = |line: &&str| {
        ["watertight_call_errors_total{", "watertight_limits_total{"].iter().any(|name| line.starts_with(name))
    };
    let series = text.lines().filter(is_about).filter_map(|line| line.rsplit_once(' '));
    let is_hostile =
        |name: &str| MOUNTS.iter().chain(&["guard"]).any(|module| name.contains(&format!("compartment=\"{module}\"")));
    series
        .filter(|(name, _)| is_hostile(name))
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .filter(|(_, value)| *value > 0)
        .collect()
}

/// A row on one of its mounts.
struct Attack {
    mount: String,
    case: Case,
}

impl Attack {
    /// Adds what the metrics count for this row to `counts`.
    fn count(&self, counts: &mut BTreeMap<String, u64>) {
        let Self { mount, case } = self;
        let compartment = if mount == "guarded" { "guard" } else { mount };
        let fails = case.fails.iter().map(|kind| ("watertight_call_errors_total", "kind", kind));
        let limits = case.limit.iter().map(|limit| ("watertight_limits_total", "limit", limit));
        for (metric, label, value) in fails.chain(limits) {
            let series = format!("{metric}{{compartment=\"{compartment}\",{label}=\"{value}\"}}");
            *counts.entry(series).or_default() += 1;
        }
    }

    /// Asks, and lists what is wrong with the answer.
    async fn run(&self, host: &Host, version: Version) -> Vec<String> {
        let Self { mount, case } = self;
        let begun = Instant::now();
        let faults = match case.try_ask(host, version, None).await {
            Ok(answer) => case.faults(&answer),
            // HTTP/2 may reset a stream before it has sent the head of an answer that is cut off.
            Err(error) if case.may_be_cut() && version == Version::HTTP_2 && error.to_string().contains("http2") => {
                vec![]
            }
            Err(error) => vec![format!("no answer: {error:?}")],
        };
        let faults = faults.into_iter().map(|fault| {
            let end = fault.floor_char_boundary(MOST_PRINTED);
            let (name, fault, time) = (&case.name, &fault[..end], begun.elapsed());
            format!("{name} on {mount} in {version:?} after {time:?}: {fault}")
        });
        faults.collect()
    }
}

/// Returns the rows of the table, once for each of their mounts.
fn attacks() -> Vec<Attack> {
    let text = fs::read_to_string(repository().join("host/tests/mounts/hostile.toml")).unwrap();
    let Cases { case: rows } = toml::from_str(&text).unwrap();
    assert!(rows.len() >= 25, "{} rows", rows.len());
    let mut attacks = Vec::new();
    let only = std::env::var("HOSTILE").unwrap_or_default();
    for row in rows.into_iter().filter(|row| row.request.contains(&only)) {
        for mount in row.on.clone() {
            let (method, path) = row.request.split_once(' ').unwrap();
            let request = format!("{method} /{mount}{path}");
            let mut case = row.clone();
            case.request = request;
            attacks.push(Attack { mount, case });
        }
    }
    attacks
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_handlers_end_as_the_table_says_and_cost_nobody_else() {
    let host = app("").launch().start();
    let quiet = Neighbours::ask(&host);
    tokio::time::sleep(QUIET).await;
    let quiet = quiet.stop().await;

    let neighbours = Neighbours::ask(&host);
    let (one_by_one, at_once): (Vec<_>, Vec<_>) = attacks().into_iter().partition(|attack| attack.mount == "shared");
    let mut expected = BTreeMap::new();
    // Requests on a shared instance would fail together, so they come one after another.
    let host = &host;
    let shared = async {
        let mut wrong = Vec::new();
        for (number, attack) in one_by_one.iter().enumerate() {
            wrong.extend(attack.run(host, VERSIONS[number % 2]).await);
            until("the call on the shared instance ends", async || {
                metric(host, "watertight_module_calls_running{module=\"shared\"}").await == 0
            })
            .await;
        }
        wrong
    };
    let asked = at_once.iter().flat_map(|attack| VERSIONS.map(|version| attack.run(host, version)));
    let others = futures::stream::iter(asked).buffer_unordered(AT_ONCE).collect::<Vec<_>>();
    let (shared, others) = tokio::join!(shared, others);
    one_by_one.iter().chain(&at_once).chain(&at_once).for_each(|attack| attack.count(&mut expected));
    let mut wrong: Vec<String> = others.into_iter().flatten().chain(shared).collect();
    released(host).await;
    let beside = neighbours.stop().await;

    let counted = failures(host).await;
    for series in expected.keys().chain(counted.keys()) {
        let (expected, counted) = (expected.get(series), counted.get(series));
        let text = format!("{series}: {expected:?} expected, {counted:?} counted");
        if expected != counted && !wrong.contains(&text) {
            wrong.push(text);
        }
    }
    for Attack { case, .. } in one_by_one.iter().chain(&at_once) {
        if let Some(line) = case.log.as_ref().filter(|line| !host.has_logged(line)) {
            wrong.push(format!("{}: the log has no {line}", case.name));
        }
    }
    if host.log().contains("the host panicked") {
        wrong.push("the host panicked".to_owned());
    }
    println!("neighbours alone: {quiet}; beside hostile handlers: {beside}");
    assert!(wrong.is_empty(), "{}\n{}", host.log(), wrong.join("\n"));
}

/// Waits until nothing is held of what hostile modules and clients have caused, and all modules answer as before.
pub(crate) async fn released(host: &Host) {
    for module in MOUNTS.into_iter().chain(["guard", "behind", "aid"]) {
        for gauge in ["running", "waiting"] {
            let series = format!("watertight_module_calls_{gauge}{{module=\"{module}\"}}");
            until(&series, async || metric(host, &series).await == 0).await;
        }
        until(&format!("no instance of {module} is in use"), async || {
            let text = send(client().get(host.admin_url("/metrics"))).await.expect(200).text;
            let sum = |name: &str| -> i64 {
                let start = format!("{name}{{compartment=\"{module}\"");
                let lines = text.lines().filter(|line| line.starts_with(&start));
                lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<i64>().unwrap()).sum()
            };
            let [made, dropped, warm] = ["made_total", "dropped_total", "warm"].map(|name| {
                let name = format!("watertight_instances_{name}");
                sum(&name)
            });
            made - dropped == warm
        })
        .await;
    }
    for mount in MOUNTS {
        for version in VERSIONS {
            whole(host.listen(), version, &format!("/{mount}/hello")).await.expect(200);
        }
    }
}
