//! A test module that calls another module. Each must have its own database, although both share the Wasmtime store of a compartment.
#![cfg(target_arch = "wasm32")]

mod bindings;

use bindings::exports::test::pair::pair::Guest;
use bindings::test::probe::{acts, raw};
use bindings::wasi::config::store;
use bindings::watertight::sql::sql::{self, Row, Transaction, Value};

const WRITE: &str = "INSERT INTO note (text) VALUES (?1)";
const READ: &str = "SELECT text FROM note ORDER BY id";

/// The type that implements the component's exports.
pub(crate) struct Component;

impl Guest for Component {
    fn write_both(own: String, other: String) -> (Vec<String>, Vec<String>) {
        sql::execute(WRITE, &[Value::Text(own)]).expect("its own table takes a note");
        raw::execute(WRITE, &[Value::Text(other)]).expect("the other module's table takes a note");
        let own = sql::query(READ, &[]).expect("its own table is there");
        let other = raw::query(READ, &[]).expect("the other module's table is there");
        (texts(own), texts(other))
    }

    fn write_within(own: String, other: String) -> String {
        let transaction = Transaction::begin().expect("nobody else writes here");
        transaction.execute(WRITE, &[Value::Text(own)]).expect("its own table takes a note");
        raw::execute(WRITE, &[Value::Text(other)]).expect("the other module's writer is another");
        match Transaction::commit(transaction) {
            Ok(()) => "committed".to_owned(),
            Err(error) => format!("{error:?}"),
        }
    }

    fn trap_other() {
        acts::trap();
    }

    fn configured(key: String) -> (Option<String>, Vec<String>) {
        let keys = store::get_all().expect("values in memory are there").into_iter().map(|(key, _)| key);
        (store::get(&key).expect("values in memory are there"), keys.collect())
    }
}

fn texts(rows: Vec<Row>) -> Vec<String> {
    let text = |row: Vec<Value>| match row.into_iter().next() {
        Some(Value::Text(text)) => text,
        other => format!("{other:?}"),
    };
    rows.into_iter().map(text).collect()
}
