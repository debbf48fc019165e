//! Tests of the notes beside orders: a body in JSON Merge Patch, whose absent fields and nulls differ.

use serde_json::{Value, json};
use watertight_testkit::client::{Answer, client, send};
use watertight_testkit::host::Host;
use watertight_testkit::setup::Setup;

use crate::shop::{card, draft};

every_setup! {
    async fn a_note_is_changed_field_by_field;
    async fn a_bad_change_is_refused;
}

async fn patch(host: &Host, id: &str, kind: &str, body: &str) -> Answer {
    let request = client().patch(host.url(&format!("/orders/{id}/note")));
    send(request.header("content-type", kind).body(body.to_owned())).await
}

async fn place(host: &Host) -> String {
    host.post("/orders", &draft("ada", card("tok_visa"))).await.expect(201).at("/id").to_owned()
}

async fn a_note_is_changed_field_by_field(setup: Setup) {
    let host = setup.shop().start();
    let id = place(&host).await;
    let path = format!("/orders/{id}/note");
    let nothing = json!({ "gift": null, "delivery": null, "changed_at": null });
    assert_eq!(host.get(&path).await.expect(200).body, nothing);
    for (body, gift, delivery) in [
        (r#"{"gift":"With love","delivery":"Ring twice"}"#, json!("With love"), json!("Ring twice")),
        (r#"{"gift":null}"#, Value::Null, json!("Ring twice")),
        (r#"{"delivery":"Für Zoë"}"#, Value::Null, json!("Für Zoë")),
        ("{}", Value::Null, json!("Für Zoë")),
    ] {
        let note = patch(&host, &id, "application/merge-patch+json", body).await.expect(200).body;
        assert_eq!((&note["gift"], &note["delivery"]), (&gift, &delivery), "{body}");
        assert_eq!(host.get(&path).await.expect(200).body, note);
    }
    // The order is as it was.
    assert_eq!(host.get(&format!("/orders/{id}")).await.expect(200).at("/status"), "paid");
}

async fn a_bad_change_is_refused(setup: Setup) {
    let host = setup.shop().start();
    let id = place(&host).await;
    let kind = "application/merge-patch+json";
    let told = patch(&host, &id, kind, r#"{"gifts":"x"}"#).await.expect(400);
    assert_eq!(told.at("/errors/0/pointer"), "/gifts");
    let told = patch(&host, &id, kind, r#"{"gift":["x"]}"#).await.expect(400);
    assert_eq!(told.at("/errors/0/pointer"), "/gift");
    let told = patch(&host, &id, kind, r#"{"gift":""}"#).await.expect(422);
    assert_eq!(told.at("/payload/field"), "gift");
    let told = patch(&host, &id, "text/plain", "x").await.expect(415);
    assert!(told.header("accept-patch").contains("json"), "{told:?}");
    assert_eq!(patch(&host, "nobody", kind, r#"{"gift":"x"}"#).await.expect(404).problem(), "not-found");
    host.get("/orders/nobody/note").await.expect(404);
    assert_eq!(host.get(&format!("/orders/{id}/note")).await.expect(200).body["changed_at"], Value::Null);
}
