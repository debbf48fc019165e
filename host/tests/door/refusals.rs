//! Routes and settings that `check` refuses, as data: `refusals.toml`.

use serde::Deserialize;
use watertight_testkit::app::{App, guest};
use watertight_testkit::command::run;
use watertight_testkit::host;

use crate::folder;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refusals {
    case: Vec<Refusal>,
}

/// Routes, and what `check` says of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refusal {
    name: String,
    /// Text for the end of the manifest.
    #[serde(default)]
    settings: String,
    /// The routes. Default: one without a fault.
    #[serde(default = "sound")]
    routes: String,
    /// Each problem: its line, its code, its message.
    problems: Vec<String>,
}

fn sound() -> String {
    "[[route]]\nmethod = \"GET\"\npath = \"/a\"\ncall = \"door/requests.plain\"\n".to_owned()
}

#[test]
fn faulty_routes_are_refused_with_their_line() {
    every_refusal("refusals.toml");
}

#[test]
fn faulty_answers_are_refused_with_their_line() {
    every_refusal("answers-refusals.toml");
}

fn every_refusal(table: &str) {
    let text = std::fs::read_to_string(folder().join(table)).unwrap();
    let Refusals { case: cases } = toml::from_str(&text).unwrap();
    let mut wrong = Vec::new();
    for Refusal { name, settings, routes, problems } in cases {
        let door = guest("door");
        let manifest = format!(
            "[app]\nname = \"door\"\nroutes = [\"routes/*.toml\"]\n[modules.door]\ncomponent = {door:?}\n{settings}"
        );
        let app = App::new(&manifest).routes(&routes);
        let checked = run(host::binary().args(["check", "--json"]).current_dir(app.path()));
        let found: serde_json::Value = serde_json::from_str(&checked.out).unwrap_or_default();
        let line = |problem: &serde_json::Value| {
            let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
            format!("{}: {}: {}", problem["line"], text("code"), text("message"))
        };
        let found: Vec<String> = found["problems"].as_array().into_iter().flatten().map(line).collect();
        if found != problems {
            wrong.push(format!("{name}:\n    {}\n  instead of\n    {}", found.join("\n    "), problems.join("\n    ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
