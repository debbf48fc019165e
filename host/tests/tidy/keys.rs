//! Checks that the documentation of the manifest and of routes has a row for every key of these formats.

use std::fs;

use watertight_model::config::{self, Overrides};

/// Returns the keys that a table of the manifest, of a route or of a mount may have. The given texts have the unknown key `nothing` in this table, and
/// the problem about it lists the known keys.
fn keys(manifest: &str, routes: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let rest = "app.name = \"a\"\napp.routes = [\"routes.toml\"]\nmodules.m.component = \"m.wasm\"\n";
    fs::write(folder.path().join("app.toml"), format!("{manifest}\n{rest}")).unwrap();
    fs::write(folder.path().join("routes.toml"), routes).unwrap();
    let problems = config::load(folder.path(), &Overrides::default()).unwrap_err().to_string();
    let (_, keys) = problems.split_once("the keys here are ").unwrap_or_else(|| panic!("{problems}"));
    keys.lines().next().unwrap().split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Returns those of the keys that have no row in a section of a page.
fn missing(page: &str, heading: &str, keys: &[String]) -> Vec<String> {
    let text = fs::read_to_string(super::root().join(page)).unwrap();
    let (_, section) = text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("{page} has no {heading}"));
    let section = section.split("\n## ").next().unwrap();
    let has_no_row = |key: &&String| !section.contains(&format!("| `{key}` |"));
    keys.iter().filter(has_no_row).map(|key| format!("{page}, {heading}: `{key}`")).collect()
}

#[test]
fn the_pages_of_formats_have_every_key() {
    let page = "host/docs/manifest.md";
    let tables = [
        ("app", "## `[app]`"),
        ("modules.m", "## `[modules.NAME]`"),
        ("modules.m.http", "### `[modules.NAME.http]`"),
        ("http", "## `[http]`"),
        ("compile", "## `[compile]`"),
        ("log", "## `[log]`"),
        ("telemetry", "## `[telemetry]`"),
    ];
    let of_table = |(table, heading): (&str, &str)| missing(page, heading, &keys(&format!("{table}.nothing = 1"), ""));
    let mut faults: Vec<String> = tables.into_iter().flat_map(of_table).collect();
    faults.extend(missing("host/docs/routes.md", "## Keys", &keys("", "[[route]]\nnothing = 1\n")));
    faults.extend(missing("host/docs/routes.md", "## Mounts", &keys("", "[[mount]]\nnothing = 1\n")));
    let answer = |rest: &str| keys("", &format!("[[route]]\nanswer{rest} = {{ nothing = 1 }}\n"));
    faults.extend(missing("host/docs/answers.md", "## Keys", &answer("")));
    faults.extend(missing("host/docs/answers.md", "## Cookies", &answer(".cookies.a")));
    super::none(&faults, "the page of a format has a row for each key");
}
