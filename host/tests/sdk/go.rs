//! The library for Go.

use std::fs;

use super::{watertight, write_files};
use watertight_testkit::command::run;
use watertight_testkit::paths::repository;

#[test]
fn the_readme_s_module_works_outside_of_the_repository() {
    let folder = tempfile::tempdir().unwrap();
    let application = folder.path();
    assert_eq!(write_files("go", application), 8);
    // What `watertight wit add` would write.
    for package in ["sql/sql.wit", "logging/logging.wit"] {
        let file = application.join("wit").join(package);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::copy(repository().join("wit").join(package), file).unwrap();
    }
    // What `go mod tidy` would write.
    let sums = repository().join("modules/notifications-go/go.sum");
    fs::copy(sums, application.join("modules/book/go.sum")).unwrap();
    run(&mut watertight(application, &["sdk", "add", "go"])).expect(0);

    run(&mut watertight(application, &["build"])).expect(0);
    let entry = run(&mut watertight(application, &["call", "book/book.sign", "\"Ada\"", "\"hello\""])).expect(0);
    let signed = &entry.json()["ok"];
    assert_eq!((&signed["name"], &signed["text"]), (&"Ada".into(), &"hello".into()), "{}", entry.out);
    let long = format!("\"{}\"", "x".repeat(1001));
    let refused = run(&mut watertight(application, &["call", "book/book.sign", "\"Ada\"", &long]));
    assert!(refused.err.contains("too_long") || refused.out.contains("too_long"), "{}{}", refused.out, refused.err);
}
