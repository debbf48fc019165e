//! Tests of when `watertight dev` deletes a database and creates it again, and when it doesn't.

use watertight_testkit::components;

use super::*;

/// `dev` does not treat a renamed migration as an edited one. It refuses a migration that is inserted before applied ones. In both cases,
/// no row of the database is lost.
#[test]
fn no_database_is_removed_for_a_name_or_for_what_was_put_between() {
    const THIRD: (&str, &str) = ("0003_c.sql", "CREATE TABLE c (id INTEGER)");
    const BETWEEN: (&str, &str) = ("0002_b.sql", "CREATE TABLE b (id INTEGER)");
    let mut author = tags();
    author.write("app.toml", format!("{TAGS_MANIFEST}uses = [\"sql\"]\n"));
    author.write("tags.wasm", with_data(&[FIRST, THIRD]));
    let state = author.path(".watertight-dev");
    author.start();
    author.serves();
    let row = |sql: &str| rusqlite::Connection::open(state.join("data/tags.db")).unwrap().execute_batch(sql).unwrap();
    row("INSERT INTO c VALUES (7)");
    author.write("tags.wasm", with_data(&[FIRST, BETWEEN, THIRD]));
    // The watcher may find a half-written file first.
    let said =
        author.hears(&["`0002_b.sql` stands before `0003_c.sql`"]) + &author.hears(&["failed tags.wasm: refused"]);
    assert!(!said.contains("was removed"), "{said}");
    // The help asks for a higher number. Other migrations may be renamed in the same edit.
    author.write("tags.wasm", with_data(&[FIRST, ("0002_c.sql", THIRD.1), ("0004_b.sql", BETWEEN.1)]));
    let said = author.hears(&["live tags.wasm: put in place in "]);
    assert!(!said.contains("was removed"), "{said}");
    row("UPDATE c SET id = 8 WHERE id = 7");
    assert_eq!(tables(&state), ["a", "b", "c"]);
    author.stop();
}

/// A build with an edited migration replaces the database of the running build, but does not start. Undoing the edit brings the database
/// back.
#[test]
fn a_database_that_was_made_anew_in_vain_is_there_again_once_the_edit_is_undone() {
    let mut author = tags();
    author.write("app.toml", format!("{TAGS_MANIFEST}uses = [\"keyvalue\"]\n"));
    let core = "(module (func (export \"t:tags/tags@1.0.0#tag\") (result i32) (i32.const 1))
        (func $start unreachable) (start $start))";
    let trapping = components::component_of(TAGS, "tags-world", core);
    let counts = counting();
    author.write("tags.wasm", with_migrations(counts.clone(), &[FIRST]));
    author.start();
    let address = author.serves();
    assert_eq!(get(address, "/tag"), (200, "1".to_owned()));
    author.write("tags.wasm", with_migrations(trapping, &[("0001_a.sql", "CREATE TABLE b (id INTEGER)")]));
    author.hears(&["failed tags.wasm: refused"]);
    author.write("tags.wasm", with_migrations(counts, &[FIRST]));
    author.hears(&["live tags.wasm: put in place in ", "generation 2 serves"]);
    assert_eq!(get(address, "/tag"), (200, "1".to_owned()));
    assert_eq!(tables(&author.path(".watertight-dev")), ["a"]);
    author.stop();
}

/// Returns a component with key-value data. Its function `tag` returns 1 if the data can be read, and 0 otherwise.
fn counting() -> Vec<u8> {
    let wit = format!(
        "{TAGS} world counting-world {{ import wasi:keyvalue/store@0.2.0-draft2; export tags; }}
         package wasi:keyvalue@0.2.0-draft2 {{
             interface store {{
                 variant error {{ no-such-store, access-denied, other(string) }}
                 record key-response {{ keys: list<string>, cursor: option<string> }}
                 open: func(identifier: string) -> result<bucket, error>;
                 resource bucket {{
                     get: func(key: string) -> result<option<list<u8>>, error>;
                     set: func(key: string, value: list<u8>) -> result<_, error>;
                     delete: func(key: string) -> result<_, error>;
                     exists: func(key: string) -> result<bool, error>;
                     list-keys: func(cursor: option<string>) -> result<key-response, error>;
                 }}
             }}
         }}"
    );
    let core = r#"(module
        (import "wasi:keyvalue/store@0.2.0-draft2" "open" (func $open (param i32 i32 i32)))
        (import "wasi:keyvalue/store@0.2.0-draft2" "[method]bucket.exists" (func $exists (param i32 i32 i32 i32)))
        (memory (export "memory") 1)
        (data (i32.const 8) "b")
        (global $free (mut i32) (i32.const 1024))
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (global.get $free)
            (global.set $free (i32.add (global.get $free) (i32.add (local.get 3) (i32.const 8)))))
        (func (export "t:tags/tags@1.0.0#tag") (result i32)
            (call $open (i32.const 8) (i32.const 1) (i32.const 16))
            (call $exists (i32.load (i32.const 20)) (i32.const 8) (i32.const 1) (i32.const 64))
            (i32.eqz (i32.load8_u (i32.const 64)))))"#;
    components::component_of(&wit, "counting-world", core)
}
