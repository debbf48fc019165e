//! The running shop is tried by Schemathesis, which makes requests of the shop's own document and compares the answers with it.

use watertight_testkit::app::App;
use watertight_testkit::command::run;
use watertight_testkit::host;
use watertight_testkit::wire;

use crate::{folder, with_python_package};

/// The number of examples for each operation and phase, unless `SCHEMATHESIS_EXAMPLES` says another one.
const EXAMPLES: &str = "15";
/// The seed of all examples.
const SEED: &str = "18";

/// The smallest picture: one pixel.
const PICTURE: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x04\0\0\0\xb5\x1c\x0c\x02\0\0\0\x0bIDATx\xdacd`\0\0\0\x06\0\x020\x81\xd0/\0\0\0\0IEND\xaeB`\x82";

/// Returns a shop that serves its document and takes events of its payment provider.
fn shop() -> App {
    let settings = "[modules.payments.secrets]\nwebhook_key = { file = \"webhook-key\" }\n[http]\nopenapi = true\n";
    let app = App::shop(settings);
    std::fs::write(app.path().join("webhook-key"), "the-provider-signs-with-it").unwrap();
    app
}

#[test]
fn the_running_shop_answers_as_its_document_says() {
    let host = shop().launch().start();
    // The tester makes no picture by itself.
    let picture = wire::request("PUT", "/products/tea/picture", &[("content-type", "image/png")], PICTURE);
    wire::once(host.listen(), &picture).unwrap().expect(200);
    let examples = std::env::var("SCHEMATHESIS_EXAMPLES").unwrap_or_else(|_| EXAMPLES.to_owned());
    // The tester leaves files in its working folder.
    let files = host::folder();
    for name in ["schemathesis.toml", "hooks.py"] {
        std::fs::copy(folder().join("schemathesis").join(name), files.path().join(name)).unwrap();
    }
    let mut python = with_python_package("schemathesis");
    python.current_dir(files.path()).env("NO_PROXY", "127.0.0.1");
    python.args(["-m", "schemathesis.cli", "--config-file", "schemathesis.toml", "run", "--checks", "all"]);
    python.args(["--seed", SEED, "--max-examples", &examples, &host.url("/openapi.json")]);
    let said = run(&mut python);
    assert!(!said.err.contains("No module named"), "run `make tools-test`: {}", said.err);
    assert_eq!(said.code, 0, "{}\n{}\n{}", said.out, said.err, host.log());
    // A run that tried nothing finds nothing.
    assert!(said.out.contains("17 selected"), "{}", said.out);
}
