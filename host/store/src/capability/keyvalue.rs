//! The capability `wasi:keyvalue`: buckets of keys and values, stored in a table of the calling module's own database.
//!
//! Each operation is a SQL statement under the module's own limits and deadline. It therefore gives a module no access that the
//! capability `sql` would not give it.

use std::time::Instant;

use wasmtime::component::{HasSelf, Resource};

use super::sql::ModuleDatabase;
use super::{Capability, CapabilityLinker, ModuleContext, SharedData, declaration_of};
use crate::{InstanceState, ModuleIndex};
use bindings::named_imports::wasi::keyvalue::store::{Host, HostBucket};
use bindings::wasi::keyvalue::store::{Error, KeyResponse};
use watertight_model::config::capability::Declaration;
use watertight_model::ids::CapabilityName;
use watertight_model::problem::Problems;
use watertight_sql::{Rows, SqlError, SqlLimit, Value};

mod bindings {
    //! Host bindings, generated from the WIT file that guests are built against.
    #![allow(missing_docs, unreachable_pub, clippy::needless_pass_by_value)]

    wasmtime::component::bindgen!({
        path: "../../wit/keyvalue",
        inline: "package watertight:host; world capability { import wasi:keyvalue/store@0.2.0-draft2; }",
        world: "watertight:host/capability",
        imports: { default: async | trappable },
        named_imports: { "wasi:keyvalue/store@0.2.0-draft2": crate::ModuleIndex },
        with: { "wasi:keyvalue/store.bucket": crate::capability::keyvalue::Bucket },
    });
}

pub(super) struct Keyvalue;

impl Capability for Keyvalue {
    fn declaration(&self) -> Declaration {
        declaration_of(CapabilityName::KEYVALUE)
    }

    fn prepare(&self, module: &ModuleContext<'_>) -> Result<Option<SharedData>, Problems> {
        Ok(ModuleDatabase::of(module))
    }

    fn add_to_linker(&self, linker: &mut CapabilityLinker<'_>) -> wasmtime::Result<()> {
        let (linker, component, module) = linker.named();
        bindings::named_imports::wasi::keyvalue::store::add_to_linker::<_, HasSelf<_>>(
            linker,
            component,
            module,
            |state| state,
        )
    }
}

/// The longest name of a bucket, and the longest key, in bytes.
const MAX_NAME: usize = 1_024;
/// The bytes that a key of the greatest length counts for in a query result, which has a limit in bytes.
const MAX_KEY_WEIGHT: u64 = MAX_NAME as u64 + 64;
/// The largest number of keys that one call of `list-keys` returns.
const PAGE: u32 = 1_000;

const GET: &str = "SELECT value FROM watertight_keyvalue WHERE bucket = ?1 AND key = ?2";
const EXISTS: &str = "SELECT 1 FROM watertight_keyvalue WHERE bucket = ?1 AND key = ?2";
const SET: &str = "INSERT INTO watertight_keyvalue (bucket, key, value) VALUES (?1, ?2, ?3)
     ON CONFLICT (bucket, key) DO UPDATE SET value = excluded.value";
const DELETE: &str = "DELETE FROM watertight_keyvalue WHERE bucket = ?1 AND key = ?2";
const LIST: &str = "SELECT key FROM watertight_keyvalue WHERE bucket = ?1 ORDER BY key LIMIT ?2";
const LIST_FROM: &str = "SELECT key FROM watertight_keyvalue WHERE bucket = ?1 AND key > ?3 ORDER BY key LIMIT ?2";

type Answer<T> = wasmtime::Result<Result<T, Error>>;

/// The resource `bucket` of `wasi:keyvalue`: a bucket that a guest has opened.
#[expect(unreachable_pub, reason = "generated code names it again as public")]
pub struct Bucket {
    module: ModuleIndex,
    name: String,
}

impl InstanceState {
    /// Returns the name of an open bucket as a SQL parameter. Fails if the handle belongs to another module.
    fn bucket(&self, module: ModuleIndex, bucket: &Resource<Bucket>) -> wasmtime::Result<Value> {
        let bucket = self.resources().get(bucket)?;
        if bucket.module != module {
            return Err(wasmtime::Error::msg("the bucket belongs to another module"));
        }
        Ok(Value::Text(bucket.name.clone()))
    }

    /// Runs the query `sql` on the module's database, within the module's open transaction if there is one.
    async fn read(&mut self, module: ModuleIndex, sql: &str, parameters: Vec<Value>) -> Answer<Rows> {
        let (database, deadline, begun) = (self.database(module)?, self.call().deadline.time(), Instant::now());
        let rows = match self.transaction_of(module) {
            Some(transaction) => transaction.query(sql, parameters).await,
            None => database.query(sql, parameters, deadline).await,
        };
        self.count_statement(module, "query", begun, sql, rows.as_ref().err());
        Ok(rows.map_err(|error| self.keyvalue_error(module, error)))
    }

    /// Runs the writing statement `sql` on the module's database, within the module's open transaction if there is one.
    async fn write(&mut self, module: ModuleIndex, sql: &str, parameters: Vec<Value>) -> Answer<()> {
        let (database, deadline, begun) = (self.database(module)?, self.write_deadline(), Instant::now());
        let is_taken = self.has_transaction(module);
        let changed = match self.transaction_of(module) {
            Some(transaction) => transaction.execute(sql, parameters).await,
            // The transaction of a request on the same instance, which can't go on while this one waits.
            None if is_taken => Err(SqlError::Busy),
            None => database.execute(sql, parameters, deadline).await,
        };
        self.count_statement(module, "execute", begun, sql, changed.as_ref().err());
        Ok(changed.map(drop).map_err(|error| self.keyvalue_error(module, error)))
    }

    fn keyvalue_error(&mut self, module: ModuleIndex, error: SqlError) -> Error {
        self.record_sql_error(module, &error);
        Error::Other(match error {
            // The interface hides SQL, so these texts speak of keys and values instead of statements and rows.
            SqlError::Limit(SqlLimit::Value(bytes)) => format!("the value has more than {bytes} bytes"),
            SqlError::Limit(SqlLimit::Bytes(bytes)) => format!("the value or the keys have more than {bytes} bytes"),
            SqlError::Busy => "too many operations wait for the database".to_owned(),
            SqlError::Timeout | SqlError::Limit(SqlLimit::Time(_)) => "the operation took too long".to_owned(),
            error => error.to_string(),
        })
    }
}

impl Host for InstanceState {
    async fn open(&mut self, module: ModuleIndex, identifier: String) -> Answer<Resource<Bucket>> {
        if identifier.len() > MAX_NAME {
            return Ok(Err(Error::NoSuchStore));
        }
        // A guest that opens buckets without end reaches the table's capacity here; the error drops its instance.
        Ok(Ok(self.resources_mut().push(Bucket { module, name: identifier })?))
    }
}

impl HostBucket for InstanceState {
    async fn get(&mut self, module: ModuleIndex, bucket: Resource<Bucket>, key: String) -> Answer<Option<Vec<u8>>> {
        let bucket = self.bucket(module, &bucket)?;
        let rows = self.read(module, GET, vec![bucket, Value::Text(key)]).await?;
        Ok(rows.map(|rows| match rows.into_iter().flatten().next() {
            Some(Value::Blob(bytes)) => Some(bytes),
            _ => None,
        }))
    }

    async fn set(&mut self, module: ModuleIndex, bucket: Resource<Bucket>, key: String, value: Vec<u8>) -> Answer<()> {
        let bucket = self.bucket(module, &bucket)?;
        if key.len() > MAX_NAME {
            return Ok(Err(Error::Other(format!("a key has at most {MAX_NAME} bytes"))));
        }
        self.write(module, SET, vec![bucket, Value::Text(key), Value::Blob(value)]).await
    }

    async fn delete(&mut self, module: ModuleIndex, bucket: Resource<Bucket>, key: String) -> Answer<()> {
        let bucket = self.bucket(module, &bucket)?;
        self.write(module, DELETE, vec![bucket, Value::Text(key)]).await
    }

    async fn exists(&mut self, module: ModuleIndex, bucket: Resource<Bucket>, key: String) -> Answer<bool> {
        let bucket = self.bucket(module, &bucket)?;
        let rows = self.read(module, EXISTS, vec![bucket, Value::Text(key)]).await?;
        Ok(rows.map(|rows| !rows.is_empty()))
    }

    async fn list_keys(
        &mut self,
        module: ModuleIndex,
        bucket: Resource<Bucket>,
        cursor: Option<String>,
    ) -> Answer<KeyResponse> {
        let bucket = self.bucket(module, &bucket)?;
        let limits = *self.database(module)?.limits();
        // The page is small enough that even the longest keys stay below the limit of bytes for one result.
        let fitting = u32::try_from(limits.bytes / MAX_KEY_WEIGHT).unwrap_or(PAGE);
        let page = limits.rows.min(PAGE).min(fitting).max(1);
        let mut parameters = vec![bucket, Value::Integer(page.into())];
        let sql = if cursor.is_some() { LIST_FROM } else { LIST };
        parameters.extend(cursor.map(Value::Text));
        let rows = self.read(module, sql, parameters).await?;
        Ok(rows.map(|rows| {
            let keys: Vec<String> = rows.into_iter().flatten().filter_map(text).collect();
            let cursor = keys.last().filter(|_| keys.len() == page as usize).cloned();
            KeyResponse { keys, cursor }
        }))
    }

    async fn drop(&mut self, _: ModuleIndex, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.resources_mut().delete(bucket)?;
        Ok(())
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}
