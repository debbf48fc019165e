//! A test module that stores values under keys, with `wasi:keyvalue`.
#![cfg(target_arch = "wasm32")]

mod bindings;

use std::fmt::Debug;

use bindings::exports::test::keeps::keeps::{Guest, Step};
use bindings::wasi::keyvalue::store::{self, Bucket};
use bindings::watertight::sql::sql::{self, Transaction};

/// The type that implements the component's exports.
pub(crate) struct Component;

impl Guest for Component {
    fn do_(bucket: String, steps: Vec<Step>) -> Vec<String> {
        let bucket = match store::open(&bucket) {
            Ok(bucket) => bucket,
            Err(error) => return vec![said(error)],
        };
        let mut transaction = None;
        steps.into_iter().map(|step| take(&bucket, &mut transaction, step)).collect()
    }
}

fn take(bucket: &Bucket, transaction: &mut Option<Transaction>, step: Step) -> String {
    match step {
        Step::Get(key) => {
            said(bucket.get(&key).map(|value| value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())))
        }
        Step::Set((key, value)) => said(bucket.set(&key, &value)),
        Step::Fill((key, bytes)) => said(bucket.set(&key, &vec![b'x'; bytes as usize])),
        Step::Delete(key) => said(bucket.delete(&key)),
        Step::Exists(key) => said(bucket.exists(&key)),
        Step::ListKeys(cursor) => said(bucket.list_keys(cursor.as_deref()).map(|page| (page.keys, page.cursor))),
        Step::Begin => said(Transaction::begin().map(|begun| *transaction = Some(begun))),
        Step::Execute(statement) => said(match transaction {
            Some(transaction) => transaction.execute(&statement, &[]),
            None => sql::execute(&statement, &[]),
        }),
        Step::Commit => said(transaction.take().map(Transaction::commit)),
        Step::RollBack => said(drop(transaction.take())),
        Step::Hoard(number) => {
            for _ in 0..number {
                std::mem::forget(store::open("hoard"));
            }
            String::new()
        }
    }
}

fn said(outcome: impl Debug) -> String {
    format!("{outcome:?}")
}
