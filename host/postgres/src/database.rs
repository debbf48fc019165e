//! One module's database on a server: its schema, through the module's login role.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use tokio_postgres::Statement;
use watertight_model::config::SqlLimits;
use watertight_sql::{Rows, SqlError, SqlLimit, Value};

use super::connect::Endpoint;
use super::error::{UNKNOWN, UniqueColumns, is_lost, is_retried, is_stale, translate};
use super::lease::{Connections, Lease};
use super::policy::{self, Allowed};
use super::roles::ModuleRoles;
use super::settings::Settings;
use super::transaction::{OpenTransactions, Transaction};
use super::value::{Parameter, Raw, decode};

/// The wait before a statement runs again that others were in the way of. It doubles up to the second number.
const RETRY: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// The names of the module's enums and domains, but for those that the catalogue has too.
const TYPES: &str = "SELECT t.typname::text FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE n.nspname = $1 AND t.typtype IN ('e', 'd') AND NOT EXISTS (SELECT FROM pg_type c
        WHERE c.typnamespace = 'pg_catalog'::regnamespace AND c.typname = t.typname)";

/// The columns of each unique index of the module.
const UNIQUE: &str =
    "SELECT i.relname::text, string_agg(t.relname || '.' || coalesce(a.attname, ''), ', ' ORDER BY k.place)
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
    JOIN pg_namespace n ON n.oid = i.relnamespace
    CROSS JOIN LATERAL unnest(x.indkey::int2[]) WITH ORDINALITY AS k (number, place)
    LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.number
    WHERE n.nspname = $1 AND x.indisunique AND k.place <= x.indnkeyatts GROUP BY i.relname";

/// A module's database. Clones are handles of one database.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
    limits: SqlLimits,
}

pub(crate) struct Inner {
    connections: Connections,
    pub(crate) settings: Settings,
    schema: String,
    /// What the policy and the errors need to know of the schema.
    known: RwLock<Arc<Known>>,
    /// The statements that the policy has allowed, by the module's own text.
    allowed: Mutex<HashMap<String, Arc<Allowed>>>,
    pub(crate) open: OpenTransactions,
}

#[derive(Default)]
struct Known {
    types: Vec<String>,
    columns: UniqueColumns,
}

/// The reason why a statement failed, before it is translated.
pub(crate) enum Failure {
    Server(tokio_postgres::Error),
    Own(SqlError),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Failure::Server(error)
    }
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        Failure::Own(error)
    }
}

impl Database {
    /// Connects to a module's schema as its login role.
    ///
    /// # Errors
    /// `Storage` if no connection can be made.
    pub async fn open(
        endpoint: &Endpoint,
        roles: &ModuleRoles,
        password: Option<&str>,
        settings: Settings,
    ) -> Result<Self, SqlError> {
        let config = endpoint.session(&roles.login, password, roles.schema(), &settings);
        let inner = Arc::new(Inner {
            connections: Connections::new(config, endpoint.tls.clone(), &settings),
            schema: roles.schema().to_owned(),
            known: RwLock::default(),
            allowed: Mutex::default(),
            open: OpenTransactions::default(),
            settings,
        });
        let database = Self { limits: inner.settings.limits, inner };
        database.learn_schema().await?;
        OpenTransactions::watch(&database.inner);
        Ok(database)
    }

    /// Reads what the schema has now, and forgets prepared statements. To be called after each migration.
    ///
    /// # Errors
    /// `Storage` if the server can't be asked.
    pub async fn learn_schema(&self) -> Result<(), SqlError> {
        let settings = &self.inner.settings;
        let deadline = Instant::now() + settings.connect + settings.limits.time;
        let mut lease = self.inner.connections.take(deadline).await?;
        lease.begin();
        let schema = &self.inner.schema;
        let asked = async {
            let types = lease.query(TYPES, &[schema]).await?;
            let columns = lease.query(UNIQUE, &[schema]).await?;
            Ok::<_, tokio_postgres::Error>(Known {
                types: types.iter().map(|row| row.get(0)).collect(),
                columns: columns.iter().map(|row| (row.get(0), row.get(1))).collect(),
            })
        };
        let known = tokio::time::timeout_at(deadline.into(), asked).await.map_err(|_| SqlError::Timeout)?;
        let known = known.map_err(|error| translate(&error, &UniqueColumns::new()))?;
        lease.end();
        *self.inner.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
        self.inner.allowed.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.inner.connections.forget_statements();
        Ok(())
    }

    /// Returns a handle of this database whose statements have the given limits.
    pub fn with_limits(&self, limits: SqlLimits) -> Self {
        Self { limits, ..self.clone() }
    }

    /// The limits of every statement that is run through this handle.
    pub fn limits(&self) -> &SqlLimits {
        &self.limits
    }

    /// Runs one read-only statement and returns its rows.
    ///
    /// # Errors
    /// Any [`SqlError`] except `Constraint`. `Timeout` if `deadline` passes, also during a wait.
    pub async fn query(&self, sql: &str, parameters: Vec<Value>, deadline: Instant) -> Result<Rows, SqlError> {
        let allowed = self.allow(sql, &parameters).await?;
        if allowed.writes {
            return Err(SqlError::Syntax("outside a transaction `query` takes a statement that only reads".to_owned()));
        }
        if allowed.locks {
            return Err(SqlError::Syntax("outside a transaction a statement can't lock rows".to_owned()));
        }
        self.alone(&allowed, parameters, deadline).await
    }

    /// Runs one writing statement in a transaction of its own and returns the number of changed rows.
    ///
    /// # Errors
    /// Any [`SqlError`]. Nothing was changed then, except that the outcome is unknown for a `Storage` that says so.
    pub async fn execute(&self, sql: &str, parameters: Vec<Value>, deadline: Instant) -> Result<u64, SqlError> {
        let allowed = self.allow(sql, &parameters).await?;
        if !allowed.writes {
            return Err(SqlError::Syntax("`execute` takes a statement that writes".to_owned()));
        }
        self.alone(&allowed, parameters, deadline).await
    }

    /// Opens a transaction once a connection is free. `deadline` bounds this wait, and the transaction after it.
    ///
    /// # Errors
    /// `Busy` if too many wait; `Timeout`; `Closed`; `Storage`.
    pub async fn begin(&self, deadline: Instant) -> Result<Transaction, SqlError> {
        let lease = self.inner.connections.take(deadline).await?;
        Ok(Transaction::new(lease, self.clone(), deadline))
    }

    /// Closes the database: it accepts no more statements. Those that run go on to their end.
    pub fn close(&self) {
        self.inner.connections.close();
    }

    pub(crate) fn open_transactions(&self) -> &OpenTransactions {
        &self.inner.open
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// Asks the policy about a statement, and checks the parameters' number and size.
    pub(crate) async fn allow(&self, sql: &str, parameters: &[Value]) -> Result<Arc<Allowed>, SqlError> {
        let settings = &self.inner.settings;
        if sql.len() > settings.max_statement_bytes {
            return Err(SqlLimit::Text(settings.max_statement_bytes).into());
        }
        let mut total = 0_u64;
        for value in parameters {
            total = total.saturating_add(weight(value));
            if payload(value) > settings.max_value_bytes {
                return Err(SqlLimit::Value(settings.max_value_bytes).into());
            }
        }
        if total > self.limits.bytes {
            return Err(SqlLimit::Bytes(self.limits.bytes).into());
        }
        let known = self.inner.allowed.lock().unwrap_or_else(PoisonError::into_inner).get(sql).cloned();
        let allowed = match known {
            Some(allowed) => allowed,
            None => self.judge(sql).await?,
        };
        let (takes, given) = (usize::from(allowed.parameters), parameters.len());
        if takes != given {
            return Err(SqlError::Syntax(format!("the statement takes {takes} parameters, and {given} were given")));
        }
        Ok(allowed)
    }

    /// Asks the policy about a statement that it has not seen.
    async fn judge(&self, sql: &str) -> Result<Arc<Allowed>, SqlError> {
        let (text, known) = (sql.to_owned(), self.known());
        let judged = tokio::task::spawn_blocking(move || policy::check_call(&text, &known.types)).await;
        let judged = judged.map_err(|_| SqlError::Storage("the database failed".to_owned()))?;
        let allowed = Arc::new(judged.map_err(|refusal| SqlError::Syntax(refusal.to_string()))?);
        let mut cache = self.inner.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= self.inner.settings.cached_statements {
            cache.clear();
        }
        cache.insert(sql.to_owned(), allowed.clone());
        Ok(allowed)
    }

    fn known(&self) -> Arc<Known> {
        self.inner.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Translates an error for the guest.
    pub(crate) fn translate(&self, error: &tokio_postgres::Error) -> SqlError {
        translate(error, &self.known().columns)
    }

    /// The latest end of a statement that begins now, and the time limit if that sets the end.
    pub(crate) fn due(&self, deadline: Instant) -> (Instant, SqlError) {
        match Instant::now().checked_add(self.limits.time) {
            Some(at) if at < deadline => (at, SqlLimit::Time(self.limits.time).into()),
            _ => (deadline, SqlError::Timeout),
        }
    }

    /// Runs a statement that is a transaction of its own, and again while others are in the way.
    async fn alone<T: Outcome>(
        &self,
        allowed: &Allowed,
        parameters: Vec<Value>,
        deadline: Instant,
    ) -> Result<T, SqlError> {
        let mut pause = RETRY.0;
        loop {
            let mut lease = self.inner.connections.take(deadline).await?;
            let (due, late) = self.due(deadline);
            lease.begin();
            // The values are needed again if others are in the way.
            let run = self.run::<T>(&lease, allowed, parameters.clone());
            let outcome = match tokio::time::timeout_at(due.into(), run).await {
                Ok(outcome) => outcome,
                // Dropping the lease ends the statement on the server.
                Err(_) => return Err(late),
            };
            let error = match outcome {
                Ok(value) => {
                    lease.end();
                    return Ok(value);
                }
                // The connection may still carry rows that nobody wants.
                Err(Failure::Own(error)) => return Err(error),
                Err(Failure::Server(error)) => error,
            };
            if is_lost(&error) {
                let unknown = || SqlError::Storage(UNKNOWN.to_owned());
                return Err(if allowed.writes { unknown() } else { self.translate(&error) });
            }
            lease.end();
            let stale = is_stale(&error);
            if stale {
                lease.statement_cache.clear();
            }
            drop(lease);
            if !(stale || is_retried(&error)) || Instant::now() + pause >= deadline {
                return Err(self.translate(&error));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY.1);
        }
    }

    /// Runs a statement on a connection. Prepares it there if it is new.
    pub(crate) async fn run<T: Outcome>(
        &self,
        client: &Lease,
        allowed: &Allowed,
        parameters: Vec<Value>,
    ) -> Result<T, Failure> {
        let cache = &client.statement_cache;
        if cache.size() >= self.inner.settings.cached_statements {
            cache.clear();
        }
        let statement = client.prepare_cached(&allowed.text).await?;
        if statement.params().len() != parameters.len() {
            // `?2` without `?1`.
            return Err(SqlError::Syntax("the statement has placeholders without a type".to_owned()).into());
        }
        let parameters = parameters.into_iter().zip(statement.params()).enumerate();
        let parameters = parameters.map(|(at, (value, kind))| Parameter::new(at + 1, value, kind));
        let parameters = parameters.collect::<Result<Vec<_>, _>>()?;
        T::run(client, &statement, &parameters, &self.limits).await
    }
}

/// What a statement is run for: its rows, or the number of rows that it changes.
pub(crate) trait Outcome: Sized {
    fn run(
        client: &Lease,
        statement: &Statement,
        parameters: &[Parameter],
        limits: &SqlLimits,
    ) -> impl Future<Output = Result<Self, Failure>> + Send;
}

impl Outcome for u64 {
    async fn run(
        client: &Lease,
        statement: &Statement,
        parameters: &[Parameter],
        _: &SqlLimits,
    ) -> Result<u64, Failure> {
        Ok(client.execute_raw(statement, parameters).await?)
    }
}

impl Outcome for Rows {
    async fn run(
        client: &Lease,
        statement: &Statement,
        parameters: &[Parameter],
        limits: &SqlLimits,
    ) -> Result<Rows, Failure> {
        let mut stream = std::pin::pin!(client.query_raw(statement, parameters).await?);
        let mut rows = Vec::new();
        let mut left = limits.bytes;
        while let Some(row) = stream.try_next().await? {
            if rows.len() >= limits.rows as usize {
                return Err(SqlError::from(SqlLimit::Rows(limits.rows)).into());
            }
            let mut values = Vec::with_capacity(row.len());
            for (index, column) in row.columns().iter().enumerate() {
                let value = match row.try_get::<_, Option<Raw<'_>>>(index)? {
                    None => Value::Null,
                    Some(raw) => {
                        decode(column.type_(), &raw).ok_or_else(|| formless(column.name(), column.type_().name()))?
                    }
                };
                let all = || SqlError::from(SqlLimit::Bytes(limits.bytes));
                left = left.checked_sub(weight(&value)).ok_or_else(all)?;
                values.push(value);
            }
            rows.push(values);
        }
        Ok(rows)
    }
}

/// The error for a value that has no form in `watertight:sql`.
fn formless(column: &str, kind: &str) -> SqlError {
    SqlError::Syntax(format!(
        "the column `{column}` has the type `{kind}`, whose value has no form here: cast it to text"
    ))
}

/// The bytes that a value holds beyond its fixed size.
fn payload(value: &Value) -> usize {
    match value {
        Value::Null | Value::Integer(_) | Value::Real(_) => 0,
        Value::Text(text) => text.len(),
        Value::Blob(bytes) => bytes.len(),
    }
}

/// The bytes that count against the limits, as for SQLite.
fn weight(value: &Value) -> u64 {
    (size_of::<Value>() + payload(value)) as u64
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("schema", &self.inner.schema).finish_non_exhaustive()
    }
}
