//! An operator reads the OpenAPI document on the page of the admin listener, and tries operations. `openapi.js` has the steps.

use serde_json::json;
use watertight_testkit::app::App;
use watertight_testkit::host;

use crate::chromium::drive;

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_the_document_tries_operations() {
    let app = App::shop("");
    let host = app.launch().start();
    let facts = json!({ "admin": host.admin_url(""), "listen": host.url(""), "token": host.token() });
    let files = host::folder();
    let report = drive("openapi.js", facts, files.path()).await;

    // The data listener has what the page tried.
    let orders = host.get("/orders?customer=page").await.expect(200);
    assert_eq!(orders.body["items"][0]["id"], report["order"]);
    assert!(files.path().join("openapi.png").is_file());
}
