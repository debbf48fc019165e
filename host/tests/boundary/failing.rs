//! Tests of failures: the words, file and line that they leave in the log, and what `build` refuses.

use std::fs;
use std::path::Path;

use serde_json::json;
use watertight_testkit::host::{self, Launch};

use crate::modules::{application, build, component};

/// Calls `fails.fail` for each word, and expects the parts in the log. Calls a word that begins with `plain ` in `fails.plain`, which has no
/// error type.
async fn expect_in_log(component: &Path, cases: &[(&str, &[&str])]) {
    let app = application("", &[("fails", component, "")]);
    let host = Launch::app(app.path()).start();
    let answer = host.call("fails/fails.fail", &json!(["bad"])).await.expect(200);
    assert_eq!(answer.body, json!({"result": {"err": {"bad": "the contract knows this"}}}));
    for (how, parts) in cases {
        let before = host.log().len();
        let (function, word) = how.strip_prefix("plain ").map_or(("fail", *how), |word| ("plain", word));
        assert_eq!(host.call(&format!("fails/fails.{function}"), &json!([word])).await.status, 500, "{how}");
        for part in *parts {
            let is_told = (0..50).any(|_| host.log()[before..].contains(part));
            assert!(is_told, "{how}: {part} is not in {}", &host.log()[before..]);
        }
    }
}

#[tokio::test]
async fn errors_in_typescript_keep_words_file_and_line() {
    let cases: [(&str, &[&str]); 7] = [
        ("plain error", &["fails.plain: Error: words that somebody reads", "error (src/component.ts:14)"]),
        (
            "plain text",
            &["fails.plain: a value that is no Error was thrown: \"a text, and no error\" at src/component.ts:17"],
        ),
        ("plain bad", &["fails.plain: Refusal: refused, with the payload", "bad (src/component.ts:22)"]),
        ("error", &["fails.fail: Error: words that somebody reads", "error (src/component.ts:14)"]),
        ("text", &["what was thrown is not the contract's error", "\"a text, and no error\" at src/component.ts:17"]),
        ("deep", &["Refusal: from another file", "deeper (src/deeper.ts:7)", "deep (src/component.ts:19)"]),
        ("nothing", &["is not a function", "act (src/component.ts:28)"]),
    ];
    expect_in_log(&component("fails", "ts"), &cases).await;
}

#[tokio::test]
async fn failures_in_c_leave_words_file_and_line() {
    let unread = "a module trapped in `fails`: the result of `test:fails/fails@1.0.0.fail` can't be read";
    let cases: [(&str, &[&str]); 5] = [
        ("bytes", &[unread, "utf-8"]),
        ("pointer", &[unread, "out of bounds"]),
        (
            "assert",
            &["assertion failed in exports_test_fails_fails_fail: !is(how, \"assert\")", "src/component.c", "28"],
        ),
        ("abort", &["abort() was called"]),
        ("print", &["words before the end: printed"]),
    ];
    expect_in_log(&component("fails", "c"), &cases).await;
}

/// A copy of a test module in a workspace of its own.
fn workspace(module: &str) -> tempfile::TempDir {
    let folder = host::folder();
    let from = watertight_testkit::paths::repository().join("host/tests");
    host::copy_folder(&from.join("boundary/modules").join(module), &folder.path().join("modules").join(module));
    host::copy_folder(&from.join("javascript/wit"), &folder.path().join("wit"));
    let manifest = format!("[app]\nname = \"x\"\n[modules.one]\ncomponent = {module:?}\n");
    fs::write(folder.path().join("modules/app.toml"), manifest).unwrap();
    folder
}

#[tokio::test]
async fn with_names_a_trap_in_c_has_functions_and_lines() {
    let workspace = workspace("fails-c");
    build(workspace.path(), &["--debug"]).expect(0);
    let cases: [(&str, &[&str]); 2] =
        [("abort", &["fall_through", "src/component.c:15"]), ("divide", &["divide by zero", "src/component.c:19"])];
    expect_in_log(&workspace.path().join("target/components/fails-c.wasm"), &cases).await;
}

/// Builds a module after a change of one of its files, and expects the parts among the errors.
fn expect_refused(workspace: &Path, path: &str, change: impl Fn(String) -> String, parts: &[&str]) {
    let file = workspace.join(path);
    let before = fs::read_to_string(&file).unwrap();
    fs::write(&file, change(before.clone())).unwrap();
    let said = build(workspace, &[]).expect(1);
    fs::write(&file, before).unwrap();
    for part in parts {
        assert!(said.err.contains(part), "{path}: {part} is not in {}", said.err);
    }
}

#[test]
fn what_c_can_not_carry_and_what_does_not_compile_is_told() {
    let workspace = workspace("fails-c");
    let refused = |path: &str, change: &dyn Fn(String) -> String, parts: &[&str]| {
        expect_refused(workspace.path(), &path.replace("MODULE", "modules/fails-c"), change, parts);
    };
    for (function, part) in [
        ("f: async func(n: u8) -> u8;", "`f` of `test:fails/fails@1.0.0` is an `async func`"),
        ("f: func(n: stream<u8>);", "parameter `n` has the type `stream<u8>`"),
        ("f: func() -> future<string>;", "its result has the type `future<string>`"),
        ("f: func(n: list<u8, 4>);", "parameter `n` has the type `list<u8, 4>`"),
        ("f: func(n: error-context);", "parameter `n` has the type `error-context`"),
    ] {
        let change = |text: String| text.replace("interface fails {", &format!("interface fails {{ {function}"));
        refused("wit/fails/fails.wit", &change, &["C doesn't support", part, "help: "]);
    }
    let broken = |text: String| text.replace("return 7 / by;", "return no_such_thing;");
    refused(
        "MODULE/src/component.c",
        &broken,
        &["`fails-c` does not compile", "src/component.c:19:12", "no_such_thing"],
    );
    let unknown = |text: String| text + "--no-such-flag\n";
    refused("MODULE/compile_flags.txt", &unknown, &["no-such-flag"]);
    build(workspace.path(), &[]).expect(0);
    // The same source gives the same bytes in another folder, with names too.
    let other = self::workspace("fails-c");
    for arguments in [&[][..], &["--debug"]] {
        let digests = [&workspace, &other]
            .map(|one| build(one.path(), &[arguments, &["--json"]].concat()).expect(0).json()[0]["digest"].clone());
        assert_eq!(digests[0], digests[1], "{arguments:?}");
    }
}

#[test]
fn types_are_checked_and_what_typescript_can_not_carry_is_told() {
    let workspace = workspace("fails-ts");
    let refused = |path: &str, change: &dyn Fn(String) -> String, parts: &[&str]| {
        expect_refused(workspace.path(), &path.replace("MODULE", "modules/fails-ts"), change, parts);
    };
    let change = |text: String| text.replace("interface fails {", "interface fails { f: func() -> map<string, u32>;");
    refused("wit/fails/fails.wit", &change, &["TypeScript doesn't support", "`map<string, u32>`"]);
    let wrong = |text: String| text.replace("good: () => 'well'", "good: () => 5");
    refused("MODULE/src/component.ts", &wrong, &["src/component.ts:12:15: error TS", "'number'"]);
    let broken = |text: String| text + "\nconst = 1;\n";
    refused("MODULE/src/deeper.ts", &broken, &["src/deeper.ts:10:7: error TS"]);
    // The exports must have the types of the contract, whether or not they say so.
    let unlike = |text: String| {
        text.replace("const fails: typeof contract = {", "const fails = {").replace("refused: act", "refused: () => 5")
    };
    refused("MODULE/src/component.ts", &unlike, &["bindings/check.ts:", "refused"]);
    // The module's own configuration counts.
    let config = workspace.path().join("modules/fails-ts/tsconfig.json");
    fs::write(&config, r#"{"compilerOptions": {"strict": true, "noUnusedLocals": true, "module": "nodenext"}}"#)
        .unwrap();
    let unused = |text: String| text + "const unused = 1;\n";
    refused("MODULE/src/deeper.ts", &unused, &["src/deeper.ts:9:7: error TS6133"]);
}
