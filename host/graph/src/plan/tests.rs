//! Tests of what a plan says of mounts and middlewares.

use std::path::Path;

use super::*;
use watertight_model::config::{AppFiles, Overrides, TextFile, parse};

const MANIFEST: &str =
    "[app]\nname = \"demo\"\n[modules.a]\ncomponent = \"a.wasm\"\n[modules.b]\ncomponent = \"b.wasm\"\n";

/// Returns the application whose route file has the text `routes`. Its modules have no components.
fn config(routes: &str) -> AppConfig {
    let file = |name: &str, text: &str| TextFile { path: Path::new(name).to_owned(), text: text.to_owned() };
    let files = AppFiles {
        manifest: file("app.toml", MANIFEST),
        routes: vec![file("routes.toml", routes)],
        examples: Vec::new(),
    };
    parse(&files, &Overrides::default()).expect("the texts have no faults")
}

fn plan(old: &str, new: &str) -> Plan {
    let (old, new) = (config(old), config(new));
    let graph = |config: &AppConfig| AppGraph::build(config, &BTreeMap::new()).graph;
    let (from, to, values) = (graph(&old), graph(&new), Values::default());
    let side = |config, graph| PlanSide { config, graph, values: &values };
    Plan::new(side(&old, &from), side(&new, &to))
}

fn mount(path: &str, module: &str, rest: &str) -> String {
    format!("[[mount]]\npath = \"{path}\"\nmodule = \"{module}\"\n{rest}\n")
}

#[test]
fn a_change_of_a_mount_is_a_change() {
    let old = [
        mount("/same", "a", "methods = [\"GET\", \"PURGE\"]"),
        mount("/gone", "a", ""),
        mount("/moved", "a", ""),
        mount("/stripped", "a", ""),
        mount("/methods", "b", "methods = [\"GET\"]"),
    ];
    let new = [
        mount("/added", "b", ""),
        mount("/stripped", "a", "strip = true"),
        mount("/moved", "b", ""),
        mount("/methods", "b", ""),
        mount("/same", "a", "strip = false\nmethods = [\"PURGE\", \"GET\"]"),
    ];
    let changed = plan(&old.concat(), &new.concat());
    assert!(!changed.is_empty());
    let lines = "+ mount /added, answered by b\n- mount /gone, answered by a\n~ mount /methods, answered by b\n\
                 ~ mount /moved, answered by b\n~ mount /stripped, answered by a\n";
    assert_eq!(changed.to_string(), lines);
    assert!(plan(&old.concat(), &old.concat()).is_empty());
}

#[test]
fn a_middleware_comes_goes_or_moves() {
    let middleware = |path: &str, module: &str| format!("[[middleware]]\npath = \"{path}\"\nmodule = \"{module}\"\n");
    let [a, b, c] = [middleware("/", "a"), middleware("/b", "b"), middleware("/c", "a")];
    let all = [&*a, &b, &c].concat();
    assert!(plan(&all, &all).is_empty());
    assert_eq!(plan(&all, &[&*b, &a, &c].concat()).to_string(), "~ middleware a of /\n~ middleware b of /b\n");
    // Those that stay keep their order.
    assert_eq!(plan(&all, &[&*b, &c].concat()).to_string(), "- middleware a of /\n");
    assert_eq!(plan(&[&*b, &c].concat(), &all).to_string(), "+ middleware a of /\n");
}

#[test]
fn tables_of_different_hosts_are_different() {
    let mount = |host: &str, module: &str| format!("[[mount]]\npath = \"/\"\nmodule = \"{module}\"\n{host}\n");
    let route = |host: &str| format!("[[route]]\nmethod = \"GET\"\npath = \"/x\"\ncall = \"a/i.f\"\n{host}\n");
    let cors = |host: &str| format!("[[cors]]\norigins = [\"*\"]\n{host}\n");
    let (one, other) = ("host = \"one.example\"", "host = \"*.example\"");
    let old = [mount("", "a"), mount(one, "a"), route(one), cors(one)].concat();
    let new = [mount("", "a"), mount(one, "b"), mount(other, "a"), route(""), route(other), cors("")].concat();
    let lines = "+ route GET /x, answered by a/i.f\n+ route GET *.example/x, answered by a/i.f\n\
                 - route GET one.example/x, answered by a/i.f\n+ mount *.example/, answered by a\n\
                 ~ mount one.example/, answered by b\n+ cors /\n- cors one.example/\n";
    assert_eq!(plan(&old, &new).to_string(), lines);
    assert!(plan(&old, &old).is_empty());
    let middleware = |host: &str| format!("[[middleware]]\npath = \"/\"\nmodule = \"a\"\n{host}\n");
    let lines = "+ middleware a of *.example/\n- middleware a of one.example/\n";
    assert_eq!(plan(&middleware(one), &middleware(other)).to_string(), lines);
}

/// A client may be older or newer than the host.
#[test]
fn a_plan_without_mounts_can_be_read() {
    let read: Plan =
        serde_json::from_str(r#"{"modules":[],"compartments":[],"routes":[],"restart":[]}"#).expect("a plan");
    assert!(read.is_empty());
}

#[test]
fn what_an_answer_says_is_part_of_its_route() {
    let route = |status: &str, answer: &str| {
        format!(
            "[[route]]\nmethod = \"GET\"\npath = \"/a\"\ncall = \"a/b.c\"\nstatus = {status}\nerrors = {{ \"*\" = 500 }}\n\
             answer = {{ {answer} }}\n"
        )
    };
    let header = route("{ created = 201, same = 200 }", "headers = { X-A = \"{id}\" }");
    assert!(plan(&header, &format!("\n\n{header}")).is_empty());
    for other in [
        route("200", "headers = { X-A = \"{id}\" }"),
        route("{ created = 201, same = 202 }", "headers = { X-A = \"{id}\" }"),
        route("{ created = 201, same = 200 }", "headers = { X-A = \"{name}\" }"),
        route("{ created = 201, same = 200 }", "etag = \"strong\""),
        header.replace("= 500", "= { status = 500, headers = { Retry-After = \"1\" } }"),
    ] {
        let plan = plan(&header, &other);
        assert_eq!(plan.routes.iter().map(|route| route.change).collect::<Vec<_>>(), [Change::Changed], "{other}");
    }
}
