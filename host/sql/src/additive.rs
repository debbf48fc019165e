//! Decides whether a migration only added to a schema, by comparing the schemas before and after it.
//!
//! The comparison uses what SQLite made of the statements, not their text. Three additions are accepted: tables with
//! their own indexes, columns at the end of a table, and indexes that are not unique. Everything else must stay
//! unchanged.

use std::collections::BTreeMap;

use rusqlite::Connection;

/// The tables, indexes, triggers and views of a database.
pub(super) struct Schema {
    /// The objects by type and name.
    objects: BTreeMap<(String, String), Object>,
}

#[derive(PartialEq, Eq)]
struct Object {
    /// The table that the object belongs to.
    table: String,
    /// The statement that SQLite stores for the object. `None` for an object that SQLite created by itself.
    sql: Option<String>,
    /// The number of the object's first page in the database file. A dropped and recreated table has another one.
    root: i64,
    /// The columns, if the object is a table.
    columns: Vec<Column>,
    /// Whether the object is a `STRICT` table.
    strict: bool,
    /// The properties of the index, if the object is one.
    index: Index,
}

#[derive(Default, PartialEq, Eq)]
struct Index {
    unique: bool,
    /// Whether the index computes an expression from a row. The computation may fail, and then the write of the row
    /// fails.
    computes: bool,
}

/// A column: name, type, whether it is NOT NULL, default, position in the primary key, and whether it is hidden or
/// generated.
type Column = (String, String, bool, Option<String>, i64, i64);

impl Schema {
    /// Reads the schema of a connection, including uncommitted changes of its transaction.
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut objects = BTreeMap::new();
        let mut found = connection.prepare("SELECT type, name, tbl_name, sql, rootpage FROM sqlite_schema")?;
        let rows =
            found.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), row.get(2)?, row.get(3)?, row.get(4)?)))?;
        for row in rows {
            let (key, table, sql, root): ((String, String), String, Option<String>, Option<i64>) = row?;
            let (columns, strict) = match key.0.as_str() {
                "table" => (columns(connection, &key.1)?, is_strict(connection, &key.1)?),
                _ => (Vec::new(), false),
            };
            let index = match key.0.as_str() {
                "index" => index(connection, &table, &key.1, sql.as_deref())?,
                _ => Index::default(),
            };
            objects.insert(key, Object { table, sql, root: root.unwrap_or_default(), columns, strict, index });
        }
        Ok(Self { objects })
    }

    /// Checks that `after`, a later schema, only adds to this one. The error is a sentence about the first other
    /// change.
    pub(super) fn check_additions(&self, after: &Schema) -> Result<(), String> {
        // Objects that SQLite created by itself follow their table.
        for ((kind, name), old) in self.objects.iter().filter(|(_, old)| old.sql.is_some()) {
            let Some(new) = after.objects.get(&(kind.clone(), name.clone())) else {
                return Err(format!("the migration removes or renames the {kind} `{name}`"));
            };
            if new != old {
                old.check_added_columns(new).map_err(|reason| format!("the migration {reason} the {kind} `{name}`"))?;
            }
        }
        for ((kind, name), new) in &after.objects {
            let is_new = !self.objects.contains_key(&(kind.clone(), name.clone()));
            let on_old_table = self.objects.contains_key(&("table".to_owned(), new.table.clone()));
            if is_new && on_old_table && new.index.unique {
                return Err(format!("the index `{name}` is unique, but other builds can write rows that violate it"));
            }
            if is_new && on_old_table && new.index.computes {
                return Err(format!(
                    "the {kind} `{name}` computes an expression, which can fail for rows that other builds write"
                ));
            }
        }
        Ok(())
    }
}

impl Object {
    /// Checks that `new` is this table with additional columns at its end that another build may ignore.
    fn check_added_columns(&self, new: &Object) -> Result<(), &'static str> {
        if new.root != self.root {
            return Err("replaces");
        }
        let (Some(old_sql), Some(new_sql)) = (&self.sql, &new.sql) else { return Err("changes") };
        if new.columns.get(..self.columns.len()) != Some(&self.columns[..]) || new.columns.len() == self.columns.len() {
            return Err("changes");
        }
        let added = &new.columns[self.columns.len()..];
        if added.iter().any(|(_, _, not_null, default, key, _)| *key != 0 || (*not_null && default.is_none())) {
            return Err("adds a column without a default to");
        }
        if added.iter().any(|(.., hidden)| *hidden != 0) {
            return Err("adds a computed column to");
        }
        // SQLite inserts an added column before the closing bracket, so the rest of the text shows what came with it. A
        // constraint there could refuse what another build writes.
        let shared = old_sql.bytes().zip(new_sql.bytes()).take_while(|(old, new)| old == new).count();
        let text = new_sql.get(shared..).unwrap_or(new_sql).to_ascii_uppercase();
        if ["CHECK", "REFERENCES"].iter().any(|word| text.contains(word)) {
            return Err("adds a column with a constraint to");
        }
        if !added.iter().all(|column| has_sound_default(column, self.strict)) {
            return Err("adds a column with a default that is not a constant of its type to");
        }
        Ok(())
    }
}

/// Whether rows can be written by statements that do not name the column.
///
/// SQLite checks a default only if the table has rows. A table that is empty here may have rows in the next database that
/// gets the migration. So the column is added to a table with a row in a separate database in memory.
fn has_sound_default((_, kind, not_null, default, ..): &Column, strict: bool) -> bool {
    // NOT NULL without a default is refused elsewhere.
    let Some(default) = default else { return true };
    let (kind, strict) = if strict { (kind.as_str(), " STRICT") } else { ("", "") };
    let not_null = if *not_null { " NOT NULL" } else { "" };
    let asked = || {
        let connection = Connection::open_in_memory()?;
        connection.execute_batch(&format!("CREATE TABLE t (a INTEGER){strict}; INSERT INTO t VALUES (1)"))?;
        connection.execute(&format!("ALTER TABLE t ADD COLUMN b {kind}{not_null} DEFAULT ({default}\n)"), [])?;
        connection.execute("INSERT INTO t (a) VALUES (2)", [])
    };
    asked().is_ok()
}

fn is_strict(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    let mut found = connection.prepare("SELECT strict FROM pragma_table_list WHERE schema = 'main' AND name = ?1")?;
    found.query_row([table], |row| row.get(0))
}

fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<Column>> {
    let mut found = connection
        .prepare("SELECT name, type, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?1) ORDER BY cid")?;
    let rows = found
        .query_map([table], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?)))?;
    rows.collect()
}

fn index(connection: &Connection, table: &str, name: &str, sql: Option<&str>) -> rusqlite::Result<Index> {
    let mut found = connection.prepare("SELECT \"unique\", partial FROM pragma_index_list(?1) WHERE name = ?2")?;
    let (unique, partial): (bool, bool) = found.query_row([table, name], |row| Ok((row.get(0)?, row.get(1)?)))?;
    // -2 marks an expression in place of a column.
    let mut found = connection.prepare("SELECT count(*) > 0 FROM pragma_index_xinfo(?1) WHERE cid = -2")?;
    let expressions: bool = found.query_row([name], |row| row.get(0))?;
    // SQLite tells that an index has a condition, but not what it contains. A comparison can't fail. A function may fail,
    // and its call has brackets.
    let condition = sql.and_then(|sql| sql.to_ascii_uppercase().split_once("WHERE").map(|(_, rest)| rest.to_owned()));
    let calls = partial && condition.is_none_or(|condition| condition.contains(['(', '-']));
    Ok(Index { unique, computes: expressions || calls })
}
