//! Benchmark of what each feature of routes and of `[http]` costs: a request to a module's function with one feature, compared with the
//! same request without it. Each server has one core, and the load driver another.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark reports")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use watertight_testkit::bench;
use watertight_testkit::bench::compare::{Pairs, in_turns};
use watertight_testkit::bench::cores::Cores;
use watertight_testkit::bench::load::{Requests, Run, Sample, drive, once};
use watertight_testkit::bench::report::Report;
use watertight_testkit::bench::server::Server;

/// The number of connections of the load, which keeps the server's core busy.
const CONNECTIONS: usize = 64;
/// The largest ratio of processor time that a feature should cost, and the largest that is acceptable.
const GOAL: f64 = 1.10;
const FLOOR: f64 = 1.15;

/// One feature, in the route of [`application`].
struct Feature {
    name: &'static str,
    /// Lines of the manifest's `[http]`.
    http: &'static str,
    /// Keys of `[[route]]`.
    route: &'static str,
    /// Further tables of the route file.
    tables: &'static str,
    /// The path with which the route is requested. Empty: `/hello/world`.
    path: &'static str,
    /// Header lines of the requests, each with its end.
    headers: &'static str,
    /// The status of the answers. 0: 200.
    status: u16,
}

/// The path of the route, unless the feature's own keys say one.
const ROUTE: &str = "path = \"/hello/{name}\"\n";

const FEATURES: &[Feature] = &[
    Feature { name: "parameter of the query", route: "path = \"/hello\"\n", path: "/hello?name=world", ..NONE },
    Feature {
        name: "parameter of a cookie",
        route: "path = \"/hello\"\ncookies = { name = \"who\" }\n",
        path: "/hello",
        headers: "cookie: who=world; theme=dark\r\n",
        ..NONE
    },
    Feature {
        name: "constant parameter",
        route: "path = \"/hello\"\nconstants = { name = \"world\" }\n",
        path: "/hello",
        ..NONE
    },
    Feature { name: "field names in camelCase", route: "json = { case = \"camel\" }\n", ..NONE },
    Feature {
        name: "three headers by template",
        tables: "[route.answer.headers]\nX-Length = \"{length}\"\nX-Text = \"{message}\"\n\
                 Link = \"</hello/{param:name}>; rel=\\\"self\\\"\"\n",
        ..NONE
    },
    Feature {
        name: "Cache-Control and Vary",
        route: "answer = { cache = \"max-age=60\", vary = [\"Accept\"] }\n",
        ..NONE
    },
    Feature { name: "a cookie", tables: "[route.answer.cookies.who]\nvalue = \"{length}\"\n", ..NONE },
    Feature { name: "text instead of JSON", route: "answer = { body = \"message\", type = \"text/html\" }\n", ..NONE },
    Feature { name: "entity tag by a field", route: "answer = { etag = \"{length}\" }\n", ..NONE },
    Feature { name: "entity tag by digest", route: "answer = { etag = \"strong\" }\n", ..NONE },
    Feature {
        name: "entity tag by a field, 304",
        route: "answer = { etag = \"{length}\" }\n",
        headers: "if-none-match: \"13\"\r\n",
        status: 304,
        ..NONE
    },
    Feature { name: "host of a route", route: "host = \"bench\"\n", ..NONE },
    Feature {
        name: "CORS",
        tables: "[[cors]]\norigins = [\"https://*.example.org\"]\n",
        headers: "origin: https://shop.example.org\r\n",
        ..NONE
    },
    Feature { name: "security headers", http: "security_headers = true\n", ..NONE },
    Feature {
        name: "trusted proxies",
        http: "trusted_proxies = [\"127.0.0.0/8\"]\n",
        headers: "forwarded: for=192.0.2.60;proto=https;host=bench\r\n",
        ..NONE
    },
    Feature {
        name: "compression, for an answer that is too small",
        http: "compression = true\n",
        headers: "accept-encoding: gzip, br, zstd\r\n",
        ..NONE
    },
    Feature { name: "OpenAPI document on the data listener", http: "openapi = true\n", ..NONE },
];

const NONE: Feature = Feature { name: "", http: "", route: "", tables: "", path: "", headers: "", status: 0 };

impl Feature {
    fn requests(&self) -> Requests {
        let path = if self.path.is_empty() { "/hello/world" } else { self.path };
        Requests::with_headers(path, self.headers, if self.status == 0 { 200 } else { self.status })
    }
}

fn main() -> anyhow::Result<()> {
    let cores = Cores::find()?;
    let [hello] = bench::application::guests(["hello"])?;
    let folder = tempfile::tempdir_in(bench::folder()?)?;
    let mut report =
        Report::new("door", "GET of a hello with one feature of routes or of [http] / without it, one core each");
    let plain = server(&cores, folder.path(), "plain", &NONE, &hello)?;
    for (number, feature) in FEATURES.iter().enumerate() {
        // All other servers of the folder have ended, so that they take no part of the core.
        let with = server(&cores, folder.path(), &number.to_string(), feature, &hello)?;
        // The plain server gets the same headers, so that parsing them is no part of the feature's cost.
        let bare = Requests::with_headers("/hello/world", feature.headers, 200);
        let sides = [(&with, feature.requests()), (&plain, bare)];
        for (server, requests) in &sides {
            once(server.address, requests).context(feature.name)?;
        }
        let run = Run {
            connections: CONNECTIONS,
            warm: Duration::from_millis(250),
            time: Duration::from_secs(1),
            spin: true,
        };
        let measured: Vec<Vec<Sample>> = in_turns(bench::rounds(), sides.len(), |side| {
            let (server, requests) = &sides[side];
            drive(&cores, server.process(), server.address, requests, run)
        })?;
        let cpu = |side: usize| measured[side].iter().map(|sample| sample.cpu_micros).collect();
        report.times(feature.name, "µs", GOAL, FLOOR, Pairs::new(cpu(0), cpu(1)));
        drop(sides);
        with.stop()?;
    }
    plain.stop()?;
    report.finish()
}

/// Starts a host with the application of one feature. `name` is the name of its folder.
fn server(cores: &Cores, folder: &Path, name: &str, feature: &Feature, component: &Path) -> anyhow::Result<Server> {
    let app = application(&folder.join(name), feature, component)?;
    Server::host(Some(cores), &app, &folder.join(format!("{name}-state")))
}

/// Creates an application of one module and one route, with one feature.
fn application(root: &Path, feature: &Feature, component: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir(root)?;
    let Feature { http, route, tables, .. } = feature;
    let manifest = root.join("app.toml");
    let text = format!(
        "[app]\nname = \"hello\"\nroutes = [\"routes.toml\"]\n\n[http]\n{http}\n[modules.hello]\ncomponent = {component:?}\n"
    );
    std::fs::write(&manifest, text)?;
    let path = if route.contains("path = ") { "" } else { ROUTE };
    let file = format!("[[route]]\nmethod = \"GET\"\ncall = \"hello/hello.greet\"\n{path}{route}\n{tables}");
    std::fs::write(root.join("routes.toml"), file)?;
    Ok(manifest)
}
