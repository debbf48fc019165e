//! Tests of a database whose files are removed, moved or replaced while it is open: nothing more is acknowledged.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::*;

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// The ways in which a file of an open database is lost.
const LOSSES: [(&str, fn(&Path)); 4] = [
    ("removed", |file| fs::remove_file(file).unwrap()),
    ("moved", |file| fs::rename(file, file.with_extension("moved")).unwrap()),
    ("replaced by a copy", |file| {
        let copy = file.with_extension("copy");
        fs::copy(file, &copy).unwrap();
        fs::rename(copy, file).unwrap();
    }),
    ("a link to where it is", |file| {
        let moved = file.with_extension("moved");
        fs::rename(file, &moved).unwrap();
        symlink(moved, file).unwrap();
    }),
];

fn is_lost<T: std::fmt::Debug>(result: &Result<T, SqlError>) -> bool {
    matches!(result, Err(SqlError::Storage(text)) if text.contains("was removed or replaced"))
}

#[tokio::test]
async fn nothing_is_acknowledged_into_a_file_that_is_gone() {
    for ending in ["", "-wal", "-shm"] {
        for (loss, lose) in LOSSES {
            let case = Case::new();
            case.execute("INSERT INTO a VALUES (1, 'x', 1)").await.unwrap();
            let transaction = case.database.begin(soon()).await.unwrap();
            lose(&beside(&case.path(), ending));
            let what = format!("`{ending}` {loss}");
            drop(transaction);
            assert!(is_lost(&case.execute("INSERT INTO a VALUES (2, 'y', 1)").await), "{what}");
            // Every later request reports the loss as well.
            assert!(is_lost(&case.query("SELECT count(*) FROM a").await), "{what}");
            assert!(is_lost(&case.database.begin(soon()).await.map(drop)), "{what}");
            case.database.close().await;
        }
    }
}

/// Creates a database in nested folders, opened through a symbolic link if `link` is true.
fn in_folders(root: &Path, link: bool) -> (PathBuf, Database) {
    let folder = root.join("above/state/data");
    fs::create_dir_all(&folder).unwrap();
    let mut path = folder.join("a.db");
    if link {
        symlink(root.join("above"), root.join("link")).unwrap();
        path = root.join("link/state/data/a.db");
    }
    let database = Database::open(&path, Settings::default(), &tables()).unwrap();
    (path, database)
}

#[tokio::test]
async fn nothing_is_acknowledged_into_a_folder_that_is_gone() {
    let losses: [(&str, fn(&Path)); 5] = [
        ("all is removed", |root| fs::remove_dir_all(root.join("above")).unwrap()),
        ("the folder is moved", |root| {
            fs::rename(root.join("above/state/data"), root.join("above/state/moved")).unwrap();
        }),
        ("one above is moved", |root| fs::rename(root.join("above"), root.join("moved")).unwrap()),
        ("one above is replaced", |root| {
            fs::rename(root.join("above"), root.join("moved")).unwrap();
            fs::create_dir_all(root.join("above/state/data")).unwrap();
            fs::copy(root.join("moved/state/data/a.db"), root.join("above/state/data/a.db")).unwrap();
        }),
        ("what was a link leads elsewhere", |root| {
            let _ = fs::remove_file(root.join("link"));
            fs::rename(root.join("above"), root.join("moved")).unwrap();
        }),
    ];
    for (loss, lose) in losses {
        for link in [false, true] {
            let root = tempfile::tempdir().unwrap();
            let (_, database) = in_folders(root.path(), link);
            let insert = async || database.execute("INSERT INTO a VALUES (1, 'x', 1)", Vec::new(), soon()).await;
            database.execute("INSERT INTO a VALUES (0, 'y', 1)", Vec::new(), soon()).await.unwrap();
            lose(root.path());
            assert!(is_lost(&insert().await), "{loss}, by a link: {link}");
            database.close().await;
        }
    }
}

#[tokio::test]
async fn what_happens_beside_a_database_is_no_loss() {
    let root = tempfile::tempdir().unwrap();
    let (path, database) = in_folders(root.path(), false);
    for number in 0..200 {
        let other = path.with_file_name(format!("other-{number}"));
        fs::write(&other, "x").unwrap();
        fs::rename(&other, path.with_file_name("another")).unwrap();
        fs::create_dir(root.path().join(format!("above/{number}"))).unwrap();
        let values = vec![Value::Integer(number), Value::Text(number.to_string())];
        database.execute("INSERT INTO a VALUES (?1, ?2, 1)", values, soon()).await.unwrap();
    }
    fs::remove_file(&path).unwrap();
    assert!(is_lost(&database.execute("INSERT INTO a VALUES (-1, 'x', 1)", Vec::new(), soon()).await));
    database.close().await;
}

#[tokio::test]
async fn nothing_is_acknowledged_into_a_file_that_was_emptied() {
    for ending in ["", "-wal"] {
        for idle in [false, true] {
            let case = Case::new();
            case.execute("INSERT INTO a VALUES (1, 'x', 1)").await.unwrap();
            let file = beside(&case.path(), ending);
            fs::File::options().write(true).open(&file).unwrap().set_len(0).unwrap();
            let what = format!("`{ending}`, idle {idle}");
            if idle {
                let told = case.database.check_files().unwrap_err().to_string();
                assert!(told.contains(ending) && told.contains("was emptied"), "{what}: {told}");
            }
            assert!(is_lost(&case.execute("INSERT INTO a VALUES (2, 'y', 1)").await), "{what}");
            assert!(is_lost(&case.query("SELECT count(*) FROM a").await), "{what}");
            case.database.close().await;
        }
    }
}

#[tokio::test]
async fn a_log_that_the_writer_empties_by_itself_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { max_log_bytes: 64 << 10, ..Settings::default() };
    let database = Database::open(&folder.path().join("a.db"), settings, &tables()).unwrap();
    // This commit is empty and follows the writes of the migrations.
    database.begin(soon()).await.unwrap().commit().await.unwrap();
    let looked_at = database.clone();
    let (done, looking) = std::sync::mpsc::channel::<()>();
    let looks = std::thread::spawn(move || {
        while looking.try_recv().is_err() {
            looked_at.check_files().unwrap();
        }
    });
    let before = database.counters().checkpoints;
    for number in 0..400 {
        let values = vec![Value::Integer(number), Value::Text(format!("{number:2000}"))];
        database.execute("INSERT INTO a VALUES (?1, ?2, 1)", values, soon()).await.unwrap();
        database.begin(soon()).await.unwrap().commit().await.unwrap();
    }
    assert!(database.counters().checkpoints > before + 10);
    done.send(()).unwrap();
    looks.join().unwrap();
    database.close().await;
}

#[tokio::test]
async fn one_that_does_nothing_is_looked_at() {
    for (loss, lose) in LOSSES {
        let case = Case::new();
        case.database.check_files().unwrap();
        lose(&case.path());
        let told = case.database.check_files().unwrap_err().to_string();
        assert!(told.contains("a.db was re"), "{loss}: {told}");
        assert!(is_lost(&case.query("SELECT count(*) FROM a").await), "{loss}");
        case.database.close().await;
    }
    // A closed database may be removed.
    let case = Case::new();
    case.database.close().await;
    watertight_sql::remove(&case.path()).unwrap();
    case.database.check_files().unwrap();
}

/// Closing a database copies its write-ahead log into the database file, and removes the log by its name. By then, the
/// name may belong to another host's file.
#[tokio::test]
async fn closing_touches_nothing_of_what_took_its_place() {
    for ending in ["", "-wal"] {
        let case = Case::new();
        case.execute("INSERT INTO a VALUES (1, 'x', 1)").await.unwrap();
        let file = beside(&case.path(), ending);
        for ending in ["", "-wal", "-shm"] {
            let file = beside(&case.path(), ending);
            fs::rename(&file, file.with_extension("moved")).unwrap();
        }
        let theirs = Database::open(&case.path(), Settings::default(), &tables()).unwrap();
        theirs.execute("INSERT INTO a VALUES (7, 'theirs', 1)", Vec::new(), soon()).await.unwrap();
        let before = fs::read(&file).unwrap();
        case.database.close().await;
        assert_eq!(fs::read(&file).unwrap(), before, "`{ending}`");
        let rows = theirs.query("SELECT count(*) FROM a WHERE name = 'theirs'", Vec::new(), soon()).await.unwrap();
        assert_eq!(number(&rows), 1);
        theirs.close().await;
    }
}

#[test]
fn no_link_is_followed_to_a_database() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("a.db"), folder.path().join("other"));
    for target in ["there", "nowhere"] {
        if target == "there" {
            fs::write(&other, "").unwrap();
        }
        symlink(&other, &path).unwrap();
        let refused = Database::open(&path, Settings::default(), &tables()).map(drop).unwrap_err();
        assert!(matches!(refused, watertight_sql::OpenError::Files { .. }), "{target}: {refused}");
        fs::remove_file(&path).unwrap();
        assert_eq!(fs::read(&other).unwrap_or_default(), b"", "{target}");
        let _ = fs::remove_file(&other);
    }
}

#[tokio::test]
async fn migrations_without_anything_due_are_no_commits() {
    let case = Case::new();
    case.execute("INSERT INTO a VALUES (1, 'x', 1)").await.unwrap();
    let before = case.database.counters();
    for _ in 0..3 {
        assert_eq!(case.database.migrate(&tables(), Duration::from_secs(30)).await.unwrap(), 0);
    }
    let more = [tables(), vec![Migration::new("0002_c.sql", "CREATE TABLE c (x)")]].concat();
    assert_eq!(case.database.migrate(&more, Duration::from_secs(30)).await.unwrap(), 1);
    assert_eq!(case.database.counters().commits, before.commits, "a migration was counted as a guest's commit");
    case.execute("INSERT INTO a VALUES (2, 'y', 1)").await.unwrap();
    assert_eq!(case.database.counters().commits, before.commits + 1);
}
