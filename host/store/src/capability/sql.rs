//! The capability `watertight:sql`: SQL on the calling module's own database.
//!
//! This folder only finds the database of the caller and the transaction of a handle. The crate `sql` enforces all rules of SQL.

mod database;
mod transactions;

use std::time::Duration;

use tokio::time::timeout;
use wasmtime::component::{HasSelf, Resource};

use super::{Capability, CapabilityLinker, ModuleContext, SharedData, declaration_of};
use crate::{InstanceState, ModuleIndex};
use bindings::named_imports::watertight::sql::sql::{Host, HostTransaction};
use bindings::watertight::sql::sql as wit;
use watertight_model::config::capability::Declaration;
use watertight_model::ids::CapabilityName;
use watertight_model::problem::Problems;
use watertight_sql::{ConstraintKind, Rows, SqlError, SqlLimit, Value};

pub(super) use database::ModuleDatabase;
use database::end;

mod bindings {
    //! Host bindings, generated from the WIT file that guests are built against.
    #![allow(missing_docs, unreachable_pub, clippy::needless_pass_by_value)]

    wasmtime::component::bindgen!({
        path: "../../wit/sql",
        inline: "package watertight:host; world capability { import watertight:sql/sql@1.0.0; }",
        world: "watertight:host/capability",
        imports: { default: async | trappable },
        named_imports: { "watertight:sql/sql@1.0.0": crate::ModuleIndex },
    });
}

/// The longest time for which a request that shares an instance waits for the writer of its database, and for its statement. The functions
/// of SQL are plain ones, so the wait holds up all requests on the instance.
const MAX_SHARED_WAIT: Duration = Duration::from_secs(1);

pub(super) struct Sql;

impl Capability for Sql {
    fn declaration(&self) -> Declaration {
        declaration_of(CapabilityName::SQL)
    }

    fn prepare(&self, module: &ModuleContext<'_>) -> Result<Option<SharedData>, Problems> {
        Ok(ModuleDatabase::of(module))
    }

    fn add_to_linker(&self, linker: &mut CapabilityLinker<'_>) -> wasmtime::Result<()> {
        let (linker, component, module) = linker.named();
        bindings::named_imports::watertight::sql::sql::add_to_linker::<_, HasSelf<_>>(
            linker,
            component,
            module,
            |state| state,
        )
    }
}

type Answer<T> = wasmtime::Result<Result<T, wit::Error>>;

impl Host for InstanceState {
    async fn query(
        &mut self,
        module: ModuleIndex,
        statement: String,
        parameters: Vec<wit::Value>,
    ) -> Answer<Vec<wit::Row>> {
        let database = self.database(module)?;
        let begun = self.start_statement(module, "query", Some(&statement));
        let rows = database.query(&statement, values(parameters), self.call().deadline.time()).await;
        Ok(self.finish_statement(module, begun, &statement, rows).map(into_rows).map_err(into_error))
    }

    async fn execute(&mut self, module: ModuleIndex, statement: String, parameters: Vec<wit::Value>) -> Answer<u64> {
        // An open transaction of this store holds the database's only writer: the statement would wait for its own call, or for one that
        // can't go on meanwhile.
        if self.has_transaction(module) {
            return Ok(Err(wit::Error::Busy));
        }
        let database = self.database(module)?;
        let begun = self.start_statement(module, "execute", Some(&statement));
        let changed = database.execute(&statement, values(parameters), self.write_deadline()).await;
        Ok(self.finish_statement(module, begun, &statement, changed).map_err(into_error))
    }
}

impl HostTransaction for InstanceState {
    async fn begin(&mut self, module: ModuleIndex) -> Answer<Resource<wit::Transaction>> {
        if self.has_transaction(module) {
            return Ok(Err(wit::Error::Busy));
        }
        let database = self.database(module)?;
        let begun = self.start_statement(module, "begin", None);
        let deadline = &self.call().deadline;
        let at = deadline.time();
        // What a plain call read in a transaction leaves the host with its answer, which waits until all of it is on the disk. What a
        // handler read may leave in the next piece of its answer.
        let is_revealed = deadline.moves();
        let lease = async { if is_revealed { database.begin_synced(at).await } else { database.begin(at).await } };
        let lease = match self.switch() {
            None => lease.await,
            Some(_) => timeout(MAX_SHARED_WAIT, lease).await.unwrap_or(Err(SqlError::Timeout)),
        };
        let lease = self.finish_statement(module, begun, "", lease).map_err(into_error);
        Ok(lease.map(|transaction| Resource::new_own(self.add_transaction(module, transaction))))
    }

    async fn query(
        &mut self,
        module: ModuleIndex,
        transaction: Resource<wit::Transaction>,
        statement: String,
        parameters: Vec<wit::Value>,
    ) -> Answer<Vec<wit::Row>> {
        let begun = self.start_statement(module, "query", Some(&statement));
        let rows = match self.transaction(module, transaction.rep()) {
            Some(transaction) => transaction.query(&statement, values(parameters)).await,
            None => Err(SqlError::Closed),
        };
        Ok(self.finish_statement(module, begun, &statement, rows).map(into_rows).map_err(into_error))
    }

    async fn execute(
        &mut self,
        module: ModuleIndex,
        transaction: Resource<wit::Transaction>,
        statement: String,
        parameters: Vec<wit::Value>,
    ) -> Answer<u64> {
        let begun = self.start_statement(module, "execute", Some(&statement));
        let changed = match self.transaction(module, transaction.rep()) {
            Some(transaction) => transaction.execute(&statement, values(parameters)).await,
            None => Err(SqlError::Closed),
        };
        Ok(self.finish_statement(module, begun, &statement, changed).map_err(into_error))
    }

    async fn commit(&mut self, module: ModuleIndex, transaction: Resource<wit::Transaction>) -> Answer<()> {
        let begun = self.start_statement(module, "commit", None);
        let committed = match self.take_transaction(module, transaction.rep()) {
            Some(transaction) => transaction.commit().await,
            None => Err(SqlError::Closed),
        };
        Ok(self.finish_statement(module, begun, "", committed).map_err(into_error))
    }

    async fn drop(&mut self, module: ModuleIndex, transaction: Resource<wit::Transaction>) -> wasmtime::Result<()> {
        // A handle that a guest kept from an earlier call has no transaction.
        if let Some(transaction) = self.take_transaction(module, transaction.rep()) {
            // The rollback makes durable what the transaction has read. If it fails, the call fails: the guest must not report those
            // values.
            let begun = self.start_statement(module, "rollback", None);
            let rolled_back = transaction.rollback().await;
            end(begun.span, &rolled_back);
            self.count_statement(module, begun.operation, begun.at, "", rolled_back.as_ref().err());
            rolled_back?;
        }
        Ok(())
    }
}

fn values(parameters: Vec<wit::Value>) -> Vec<Value> {
    parameters.into_iter().map(into_value).collect()
}

fn into_value(value: wit::Value) -> Value {
    match value {
        wit::Value::Null => Value::Null,
        wit::Value::Integer(number) => Value::Integer(number),
        wit::Value::Real(number) => Value::Real(number),
        wit::Value::Text(text) => Value::Text(text),
        wit::Value::Blob(bytes) => Value::Blob(bytes),
    }
}

fn from_value(value: Value) -> wit::Value {
    match value {
        Value::Null => wit::Value::Null,
        Value::Integer(number) => wit::Value::Integer(number),
        Value::Real(number) => wit::Value::Real(number),
        Value::Text(text) => wit::Value::Text(text),
        Value::Blob(bytes) => wit::Value::Blob(bytes),
    }
}

fn into_rows(rows: Rows) -> Vec<wit::Row> {
    rows.into_iter().map(|row| row.into_iter().map(from_value).collect()).collect()
}

fn into_error(error: SqlError) -> wit::Error {
    match error {
        SqlError::Constraint { kind, detail } => {
            let kind = match kind {
                ConstraintKind::Unique => wit::ConstraintKind::Unique,
                ConstraintKind::ForeignKey => wit::ConstraintKind::ForeignKey,
                ConstraintKind::NotNull => wit::ConstraintKind::NotNull,
                ConstraintKind::Check => wit::ConstraintKind::Check,
                ConstraintKind::Other => wit::ConstraintKind::Other,
            };
            wit::Error::Constraint(wit::ConstraintViolation { kind, detail })
        }
        SqlError::Syntax(detail) => wit::Error::Syntax(detail),
        SqlError::Busy => wit::Error::Busy,
        SqlError::Timeout => wit::Error::Timeout,
        SqlError::Limit(SqlLimit::Time(_)) => wit::Error::Timeout,
        SqlError::Limit(SqlLimit::Size(_)) => wit::Error::Storage("the database is full".to_owned()),
        SqlError::Limit(_) => wit::Error::TooLarge,
        SqlError::Closed => wit::Error::Closed,
        SqlError::Full => wit::Error::Storage(SqlError::Full.to_string()),
        SqlError::Storage(detail) => wit::Error::Storage(detail),
    }
}
