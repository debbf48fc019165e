//! The schema and the roles of each module, and the SQL that makes and checks them.
//!
//! A module has one schema and two roles. The owner runs its migrations, and owns what they make. The login role reads and
//! writes the rows of that schema. Neither may create databases or roles. One database belongs to one application.
//!
//! The SQL runs under an administrator, by the host or by hand. It can run again at any time: it changes only what is not
//! there yet, and passwords.

use super::lex::MAX_NAME;

/// Functions that reach beyond a module's own rows. [`Application::script`] takes them from everybody, where the administrator
/// may do that. The policy refuses them anyway.
const TAKEN_FUNCTIONS: &[&str] = &[
    "current_setting",
    "cursor_to_xml",
    "cursor_to_xmlschema",
    "database_to_xml",
    "database_to_xml_and_xmlschema",
    "database_to_xmlschema",
    "lo_close",
    "lo_creat",
    "lo_create",
    "lo_from_bytea",
    "lo_get",
    "lo_lseek",
    "lo_lseek64",
    "lo_open",
    "lo_put",
    "lo_tell",
    "lo_tell64",
    "lo_truncate",
    "lo_truncate64",
    "lo_unlink",
    "loread",
    "lowrite",
    "pg_advisory_lock",
    "pg_advisory_lock_shared",
    "pg_advisory_unlock",
    "pg_advisory_unlock_shared",
    "pg_advisory_xact_lock",
    "pg_advisory_xact_lock_shared",
    "pg_cancel_backend",
    "pg_export_snapshot",
    "pg_notify",
    "pg_sleep",
    "pg_sleep_for",
    "pg_sleep_until",
    "pg_terminate_backend",
    "pg_try_advisory_lock",
    "pg_try_advisory_lock_shared",
    "pg_try_advisory_xact_lock",
    "pg_try_advisory_xact_lock_shared",
    "query_to_xml",
    "query_to_xml_and_xmlschema",
    "query_to_xmlschema",
    "schema_to_xml",
    "schema_to_xml_and_xmlschema",
    "schema_to_xmlschema",
    "set_config",
    "table_to_xml",
    "table_to_xml_and_xmlschema",
    "table_to_xmlschema",
    "ts_rewrite",
    "ts_stat",
];

/// The names that belong to one module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleRoles {
    /// The schema, and the role that calls log in with.
    pub login: String,
    /// The role that migrations log in with.
    pub owner: String,
}

/// A module's roles would have a longer name than PostgreSQL allows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the role `{name}` would have more than {MAX_NAME} bytes: shorten the name of the application or of the module"
)]
pub struct LongRole {
    /// The name.
    pub name: String,
}

impl ModuleRoles {
    /// The names for the module `module` of the application `application`.
    ///
    /// # Errors
    /// Returns the longest name if it is too long.
    pub fn new(application: &str, module: &str) -> Result<Self, LongRole> {
        let login = format!("{application}_{module}");
        let owner = format!("{login}_owner");
        if owner.len() > MAX_NAME { Err(LongRole { name: owner }) } else { Ok(Self { login, owner }) }
    }

    /// The schema with the module's tables.
    pub fn schema(&self) -> &str {
        &self.login
    }
}

/// The roles of an application in its database.
#[derive(Debug, Clone)]
pub struct Application<'a> {
    /// The database.
    pub database: &'a str,
    /// The roles of its modules.
    pub modules: &'a [ModuleRoles],
    /// Returns the password verifier of a role: what PostgreSQL stores, not the password. `None` leaves passwords as they are.
    pub verifier: Option<fn(&str) -> String>,
}

impl Application<'_> {
    /// The SQL that makes the roles and schemas, for an administrator in the application's database. It has comments for who
    /// reads it before running it.
    pub fn script(&self) -> String {
        let database = quoted(self.database);
        let mut script = format!(
            "-- Makes the schemas and roles of an application's modules in the database {database}. It can run again.\n\
             -- Run it in that database, as a role that may create roles.\n\n\
             -- Nobody gets rights by being nobody in particular.\n\
             REVOKE ALL ON DATABASE {database} FROM PUBLIC;\n\
             REVOKE ALL ON SCHEMA public FROM PUBLIC;\n"
        );
        for module in self.modules {
            script.push_str(&self.module(module, &database));
        }
        script.push_str(&self.taken());
        script
    }

    fn module(&self, ModuleRoles { login, owner }: &ModuleRoles, database: &str) -> String {
        let (role, owner_role) = (quoted(login), quoted(owner));
        let mut script = format!("\n-- The module with the schema {role}\n");
        for name in [login, owner] {
            let (text, role) = (literal(name), quoted(name));
            script.push_str(&format!(
                "DO $$ BEGIN\n  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {text}) THEN\n    \
                 CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION;\n  END IF;\nEND $$;\n"
            ));
            if let Some(verifier) = self.verifier {
                script.push_str(&format!("ALTER ROLE {role} PASSWORD {};\n", literal(&verifier(name))));
            }
        }
        script.push_str(&format!(
            "GRANT CONNECT ON DATABASE {database} TO {role}, {owner_role};\n\
             -- A schema can be made for a role only by its members.\n\
             GRANT {owner_role} TO CURRENT_USER;\n\
             CREATE SCHEMA IF NOT EXISTS {role} AUTHORIZATION {owner_role};\n\
             REVOKE ALL ON SCHEMA {role} FROM PUBLIC;\n\
             GRANT USAGE ON SCHEMA {role} TO {role};\n\
             ALTER DEFAULT PRIVILEGES FOR ROLE {owner_role} IN SCHEMA {role}\n  \
             GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role};\n\
             ALTER DEFAULT PRIVILEGES FOR ROLE {owner_role} IN SCHEMA {role}\n  GRANT USAGE ON SEQUENCES TO {role};\n\
             REVOKE {owner_role} FROM CURRENT_USER;\n"
        ));
        script
    }

    /// A query with one row for each fault: a text. No row says that all is as [`script`](Self::script) makes it, apart from
    /// passwords and from the rights that only a superuser can take.
    pub fn faults(&self) -> String {
        let database = literal(self.database);
        let mut parts = vec![format!(
            "SELECT 'everybody may connect to the database' WHERE has_database_privilege('public', {database}, 'CONNECT')\n\
             UNION ALL SELECT 'everybody may make temporary tables' WHERE has_database_privilege('public', {database}, 'TEMP')"
        )];
        for ModuleRoles { login, owner } in self.modules {
            let (role, owner_role) = (literal(login), literal(owner));
            parts.push(format!(
                "SELECT 'the role ' || wanted || ' is missing' FROM unnest(ARRAY[{role}, {owner_role}]) AS wanted\n  \
                 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted)\n\
                 UNION ALL SELECT 'the role ' || rolname || ' has rights beyond its schema' FROM pg_roles\n  \
                 WHERE rolname IN ({role}, {owner_role}) AND (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication\n    \
                 OR rolbypassrls OR NOT rolcanlogin)\n\
                 UNION ALL SELECT 'the role ' || m.rolname || ' is a member of ' || r.rolname FROM pg_auth_members a\n  \
                 JOIN pg_roles m ON m.oid = a.member JOIN pg_roles r ON r.oid = a.roleid\n  \
                 WHERE m.rolname IN ({role}, {owner_role})\n\
                 UNION ALL SELECT 'the schema ' || {role} || ' is missing or belongs to another role'\n  \
                 WHERE NOT EXISTS (SELECT FROM pg_namespace n JOIN pg_roles o ON o.oid = n.nspowner\n    \
                 WHERE n.nspname = {role} AND o.rolname = {owner_role})\n\
                 UNION ALL SELECT 'the role ' || {role} || ' can create objects in the schema ' || n.nspname FROM pg_namespace n\n  \
                 WHERE n.nspname !~ '^pg_(toast|temp)' AND EXISTS (SELECT FROM pg_roles WHERE rolname = {role})\n    \
                 AND has_schema_privilege({role}, n.oid, 'CREATE')"
            ));
        }
        parts.join("\nUNION ALL ")
    }

    /// The part of the script that only a superuser can run. It says so instead of failing.
    fn taken(&self) -> String {
        let functions: Vec<String> = TAKEN_FUNCTIONS.iter().map(|name| literal(name)).collect();
        let owners: Vec<String> = self.modules.iter().map(|module| quoted(&module.owner)).collect();
        // Two hosts that start at once take turns by this lock.
        let kept = if owners.is_empty() {
            String::new()
        } else {
            format!("  GRANT EXECUTE ON FUNCTION pg_advisory_xact_lock(bigint) TO {};\n", owners.join(", "))
        };
        format!(
            "\n-- Takes functions that reach beyond a module's own rows from everybody, and code in the database. Only a superuser\n\
             -- can do that; where none is at hand, the host's own check of each statement is the wall.\n\
             DO $$ DECLARE taken regprocedure; BEGIN\n  \
             IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN\n    \
             RAISE NOTICE 'functions stay as they are, because % is no superuser', current_user;\n    RETURN;\n  END IF;\n  \
             FOR taken IN SELECT oid FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND proname IN (\n    {}\n  ) LOOP\n    \
             EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', taken);\n  END LOOP;\n{kept}  \
             REVOKE USAGE ON LANGUAGE plpgsql, sql FROM PUBLIC;\nEND $$;\n",
            functions.join(", ")
        )
    }
}

/// A name as SQL has it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL has it.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
