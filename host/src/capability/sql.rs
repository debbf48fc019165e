//! `watertight:sql`: the calling module's own database.
//!
//! Nothing is decided here but whose database it is and which transaction a handle means; the rules of SQL are `database`'s.

use wasmtime::component::Resource;

use super::bindings::named_imports::watertight::sql::sql::{Host, HostTransaction};
use super::bindings::watertight::sql::sql as wit;
use crate::database::{ConstraintKind, Database, Rows, SqlError, Value};
use crate::store::{InstanceState, ModuleIndex};

type Answer<T> = wasmtime::Result<Result<T, wit::Error>>;

impl InstanceState {
    fn database(&self, module: ModuleIndex) -> wasmtime::Result<Database> {
        // Linking refuses an import of SQL without a grant, and a grant opens a database: this can't be missing.
        self.module(module).database.clone().ok_or_else(|| wasmtime::Error::msg("the module has no database"))
    }
}

impl Host for InstanceState {
    async fn query(
        &mut self,
        module: ModuleIndex,
        statement: String,
        parameters: Vec<wit::Value>,
    ) -> Answer<Vec<wit::Row>> {
        let database = self.database(module)?;
        let rows = database.query(&statement, values(parameters), self.call().deadline).await;
        Ok(rows.map(into_rows).map_err(into_error))
    }

    async fn execute(&mut self, module: ModuleIndex, statement: String, parameters: Vec<wit::Value>) -> Answer<u64> {
        // The writer is this call's own while it has a transaction: it would wait for itself.
        if self.has_transaction(module) {
            return Ok(Err(wit::Error::Busy));
        }
        let database = self.database(module)?;
        let changed = database.execute(&statement, values(parameters), self.call().deadline).await;
        Ok(changed.map_err(into_error))
    }
}

impl HostTransaction for InstanceState {
    async fn begin(&mut self, module: ModuleIndex) -> Answer<Resource<wit::Transaction>> {
        if self.has_transaction(module) {
            return Ok(Err(wit::Error::Busy));
        }
        let database = self.database(module)?;
        match database.begin(self.call().deadline).await {
            Ok(transaction) => Ok(Ok(Resource::new_own(self.add_transaction(module, transaction)))),
            Err(error) => Ok(Err(into_error(error))),
        }
    }

    async fn query(
        &mut self,
        module: ModuleIndex,
        transaction: Resource<wit::Transaction>,
        statement: String,
        parameters: Vec<wit::Value>,
    ) -> Answer<Vec<wit::Row>> {
        let Some(transaction) = self.transaction(module, transaction.rep()) else {
            return Ok(Err(wit::Error::Closed));
        };
        Ok(transaction.query(&statement, values(parameters)).await.map(into_rows).map_err(into_error))
    }

    async fn execute(
        &mut self,
        module: ModuleIndex,
        transaction: Resource<wit::Transaction>,
        statement: String,
        parameters: Vec<wit::Value>,
    ) -> Answer<u64> {
        let Some(transaction) = self.transaction(module, transaction.rep()) else {
            return Ok(Err(wit::Error::Closed));
        };
        Ok(transaction.execute(&statement, values(parameters)).await.map_err(into_error))
    }

    async fn commit(&mut self, module: ModuleIndex, transaction: Resource<wit::Transaction>) -> Answer<()> {
        match self.take_transaction(module, transaction.rep()) {
            Some(transaction) => Ok(transaction.commit().await.map_err(into_error)),
            None => Ok(Err(wit::Error::Closed)),
        }
    }

    async fn drop(&mut self, module: ModuleIndex, transaction: Resource<wit::Transaction>) -> wasmtime::Result<()> {
        // A handle from an earlier call has nothing behind it any more.
        if let Some(transaction) = self.take_transaction(module, transaction.rep()) {
            // What it has read must be on the disk before the guest can tell anybody; if that fails, it can't.
            transaction.rollback().await?;
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
        SqlError::TooLarge => wit::Error::TooLarge,
        SqlError::Closed => wit::Error::Closed,
        SqlError::Storage(detail) => wit::Error::Storage(detail),
    }
}
