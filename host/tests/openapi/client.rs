//! A client in TypeScript, whose types `openapi-typescript` makes of the served document. Its programs stand in the folder `client`. The
//! commands are those of the page: TypeScript checks the programs strictly, and Node.js runs them against the shop.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use watertight_testkit::app::App;
use watertight_testkit::command::run;
use watertight_testkit::host;

use crate::folder;

const SERVED: &str = "[http]\nopenapi = true\n";
/// The address of the host in the page.
const ADDRESS: &str = "http://127.0.0.1:8080";
/// What stands in the types for headers that the document doesn't name.
const ANY_HEADER: &str = "[name: string]";

/// Returns the lines of the first block of a language in the page's section on TypeScript.
fn of_page(language: &str) -> String {
    let page = std::fs::read_to_string(folder().join("../../docs/openapi.md")).unwrap();
    let section = page.split("\n## A client in TypeScript\n").nth(1).unwrap();
    let block = section.split(&format!("```{language}\n")).nth(1).unwrap();
    block.split("```").next().unwrap().to_owned()
}

/// Runs a command in the client's folder, such as `npx tsc`, and returns its output. What `npx` would run is run directly, since wheels of
/// Node.js have a broken `npx`.
fn in_folder(folder: &Path, command: &str) -> String {
    let command = command.replace("npx ", "node_modules/.bin/");
    let mut words = command.split(' ');
    let mut program = Command::new(words.next().unwrap());
    let said = run(program.args(words).current_dir(folder));
    assert_eq!(said.code, 0, "{command}\n{}{}", said.out, said.err);
    said.out
}

#[test]
fn a_generated_client_places_reads_and_lists_orders() {
    let client = folder().join("client");
    let modules = client.join("node_modules");
    assert!(modules.join("openapi-typescript").is_dir(), "openapi-typescript is missing: run `make tools-test`");
    let copy = host::folder();
    for file in ["package.json", "tsconfig.json", "shop.ts", "wide.ts"] {
        std::fs::copy(client.join(file), copy.path().join(file)).unwrap();
    }
    let example = format!("{}\ndeclare const id: string;\n", of_page("ts"));
    std::fs::write(copy.path().join("page.ts"), example).unwrap();
    symlink(&modules, copy.path().join("node_modules")).unwrap();

    let wide = App::shop(&format!("{SERVED}[json]\nint64 = \"string\"\n")).launch().start();
    let shop = App::shop(SERVED).launch().start();
    in_folder(copy.path(), &format!("npx openapi-typescript {} -o wide-api.d.ts", wide.url("/openapi.json")));
    let commands = of_page("sh").replace(ADDRESS, &shop.url(""));
    let commands = commands.lines().filter(|line| !line.starts_with("npm "));
    let said: Vec<String> = commands.map(|line| in_folder(copy.path(), line)).collect();
    assert_eq!(said.last().unwrap(), "2 orders\n");
    assert_eq!(in_folder(copy.path(), &format!("node wide.ts {}", wide.url(""))), "27021597764222979\n");

    // Only bytes have no type. Those in JSON are of the signed events, which are read as they were sent.
    let types = std::fs::read_to_string(copy.path().join("api.d.ts")).unwrap();
    let unknown =
        types.lines().filter_map(|line| line.trim().strip_suffix(": unknown;")).filter(|of| *of != ANY_HEADER);
    let unknown: Vec<&str> = unknown.map(|of| of.trim_matches('"')).collect();
    assert_eq!(unknown, ["application/json", "*/*", "*/*", "image/gif", "image/jpeg", "image/png", "image/webp"]);
}
