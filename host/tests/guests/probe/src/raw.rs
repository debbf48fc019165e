//! Functions that let a test run SQL statements and transactions in the module's database.

use std::cell::RefCell;

use crate::Component;
use crate::acts::wait;
use crate::bindings::exports::test::probe::raw::{Guest, Step};
use crate::bindings::watertight::sql::sql::{self, ConstraintViolation, Error, Row, Transaction, Value};

thread_local! {
    /// A transaction that a call has left open, for later calls.
    static KEPT: RefCell<Option<Transaction>> = const { RefCell::new(None) };
}

impl Guest for Component {
    fn query(statement: String, parameters: Vec<Value>) -> Result<Vec<Row>, Error> {
        sql::query(&statement, &parameters)
    }

    fn execute(statement: String, parameters: Vec<Value>) -> Result<u64, Error> {
        sql::execute(&statement, &parameters)
    }

    fn script(steps: Vec<Step>) -> Vec<String> {
        let mut script = Script { open: Vec::new(), committed: None };
        let said = steps.into_iter().map(|step| script.step(step)).collect();
        // The open transactions are leaked on purpose: the host has to end them.
        script.open.into_iter().for_each(std::mem::forget);
        said
    }
}

struct Script {
    /// The open transactions of the script. The last one is the one that statements use.
    open: Vec<Transaction>,
    committed: Option<u32>,
}

impl Script {
    fn step(&mut self, step: Step) -> String {
        match step {
            Step::Begin => said(Transaction::begin().map(|transaction| self.open.push(transaction)), done),
            Step::Query(statement) => said(self.current().query(&statement, &[]), count),
            Step::Execute(statement) => said(self.current().execute(&statement, &[]), |changed| changed.to_string()),
            Step::ExecuteOutside(statement) => said(sql::execute(&statement, &[]), |changed| changed.to_string()),
            Step::QueryOutside(statement) => said(sql::query(&statement, &[]), count),
            Step::Commit => {
                let transaction = self.open.pop().expect("a script commits what it has begun");
                self.committed = Some(transaction.handle());
                said(Transaction::commit(transaction), done)
            }
            Step::Drop => {
                drop(self.open.pop());
                done(())
            }
            Step::UseCommitted => {
                let handle = self.committed.expect("a script uses what it has committed");
                said(forge(handle).query("SELECT 1", &[]), count)
            }
            Step::Wait(milliseconds) => {
                wait(milliseconds);
                done(())
            }
            Step::Keep => {
                let before = KEPT.replace(self.open.pop());
                std::mem::forget(before);
                done(())
            }
            Step::Take => {
                self.open.extend(KEPT.take());
                done(())
            }
            Step::Trap => panic!("as asked for"),
        }
    }

    fn current(&self) -> &Transaction {
        self.open.last().expect("a script uses what it has begun")
    }
}

#[allow(unsafe_code)]
fn forge(handle: u32) -> Transaction {
    // SAFETY: none. A malicious module does this. The engine answers with a trap.
    unsafe { Transaction::from_handle(handle) }
}

fn done((): ()) -> String {
    "ok".to_owned()
}

#[expect(clippy::needless_pass_by_value, reason = "what a query returned, passed on")]
fn count(rows: Vec<Row>) -> String {
    rows.len().to_string()
}

fn said<T>(outcome: Result<T, Error>, show: impl FnOnce(T) -> String) -> String {
    match outcome {
        Ok(value) => show(value),
        Err(Error::Constraint(ConstraintViolation { kind, detail })) => format!("constraint {kind:?} {detail}"),
        Err(Error::Syntax(reason)) => format!("syntax {reason}"),
        Err(Error::Busy) => "busy".to_owned(),
        Err(Error::Timeout) => "timeout".to_owned(),
        Err(Error::TooLarge) => "too-large".to_owned(),
        Err(Error::Closed) => "closed".to_owned(),
        Err(Error::Storage(reason)) => format!("storage {reason}"),
    }
}
