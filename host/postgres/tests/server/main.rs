//! The crate against a real server.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod catalogue;
mod denied;
mod statements;
mod transactions;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use watertight_postgres::policy::{Purpose, check, split_migration};
use watertight_postgres::roles::{Application, ModuleRoles};
use watertight_postgres::{Database, Endpoint, Protection, Settings};
use watertight_testkit_postgres::{ADMINISTRATOR, Server};

/// An application with two modules, in a database of its own on the shared server.
struct Shop {
    server: Arc<Server>,
    database: String,
    orders: ModuleRoles,
    payments: ModuleRoles,
}

impl Shop {
    fn new() -> Self {
        Self::on(Server::shared())
    }

    fn on(server: Arc<Server>) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        // Roles belong to the whole server, so each application has a name of its own.
        let name = format!("shop{}", NUMBER.fetch_add(1, SeqCst));
        server.create_database(&name);
        let module = |module| ModuleRoles::new(&name, module).unwrap();
        let (orders, payments) = (module("orders"), module("payments"));
        let shop = Self { server, database: name, orders, payments };
        shop.server.sql(&shop.database, &shop.application(|application| application.script()));
        shop
    }

    fn application<T>(&self, work: impl FnOnce(Application<'_>) -> T) -> T {
        let modules = [self.orders.clone(), self.payments.clone()];
        work(Application { database: &self.database, modules: &modules, verifier: None })
    }

    fn faults(&self) -> String {
        self.server.sql(&self.database, &self.application(|application| application.faults()))
    }

    /// Runs SQL as a role, in its schema.
    fn run(&self, role: &str, sql: &str) -> Result<String, String> {
        let schema = role.trim_end_matches("_owner");
        self.server.try_sql(role, &self.database, &format!("SET search_path = \"{schema}\", pg_temp; {sql}"))
    }

    /// Runs a migration of the module `orders` as the policy allows it.
    fn migrate(&self, sql: &str, types: &[String]) {
        for statement in split_migration(sql).unwrap() {
            let allowed = check(statement, Purpose::Migration, types).unwrap();
            self.run(&self.orders.owner, &allowed.text).unwrap_or_else(|error| panic!("{}: {error}", allowed.text));
        }
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::new(&self.server.url("nobody", &self.database), Protection::None).unwrap()
    }

    async fn open(&self, settings: Settings) -> Database {
        Database::open(&self.endpoint(), &self.orders, None, settings).await.unwrap()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // A failing test leaves sessions.
        let drop = format!("DROP DATABASE \"{}\" WITH (FORCE)", self.database);
        let _ = self.server.try_sql(ADMINISTRATOR, "postgres", &drop);
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}
