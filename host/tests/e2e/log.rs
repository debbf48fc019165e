//! Tests of the log level, at the start and changed while the host runs.

use std::process::Command;

use serde_json::json;
use watertight_testkit::client::{Answer, client, send};
use watertight_testkit::host::{Host, Launch, binary};

async fn log_level(host: &Host, level: &serde_json::Value) -> Answer {
    send(client().put(host.admin_url("/log")).bearer_auth(host.token()).json(level)).await
}

#[tokio::test]
async fn what_is_logged_is_set_while_the_host_runs() {
    let host = Launch::shop().start();
    assert_eq!(host.admin_get("/log").await.expect(200).body, json!({"level": "info"}));
    let request = |id: &'static str| {
        let request = client().get(host.url("/orders?customer=ada")).header("x-request-id", id);
        async move { send(request).await.expect(200) }
    };
    request("quiet").await;
    assert_eq!(
        log_level(&host, &json!({"level": "warn,request=debug"})).await.expect(200).body["level"],
        "warn,request=debug"
    );
    request("loud").await;
    assert!(host.has_logged("request=\"loud\""), "{}", host.log());
    assert!(!host.log().contains("quiet"), "{}", host.log());
    log_level(&host, &json!({"level": "off"})).await.expect(200);
    request("silent").await;
    log_level(&host, &json!({"level": "info"})).await.expect(200);
    assert!(host.has_logged("until the host ends"), "{}", host.log());
    assert!(!host.log().contains("silent"), "{}", host.log());
    assert_eq!(host.admin_get("/log").await.expect(200).body, json!({"level": "info"}));
}

#[tokio::test]
async fn what_can_t_be_a_level_is_refused_with_the_reason() {
    let host = Launch::shop().variable("WATERTIGHT_LOG", "info,change=debug").start();
    for (level, why) in [
        (json!({"level": "debgu"}), "`debgu` is not a level"),
        (json!({"level": "info,request"}), "`request=debug`"),
        (json!({"level": "request=loud"}), "can't be parsed"),
        (json!({"level": ""}), "to log nothing, write `off`"),
        (json!({"level": "a=info,".repeat(1_000)}), "more than 4096 bytes"),
        (json!({"level": 3}), "expected a string"),
        (json!({"levels": "info"}), "unknown field"),
        (json!({}), "missing field"),
    ] {
        let refused = log_level(&host, &level).await.expect(400);
        assert_eq!(refused.problem(), "invalid-request", "{level}");
        assert!(refused.body["detail"].as_str().unwrap().contains(why), "{level}: {}", refused.text);
    }
    assert_eq!(host.admin_get("/log").await.expect(200).body, json!({"level": "info,change=debug"}));
    let (status, log) = Launch::shop().variable("WATERTIGHT_LOG", "debgu").expect_end();
    assert!(!status.success() && log.contains("`debgu` is not a level"), "{log}");
}

#[test]
fn the_command_says_and_sets_it_and_a_start_forgets_it() {
    let state = watertight_testkit::host::folder();
    let state = state.path().join("state");
    let log = |arguments: &[&str]| {
        let mut command = binary();
        let command: &mut Command = command.arg("log").args(arguments).arg("--state").arg(&state);
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let host = Launch::shop().state(&state).start();
    assert_eq!(log(&[]), (0, "info\n".to_owned(), String::new()));
    let (code, out, err) = log(&["debug,h2=off"]);
    assert_eq!((code, &*out), (0, "debug,h2=off\n"), "{err}");
    assert!(err.contains("until the host ends"), "{err}");
    assert_eq!(log(&[]).1, "debug,h2=off\n");
    let (code, out, err) = log(&["loud"]);
    assert_eq!((code, &*out), (1, ""));
    assert!(err.contains("`loud` is not a level"), "{err}");
    host.kill();
    assert_eq!(log(&[]).0, 1);
    let _host = Launch::shop().state(&state).start();
    assert_eq!(log(&[]).1, "info\n");
}
