//! Tests of the output that a module writes to the standard streams of WASI.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use watertight_testkit::app::{App, wasi_probe};
use watertight_testkit::client::{client, send};
use watertight_testkit::host::Host;

/// Starts a host with the test guest `probe`, built so that it imports all of WASI, as the module `a`. A route leads to each function that
/// the tests call.
fn start(settings: &str) -> (App, Host) {
    let probe = wasi_probe();
    let routes = ["print", "trap", "log", "count"]
        .map(|act| format!("[[route]]\nmethod = \"GET\"\npath = \"/{act}\"\ncall = \"a/acts.{act}\"\nstatus = 200\n"));
    let app = App::new(&format!(
        "[app]\nname = \"output\"\nroutes = [\"routes/*.toml\"]\n[modules.a]\ncomponent = {probe:?}\n\
         uses = [\"sql\", \"logging\", \"clocks\", \"random\"]\n{settings}\n"
    ))
    .routes(&routes.concat());
    let host = app.launch().start();
    (app, host)
}

async fn print(host: &Host, request: &str, text: &str, to_error: bool) {
    let text = utf8_percent_encode(text, NON_ALPHANUMERIC);
    let asked = client().get(host.url(&format!("/print?text={text}&to_error={to_error}")));
    send(asked.header("x-request-id", request)).await.expect(200);
}

/// Returns the lines of `log` about the request with the id `request`.
fn lines(log: &str, request: &str) -> Vec<String> {
    log.lines().filter(|line| line.contains(request)).map(str::to_owned).collect()
}

#[tokio::test]
async fn what_a_guest_prints_are_lines_of_its_own() {
    let (_app, host) = start("");
    print(&host, "print-1", "first\r\n\nsecond\n2030-01-01 ERROR forged \u{1b}[31m\nhalf", false).await;
    print(&host, "print-2", "other half\n", true).await;
    // Once this line is logged, everything before it is as well.
    host.called("a/acts.log", json!(["after"])).await;
    assert!(host.has_logged("after"));
    let log = host.log();
    let first = lines(&log, "print-1");
    assert_eq!(first.len(), 4, "{log}");
    for (line, text) in first.iter().zip(["first", "second", "2030-01-01 ERROR forged \\u{1b}[31m", "half"]) {
        assert!(line.contains(text) && line.contains("INFO module: "), "{line}");
        let named = ["module=\"a\"", "request=\"print-1\"", "trace=", "context=\"stdout\""];
        assert!(named.iter().all(|part| line.contains(part)), "{line}");
    }
    // An unfinished line of a call belongs to that call, not to the next one.
    let second = lines(&log, "print-2");
    assert_eq!(second.len(), 1, "{log}");
    assert!(second[0].contains("WARN module: ") && second[0].contains("context=\"stderr\""), "{}", second[0]);
    assert!(second[0].contains("other half") && !first[3].contains("other"), "{log}");
    assert!(!log.contains('\u{1b}'), "a guest's escape sequence reached the log: {log:?}");
}

#[tokio::test]
async fn a_panic_is_heard_although_its_instance_is_gone() {
    let (_app, host) = start("");
    let asked = client().get(host.url("/trap")).header("x-request-id", "panic-1");
    send(asked).await.expect(500);
    assert!(host.has_logged("as asked for"));
    let log = host.log();
    let line = lines(&log, "panic-1").into_iter().find(|line| line.contains("as asked for")).unwrap();
    assert!(line.contains("WARN module: ") && line.contains("module=\"a\""), "{line}");
    // The next call runs on another instance, whose output has the next call's id.
    print(&host, "panic-2", "alive", false).await;
    assert!(host.has_logged("alive"));
    assert_eq!(lines(&host.log(), "panic-2").len(), 1);
}

#[tokio::test]
async fn what_a_guest_prints_is_bounded() {
    let (_app, host) = start("[defaults.limits]\nlog = \"40KiB\"\nbody = \"1MiB\"\n");
    // Only the start of a line of half a megabyte is logged. The rest is not a further line.
    let long = "x".repeat(500_000);
    host.called("a/acts.print", json!([long, false])).await;
    // Of many lines, those within the limit are logged, and one line says that more were dropped.
    host.called("a/acts.print", json!(["y\n".repeat(200_000), true])).await;
    assert!(host.has_logged("further lines of this call are dropped, because a call can log at most 40960 bytes"));
    // Both streams count towards one limit.
    host.called("a/acts.print", json!(["after\n", false])).await;
    assert!(host.has_logged("after"));
    let log = host.log();
    let x = log.split(|c| c != 'x').map(str::len).filter(|&run| run > 10).collect::<Vec<_>>();
    assert_eq!(x, [16 << 10]);
    assert!(log.contains("x…\n") || log.contains("x… "), "{}", &log[..2_000]);
    let dropped = log.lines().filter(|line| line.contains("further lines")).count();
    assert_eq!(dropped, 1, "{}", &log[..2_000]);
    let y = log.lines().filter(|line| line.contains("context=\"stderr\"")).count();
    assert!((1..=40 << 10).contains(&y), "{y}");
}
