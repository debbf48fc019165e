//! The authorizer: it decides what a statement may do while SQLite prepares it.
//!
//! The rules are allow lists, so an action that a later SQLite adds is denied. Guests read and write rows of their own
//! tables. Only migrations change the schema, so that every build sees the same one. Only the host begins and ends
//! transactions and configures connections.

use rusqlite::hooks::{AuthAction, AuthContext};

/// On whose behalf a connection prepares statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Role {
    /// The host's own statements. Everything is allowed.
    Host,
    /// A migration of a module. Changes of rows and schema are allowed.
    Migration,
    /// A migration that must be additive. It may add to the schema but change no rows.
    Addition,
    /// A statement of a module at run time. Changes of rows are allowed.
    Guest,
}

impl Role {
    pub(super) fn from_u8(role: u8) -> Self {
        match role {
            0 => Role::Host,
            1 => Role::Migration,
            2 => Role::Addition,
            _ => Role::Guest,
        }
    }
}

/// The prefix of the host's tables and other objects. A module can't see, write or create an object with this prefix.
pub(super) const RESERVED: &str = "watertight_";

/// The reserved table whose rows a module may use: the data of `wasi:keyvalue`.
const KEYVALUE: &str = "watertight_keyvalue";

/// Functions that reach outside the database.
const DENIED_FUNCTIONS: &[&str] = &["load_extension", "fts3_tokenizer", "readfile", "writefile", "edit"];

/// Tables that SQLite generates and that show more than the module's own data.
const DENIED_TABLES: &[&str] = &["dbstat", "fts3tokenize"];

const SCHEMA: &str = "only migrations may change the schema";
const TRANSACTION: &str = "use the `transaction` resource to begin and end transactions";

/// The reason why a statement is denied.
#[derive(Debug)]
pub(super) struct Denial {
    /// The reason in words, for the statement's author.
    pub(super) reason: String,
    /// Whether a migration that is marked as a contraction may perform the denied action.
    pub(super) is_of_additions: bool,
}

/// Checks whether a statement in the role `role` may perform the action that SQLite describes in `context`.
pub(super) fn check(role: Role, context: &AuthContext<'_>) -> Result<(), Denial> {
    let always = |reason| Denial { reason, is_of_additions: false };
    match role {
        Role::Host => Ok(()),
        Role::Migration => check_migration(context).map_err(always),
        Role::Addition => {
            check_migration(context).map_err(always)?;
            check_addition(context).map_err(|reason| Denial { reason, is_of_additions: true })
        }
        Role::Guest => check_guest(context).map_err(always),
    }
}

fn check_guest(context: &AuthContext<'_>) -> Result<(), String> {
    match context.action {
        AuthAction::Select | AuthAction::Recursive => Ok(()),
        AuthAction::Read { table_name, .. }
        | AuthAction::Insert { table_name }
        | AuthAction::Update { table_name, .. }
        | AuthAction::Delete { table_name }
            if table_name.eq_ignore_ascii_case(KEYVALUE) =>
        {
            Ok(())
        }
        AuthAction::Read { table_name, .. } => readable(table_name),
        AuthAction::Function { function_name } => function(function_name),
        AuthAction::Insert { table_name }
        | AuthAction::Update { table_name, .. }
        | AuthAction::Delete { table_name } => {
            if has_prefix(table_name, "sqlite_") {
                Err(SCHEMA.to_owned())
            } else {
                not_reserved(table_name)
            }
        }
        action => Err(denial(&action)),
    }
}

fn check_migration(context: &AuthContext<'_>) -> Result<(), String> {
    match context.action {
        AuthAction::Select | AuthAction::Recursive => Ok(()),
        AuthAction::Function { function_name } => function(function_name),
        // A schema change writes to `sqlite_schema`. SQLite itself prevents direct writes to that table.
        AuthAction::Read { table_name, .. }
        | AuthAction::Insert { table_name }
        | AuthAction::Update { table_name, .. }
        | AuthAction::Delete { table_name }
        | AuthAction::CreateTable { table_name }
        | AuthAction::DropTable { table_name }
        | AuthAction::AlterTable { table_name, .. } => not_reserved(table_name),
        AuthAction::CreateIndex { index_name: name, table_name }
        | AuthAction::DropIndex { index_name: name, table_name }
        | AuthAction::CreateTrigger { trigger_name: name, table_name }
        | AuthAction::DropTrigger { trigger_name: name, table_name } => {
            not_reserved(name).and_then(|()| not_reserved(table_name))
        }
        AuthAction::CreateView { view_name } | AuthAction::DropView { view_name } => not_reserved(view_name),
        // Without a name, these apply to everything. Neither changes the contents of a table.
        AuthAction::Analyze { .. } | AuthAction::Reindex { .. } => Ok(()),
        // ALTER TABLE uses this pragma internally to check the rows.
        AuthAction::Pragma { pragma_name: "quick_check", .. } => Ok(()),
        action => Err(denial(&action)),
    }
}

/// Denies what an additive migration never needs. The comparison of the schemas before and after decides whether the rest
/// is an addition.
fn check_addition(context: &AuthContext<'_>) -> Result<(), String> {
    match context.action {
        AuthAction::Insert { table_name }
        | AuthAction::Update { table_name, .. }
        | AuthAction::Delete { table_name } => {
            if has_prefix(table_name, "sqlite_") {
                Ok(())
            } else {
                Err(format!("the migration changes rows of `{table_name}`"))
            }
        }
        AuthAction::CreateTrigger { .. } | AuthAction::CreateView { .. } => {
            Err("the migration creates a trigger or a view".to_owned())
        }
        AuthAction::DropTable { .. }
        | AuthAction::DropIndex { .. }
        | AuthAction::DropTrigger { .. }
        | AuthAction::DropView { .. } => Err("the migration removes a table, index, trigger or view".to_owned()),
        _ => Ok(()),
    }
}

/// The reason for denying an action that is on no allow list.
fn denial(action: &AuthAction<'_>) -> String {
    match action {
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => TRANSACTION.to_owned(),
        AuthAction::Attach { .. } | AuthAction::Detach { .. } => {
            "a module has one database: ATTACH, DETACH and VACUUM are denied".to_owned()
        }
        AuthAction::Pragma { pragma_name, .. } => format!("PRAGMA is denied: {pragma_name}"),
        AuthAction::CreateTempTable { .. }
        | AuthAction::CreateTempIndex { .. }
        | AuthAction::CreateTempTrigger { .. }
        | AuthAction::CreateTempView { .. }
        | AuthAction::DropTempTable { .. }
        | AuthAction::DropTempIndex { .. }
        | AuthAction::DropTempTrigger { .. }
        | AuthAction::DropTempView { .. } => "temporary objects are denied: connections are shared".to_owned(),
        AuthAction::CreateVtable { module_name, .. } | AuthAction::DropVtable { module_name, .. } => {
            format!("virtual tables are denied: {module_name}")
        }
        AuthAction::Unknown { code, .. } => format!("SQLite's action {code} is denied"),
        _ => SCHEMA.to_owned(),
    }
}

fn function(name: &str) -> Result<(), String> {
    if DENIED_FUNCTIONS.iter().any(|denied| denied.eq_ignore_ascii_case(name)) {
        Err(format!("the function `{name}` is denied"))
    } else {
        Ok(())
    }
}

fn readable(table: &str) -> Result<(), String> {
    if has_prefix(table, "sqlite_")
        || has_prefix(table, "pragma_")
        || DENIED_TABLES.iter().any(|d| d.eq_ignore_ascii_case(table))
    {
        return Err(format!("`{table}` can't be read"));
    }
    not_reserved(table)
}

fn not_reserved(name: &str) -> Result<(), String> {
    if has_prefix(name, RESERVED) {
        Err(format!("`{name}`: names that start with `{RESERVED}` are reserved for the host"))
    } else {
        Ok(())
    }
}

/// Whether `name` begins with `prefix`, without regard to ASCII case, as SQL compares names.
fn has_prefix(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}
