//! Tests of `watertight check`, which checks an application before it runs: all problems are reported at once, no secrets are needed, and
//! notes name parts that nothing can reach.

use std::os::unix::fs::MetadataExt as _;

use crate::app::App;

const HELLO: &str = "
    package t:t; world component { export t:greet/greet@1.0.0; }
    package t:greet@1.0.0 { interface greet { variant error { not-found } hello: func(name: string) -> result<string, error>; } }
";

fn hello(manifest: &str, routes: &str) -> App {
    App::new(&format!(
        "[app]\nname = \"hello\"\nroutes = [\"routes/*.toml\"]\n{manifest}\n[modules.hello]\ncomponent = \"hello.wasm\"\n"
    ))
    .file("routes/a.toml", routes)
    .dummy("hello", HELLO)
}

const GOOD: &str = "[[route]]\nmethod = \"GET\"\npath = \"/hello/{name}\"\ncall = \"hello/greet.hello\"\nerrors = { not-found = 404 }\n";

/// Returns the codes of the problems that `watertight check` reports, sorted.
fn codes(app: &App) -> Vec<String> {
    let mut codes: Vec<String> = app.problems().into_iter().map(|(code, _)| code).collect();
    codes.sort();
    codes
}

#[test]
fn one_fault_hides_no_other_that_does_not_depend_on_it() {
    let other = |path: &str, function: &str, rest: &str| {
        format!("[[route]]\nmethod = \"GET\"\npath = \"{path}\"\ncall = \"hello/greet.{function}\"\n{rest}\n")
    };
    let errors = "errors = { not-found = 404 }";
    for (manifest, routes, expected) in [
        // A wrong status, and an unknown function in another route.
        (
            "",
            other("/a/{name}", "hello", &format!("status = 99\n{errors}")) + &other("/b", "nothing", ""),
            &["bad-value", "unknown-function"][..],
        ),
        // A wrong status and an unknown function in the same route.
        ("", other("/a/{name}", "nothing", "status = 99"), &["bad-value", "unknown-function"]),
        // The error table and the bindings are checked despite a wrong status.
        (
            "",
            other("/a/{nobody}", "hello", "status = 99\nerrors = { found = 404 }"),
            &["bad-binding", "bad-value", "error-table", "error-table"],
        ),
        // A case with a wrong status counts as present.
        ("", other("/a/{name}", "hello", "errors = { not-found = 99 }"), &["bad-value"]),
        // A misspelt key hides what its value should have said.
        ("", other("/a/{name}", "hello", "error = { not-found = 404 }"), &["unknown-key"]),
        // A wrong key in the manifest, and an unknown function.
        ("[log]\nlevel = 5", other("/b", "nothing", ""), &["bad-value", "unknown-function"]),
        ("[http]\nin_flights = 5", other("/b", "nothing", ""), &["unknown-function", "unknown-key"]),
        // Routes to a module without a component don't report it again.
        (
            "[modules.gone]\nuses = []",
            other("/b", "nothing", "") + &GOOD.replace("hello/greet", "gone/greet").replace("/hello/", "/gone/"),
            &["missing-key", "unknown-function"],
        ),
        // A syntax error in one file, and an unknown function in another.
        ("", "[[route]\n".to_owned(), &["syntax", "unknown-function"]),
    ] {
        let app = hello(manifest, &routes);
        let app =
            if routes.starts_with("[[route]\n") { app.file("routes/b.toml", &other("/b", "nothing", "")) } else { app };
        assert_eq!(codes(&app), expected, "{manifest}\n{routes}\n{:?}", app.problems());
        let ran = app.run(&["run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "."]);
        let said = crate::app::text(&ran.stderr);
        assert!(!ran.status.success() && expected.iter().all(|code| said.contains(&format!("[{code}]"))), "{said}");
    }
}

#[test]
fn what_follows_from_a_fault_is_not_reported() {
    let caller = "
        package t:t; world component { import t:greet/greet@1.0.0; import wasi:random/random@0.2.6; }
        package t:greet@1.0.0 { interface greet { hello: func(name: string) -> string; } }
        package wasi:random@0.2.6 { interface random { get-random-u64: func() -> u64; } }
    ";
    for (lines, expected) in [
        ("calls = [\"hallo\"]\nuses = [\"random\"]", &["unknown-name"][..]),
        ("calls = { \"t:greet/greet\" = \"hallo\" }\nuses = [\"random\"]", &["unknown-name"]),
        ("calls = [\"hello\"]\nuses = [\"rand\"]", &["bad-value", "type-mismatch"]),
        ("call = [\"hello\"]\nuses = [\"random\"]", &["unknown-key"]),
        ("calls = [\"hello\"]", &["type-mismatch", "ungranted"]),
    ] {
        let app =
            hello(&format!("[modules.caller]\ncomponent = \"caller.wasm\"\n{lines}"), GOOD).dummy("caller", caller);
        assert_eq!(codes(&app), expected, "{lines}\n{:?}", app.problems());
    }
}

#[test]
fn only_what_runs_needs_secrets_and_variables() {
    let secrets = "
        package t:t; world component { export t:other/other@1.0.0; }
        package t:other@1.0.0 { interface other { f: func() -> u32; } }
    ";
    let suite = |interface: &str, call: &str| {
        format!(r#"{{"interface": "{interface}", "cases": [{{"name": "it runs", "steps": [{call}]}}]}}"#)
    };
    let app = App::new(
        "[app]\nname = \"secret\"\nroutes = [\"routes/*.toml\"]\n\
         [modules.plain]\ncomponent = \"plain.wasm\"\n\
         [modules.other]\ncomponent = \"other.wasm\"\nuses = [\"config\"]\nconfig = { region = { env = \"NO_SUCH_REGION\" } }\n\
         secrets = { key = { file = \"no/such/file\" }, token = { env = \"NO_SUCH_TOKEN\" } }\n",
    )
    .file("routes/none.toml", "")
    .component(
        "plain",
        "package t:t; world component { export t:plain/plain@1.0.0; } package t:plain@1.0.0 { interface plain { f: func() -> u32; } }",
        "",
        r#"(func (export "t:plain/plain@1.0.0#f") (result i32) (i32.const 7))"#,
    )
    .dummy("other", secrets)
    .file("wit/plain/suite/plain.json", &suite("t:plain/plain@1.0.0", r#"{"call": "f", "answer": 7}"#))
    .file("wit/other/suite/other.json", &suite("t:other/other@1.0.0", r#"{"call": "f", "answer": 7}"#));
    assert_eq!(app.problems(), []);
    assert!(app.out(&["graph", "."]).contains("other"));
    assert!(app.out(&["inspect", "other"]).contains("t:other/other@1.0.0"));
    // `test` runs only the tested module and its callees.
    let tested = app.run(&["test", "plain"]);
    assert!(tested.status.success(), "{}", crate::app::text(&tested.stderr));
    for (arguments, count) in [(&["test", "other"][..], 3), (&["check", "--env", "."], 3)] {
        let refused = app.run(arguments);
        let said = crate::app::text(&refused.stderr);
        assert!(!refused.status.success() && said.matches("[missing-value]").count() == count, "{arguments:?}: {said}");
    }
}

/// A module that calls nothing is the same compartment in a test and in the application.
#[test]
fn what_was_compiled_for_one_command_is_code_for_the_others() {
    let code = |folder: &std::path::Path| -> std::collections::BTreeSet<_> {
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        files.filter(|name| name.to_str().unwrap().ends_with(".cwasm")).collect()
    };
    for is_tested_first in [true, false] {
        let app = App::new(
            "[app]\nname = \"plain\"\nroutes = [\"r.toml\"]\n[modules.plain]\ncomponent = \"plain.wasm\"\n",
        )
        .file("r.toml", "")
        .component(
            "plain",
            "package t:t; world component { export t:plain/plain@1.0.0; } package t:plain@1.0.0 { interface plain { f: func() -> u32; } }",
            "",
            r#"(func (export "t:plain/plain@1.0.0#f") (result i32) (i32.const 7))"#,
        )
        .file(
            "wit/plain/suite/plain.json",
            r#"{"interface": "t:plain/plain@1.0.0", "cases": [{"name": "it runs", "steps": [{"call": "f", "answer": 7}]}]}"#,
        );
        let (tested, state) = (app.path().join("target/test/compiled"), app.path().join(".watertight"));
        // `call` starts the application as `run` does.
        let mut commands = [&["test", "plain"][..], &["call", "plain/plain.f", "--state", ".watertight"]];
        if !is_tested_first {
            commands.reverse();
        }
        commands.iter().for_each(|command| drop(app.out(command)));
        let files = code(&tested);
        assert_eq!(files.len(), 1);
        assert_eq!(code(&state.join("code")), files);
        let links = std::fs::metadata(tested.join(files.first().unwrap())).unwrap().nlink();
        assert_eq!(links, 2, "the code was compiled twice");
    }
}

#[test]
fn build_and_inspect_need_no_routes() {
    let app =
        App::new("[app]\nname = \"new\"\nroutes = [\"routes/*.toml\"]\n[modules.hello]\ncomponent = \"hello.wasm\"\n")
            .dummy("hello", HELLO);
    assert_eq!(codes(&app), ["unreadable"]);
    assert!(app.out(&["inspect", "hello"]).contains("t:greet/greet@1.0.0"));
    // No module has sources to build, and routes don't matter to `build`.
    assert!(app.run(&["build"]).status.success());
    let app = app.file("routes/a.toml", "[[route]]\nmethod = 5\n");
    assert!(app.run(&["build"]).status.success());
}

#[test]
fn what_nothing_can_reach_is_noted_and_not_refused() {
    let wit = "
        package t:t;
        world component {
            export wasi:http/incoming-handler@0.2.3; export t:greet/greet@1.0.0; export t:spare/spare@1.0.0; export spare-2: func();
        }
        package t:greet@1.0.0 { interface greet { hello: func(name: string) -> string; } }
        package t:spare@1.0.0 { interface spare { f: func(); } }
        package wasi:http@0.2.3 {
            interface types { resource incoming-request {} resource response-outparam {} }
            interface incoming-handler {
                use types.{incoming-request, response-outparam};
                handle: func(request: incoming-request, response-out: response-outparam);
            }
        }
    ";
    let app = App::new("[app]\nname = \"notes\"\nroutes = [\"routes.toml\"]\n[modules.a]\ncomponent = \"a.wasm\"\n")
        .file("routes.toml", "[[route]]\nmethod = \"GET\"\npath = \"/{name}\"\ncall = \"a/greet.hello\"\n")
        .dummy("a", wit);
    let notes = app.notes();
    let words = [
        "no route names `a.spare-2`",
        "`t:spare/spare@1.0.0`",
        "no mount and no middleware uses the HTTP handler `wasi:http/incoming-handler@0.2.3`",
    ];
    assert_eq!(notes.len(), words.len(), "{notes:?}");
    for word in words {
        assert!(notes.iter().any(|(code, note)| code == "unreached" && note.contains(word)), "{word}: {notes:?}");
    }
    let checked = app.run(&["check", "."]);
    let said = crate::app::text(&checked.stderr);
    assert!(
        checked.status.success() && said.matches("note[unreached]").count() == 3 && said.contains("is complete"),
        "{said}"
    );
}

#[test]
fn apply_tells_everything_at_once_and_a_broken_route_hinders_no_rollback() {
    let app = hello("", GOOD);
    let host = app.start();
    let state = host.state().to_str().unwrap().to_owned();
    let wrong =
        GOOD.replace("404", "99") + &GOOD.replace("hello/greet.hello", "hello/greet.nothing").replace("/hello/", "/b/");
    let app = app.file("routes/a.toml", &wrong);
    let refused = app.run(&["apply", "--state", &state, "."]);
    let said = crate::app::text(&refused.stderr);
    assert!(!refused.status.success() && said.contains("[bad-value]") && said.contains("[unknown-function]"), "{said}");
    let listed = app.run(&["generations", "--state", &state]);
    assert!(listed.status.success(), "{}", crate::app::text(&listed.stderr));
}
