//! Tests of the names of migrations, and of trials of migrations without data.

use watertight_sql::{MigrationOccasion, OpenError, applied_migrations, try_migrations};

use super::*;

/// The time limit of a trial here.
const LONG: Duration = Duration::from_secs(30);
/// A migration: its name and its text.
type Text<'a> = (&'a str, &'a str);

fn list(texts: &[Text<'_>]) -> Vec<Migration> {
    let own = texts.iter().map(|(name, sql)| Migration::new(*name, *sql));
    tables().into_iter().chain(own).collect()
}

fn open(case: &Case, texts: &[Text<'_>]) -> Result<Database, OpenError> {
    Database::open(&case.path(), Settings::default(), &list(texts))
}

/// Returns a closed database to which these migrations were applied.
async fn with(texts: &[Text<'_>]) -> Case {
    let case = Case::new();
    case.database.close().await;
    open(&case, texts).unwrap().close().await;
    case
}

const C: Text<'_> = ("0003_c.sql", "CREATE TABLE c (x)");
const D: Text<'_> = ("0005_d.sql", "CREATE TABLE d (x)");

#[tokio::test]
async fn numbers_are_there_unique_and_ascending() {
    let case = with(&[]).await;
    for (names, part) in [
        (["y.sql", ""], "has no number"),
        (["0003_a.sql", "0003_b.sql"], "`0003_a.sql` and `0003_b.sql` have the same number"),
        (["0001_z.sql", ""], "`0001_tables.sql` and `0001_z.sql` have the same number"),
        (["10_a.sql", "9_b.sql"], "whose number is higher"),
    ] {
        let named = names.iter().filter(|name| !name.is_empty());
        let texts: Vec<_> = named.map(|name| (*name, "CREATE TABLE IF NOT EXISTS c (x)")).collect();
        let error = open(&case, &texts).unwrap_err().to_string();
        assert!(error.contains(part), "{names:?}: {error}");
        assert_eq!(try_migrations(&list(&texts), None, MigrationOccasion::Start, LONG).unwrap_err().to_string(), error);
    }
    open(&case, &[C, D]).unwrap().close().await;
}

#[tokio::test]
async fn one_put_before_what_was_applied_is_told_by_its_own_name() {
    let case = with(&[C, D]).await;
    for between in [("0002_b.sql", 1), ("0003_bb.sql", 1), ("0004_cc.sql", 2)] {
        let mut texts = vec![C, D];
        texts.insert(between.1 - 1, (between.0, "CREATE TABLE between (x)"));
        if between.0.starts_with("0003") {
            texts[1].0 = "0004_c.sql";
        }
        let error = open(&case, &texts).unwrap_err();
        let OpenError::InsertedMigration { name, .. } = &error else { panic!("{error}") };
        assert_eq!(name, between.0);
    }
}

/// The names of applied migrations may change, and `-- contract` may be added, so that an operator can follow the helps.
#[tokio::test]
async fn a_name_may_change_and_the_word_contract_be_added() {
    let case = with(&[C, D]).await;
    let renamed = ("0004_c.sql", C.1);
    let marked = "-- contract\nCREATE TABLE d (x)";
    for texts in [
        &[renamed, D][..],
        &[C, D],
        &[C, (D.0, marked)],
        // Two migrations exchange their names.
        &[("0002_c.sql", C.1), ("0003_c.sql", D.1), ("0005_d.sql", "CREATE TABLE e (x)")],
    ] {
        for _ in 0..2 {
            open(&case, texts).unwrap().close().await;
        }
        let names: Vec<_> =
            applied_migrations(&case.path()).unwrap().unwrap().into_iter().map(|one| one.name).collect();
        let given: Vec<_> = list(texts).into_iter().map(|one| one.name).collect();
        assert_eq!(names, given);
    }
    let contractions =
        || applied_migrations(&case.path()).unwrap().unwrap().iter().filter(|one| one.contraction).count();
    assert_eq!(contractions(), 1);
    // The mark can't be removed from a migration that was applied with it.
    let case = with(&[(C.0, "-- contract\nCREATE TABLE c (x)")]).await;
    assert!(matches!(open(&case, &[C]).unwrap_err(), OpenError::ChangedMigration { .. }));
}

/// Returns the error of a trial of these migrations, or an empty text. The first `there` of them count as applied;
/// `None` means that there is no database.
fn tried(texts: &[Text<'_>], there: Option<usize>, occasion: MigrationOccasion) -> String {
    let given = list(texts);
    let applied = there.map(|count| {
        let one = |migration: &Migration| watertight_model::migration::AppliedMigration {
            name: migration.name.clone(),
            checksum: migration.checksum.to_string(),
            at: String::new(),
            contraction: migration.is_contraction(),
        };
        given[..count].iter().map(one).collect::<Vec<_>>()
    });
    try_migrations(&given, applied.as_deref(), occasion, LONG)
        .map_or_else(|error| error.to_string(), |()| String::new())
}

#[tokio::test]
async fn a_trial_says_what_a_start_and_a_change_would_say() {
    let serving = Case::new();
    for (sql, part) in [
        ("CREATE TABLE c (x)", ""),
        ("ALTER TABLE a ADD COLUMN note TEXT", ""),
        ("CREATE INDEX a_size ON a (size)", ""),
        ("DROP TABLE b", "doesn't say `-- contract`: the migration removes a table, index, trigger or view"),
        ("ALTER TABLE b DROP COLUMN late", "doesn't say `-- contract`"),
        ("ALTER TABLE a RENAME TO z", "removes or renames the table `a`"),
        ("UPDATE a SET size = 2", "changes rows of `a`"),
        ("CREATE UNIQUE INDEX a_size ON a (size)", "is unique"),
        ("not SQL", "syntax error (line 1)"),
        ("CREATE TABLE c (x);\nCREATE TABLE c (y)", "table c already exists"),
        ("CREATE TABLE c (x); SELECT missing FROM c", "no such column: missing"),
        ("PRAGMA user_version = 1", "failed: PRAGMA is denied"),
        ("CREATE TABLE watertight_c (x)", "failed: `watertight_c`"),
        ("-- contract\nDROP TABLE nowhere", "no such table"),
    ] {
        let texts = [("0002_step.sql", sql)];
        let said = tried(&texts, Some(1), MigrationOccasion::Start);
        assert!(said.contains(part) && said.is_empty() == part.is_empty(), "{sql}: {said}");
        // Without a database, the build's own earlier migrations are applied first.
        assert_eq!(tried(&texts, None, MigrationOccasion::Start), said, "{sql}");
        // The message equals that of a start with a database that has the earlier migrations.
        let case = with(&[]).await;
        let opened = open(&case, &texts).map(drop).map_or_else(|error| error.to_string(), |()| String::new());
        assert_eq!(opened, said, "{sql}");
        // The message also equals that of a change.
        let migrated = serving.database.with_limits(SqlLimits::default()).migrate(&list(&texts), LONG).await;
        let migrated = migrated.map_or_else(|error| error.to_string(), |_| String::new());
        if !migrated.is_empty() {
            assert_eq!(tried(&texts, Some(1), MigrationOccasion::Serving), migrated, "{sql}");
        }
        if migrated.is_empty() {
            // An applied migration would affect the next case.
            return_to_tables(&serving).await;
        }
    }
}

/// Undoes what the cases above may have added to the database: the table `c`, the index `a_size` and the column `note`.
async fn return_to_tables(case: &Case) {
    let raw = rusqlite::Connection::open(case.path()).unwrap();
    raw.execute_batch(
        "DELETE FROM watertight_migrations WHERE place > 1; DROP TABLE IF EXISTS c; DROP INDEX IF EXISTS a_size",
    )
    .unwrap();
    let _ = raw.execute_batch("ALTER TABLE a DROP COLUMN note");
    drop(raw);
    case.query("SELECT count(*) FROM a").await.unwrap();
}

#[test]
fn a_contraction_is_for_a_start() {
    let texts = [("0002_step.sql", "-- contract\nDROP TABLE b")];
    assert_eq!(tried(&texts, Some(1), MigrationOccasion::Start), "");
    assert!(tried(&texts, Some(1), MigrationOccasion::Serving).contains("its first line says `-- contract`"));
}

#[test]
fn what_depends_on_rows_or_room_is_left_to_the_data() {
    // The serving database may have the row. The trial has none, so it can't decide.
    let needs_rows = "-- contract\nINSERT INTO b VALUES (1, (SELECT id FROM a), NULL)";
    assert_eq!(tried(&[("0002_step.sql", needs_rows)], Some(1), MigrationOccasion::Start), "");
    // A new database certainly has no row.
    assert!(
        tried(&[("0002_step.sql", needs_rows)], None, MigrationOccasion::Start).contains("NOT NULL constraint failed")
    );
    let large =
        "-- contract\nCREATE TABLE c (x); WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 200)
        INSERT INTO c SELECT zeroblob(1000000) FROM n";
    assert_eq!(tried(&[("0002_step.sql", large)], Some(1), MigrationOccasion::Start), "");
}

#[test]
fn a_trial_ends() {
    let endless = "-- contract\nWITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n";
    let given = list(&[("0002_step.sql", endless)]);
    let error = try_migrations(&given, None, MigrationOccasion::Start, Duration::from_millis(200)).unwrap_err();
    assert!(matches!(error, OpenError::TooSlow { .. }), "{error}");
}
