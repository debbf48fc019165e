//! A page of another origin uses the shop: preflights, an order, an upload with progress, 304, a download and cookies. `trip.js` has the
//! steps.

use serde_json::json;
use watertight_testkit::app::{App, guest};
use watertight_testkit::host;

use crate::chromium::{drive, serve_page};

/// What the shop lacks: routes that give a cookie and take it, and a module that does its own HTTP behind a middleware.
const MORE_ROUTES: &str = r#"
[[mount]]
path = "/web"
module = "web"

[[middleware]]
path = "/web"
module = "guard"

[[route]]
method = "POST"
path = "/session"
call = "door/books.echo"
query = { text = "text" }
answer.cookies.session = { value = "{}" }

[[route]]
method = "GET"
path = "/session"
call = "door/requests.plain"
cookies = { a = "session" }
headers = { b = "X-Api-Key" }
"#;

/// Returns the tables of the modules of these routes.
fn more_modules() -> String {
    let (door, guard, web, probe) = (guest("door"), guest("passes"), guest("serves"), guest("probe"));
    format!(
        "[modules.door]\ncomponent = {door:?}\n\
         [modules.guard]\ncomponent = {guard:?}\nuses = [\"clocks\", \"config\"]\n\
         [modules.web]\ncomponent = {web:?}\ncalls = [\"probe\"]\nuses = [\"sql\", \"clocks\"]\n\
         [modules.probe]\ncomponent = {probe:?}\nuses = [\"sql\", \"logging\", \"clocks\"]\n"
    )
}

/// What pages of one origin may do.
fn rules(origin: &str) -> String {
    format!(
        r#"
[[cors]]
origins = ["{origin}"]
methods = ["GET", "POST", "PUT"]
headers = ["Content-Type", "Idempotency-Key", "If-None-Match", "X-Api-Key", "X-Middleware"]
expose = ["ETag", "Link", "Location"]
credentials = true
"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_uses_the_shop() {
    let (allowed, stranger) = (serve_page().await, serve_page().await);
    let settings = "[http]\ncompression = true\nopenapi = true\nsecurity_headers = true\n";
    let app = App::shop(&(more_modules() + settings)).routes(&(MORE_ROUTES.to_owned() + &rules(&allowed)));
    let host = app.launch().variable("WATERTIGHT_LOG", "info,request=debug").start();
    let facts = json!({ "shop": host.url(""), "allowed": allowed, "stranger": stranger });
    let files = host::folder();
    let report = drive("trip.js", facts, files.path()).await;

    // The host saw what the browser tells.
    let info = host.get("/products/tea/picture/info").await.expect(200);
    assert_eq!(info.body["digest"], report["digest"]);
    let ada = host.get("/orders?customer=ada").await.expect(200);
    assert_eq!(ada.body["items"].as_array().unwrap().len(), 1, "{ada:?}");
    assert_eq!(ada.body["items"][0]["id"], report["order"]);
    let eve = host.get("/orders?customer=eve").await.expect(200);
    assert_eq!(eve.body["items"], json!([]), "an origin that is not allowed placed an order");
    let log = host.log();
    let of_orders = |method: &str| {
        let is_request =
            |line: &&str| line.contains(&format!("method=\"{method}\"")) && line.contains("path=\"/orders\"");
        log.lines().filter(is_request).count()
    };
    // One preflight of each origin. The stranger's POST was never sent.
    assert_eq!((of_orders("OPTIONS"), of_orders("POST")), (2, 5), "{log}");
}
