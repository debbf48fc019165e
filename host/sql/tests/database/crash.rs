//! Tests of a process that dies at a crash point: every acknowledged commit is found afterwards, and at most one more.
//!
//! The test runs its own binary again as the process that dies.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;

use super::*;

const FOLDER: &str = "WATERTIGHT_TEST_CRASH_FOLDER";
const SIGKILL: i32 = 9;

/// Writes until the process dies, and prints what was acknowledged. It does nothing when it runs as an ordinary test.
#[tokio::test]
async fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    watertight_disk::failpoint::init();
    let folder = Path::new(&folder);
    let database = Database::open(&folder.join("a.db"), Settings::default(), &tables()).unwrap();
    for i in 0..100_i64 {
        let values = vec![i.into(), format!("n{i}").into()];
        if i % 2 == 0 {
            database.execute("INSERT INTO a VALUES (?1, ?2, 1)", values, soon()).await.unwrap();
        } else {
            let mut transaction = database.begin(soon()).await.unwrap();
            transaction.execute("INSERT INTO a VALUES (?1, ?2, 1)", values).await.unwrap();
            transaction.commit().await.unwrap();
        }
        std::fs::write(folder.join("acknowledged"), i.to_string()).unwrap();
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there() {
    for (point, passed, more) in [
        ("sql::before-commit", 0, 0),
        ("sql::before-commit", 13, 0),
        ("sql::committed", 12, 1),
        ("sql::committed", 13, 1),
        ("sql::synced", 12, 1),
        ("sql::synced", 13, 1),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::child"])
            .env(FOLDER, folder.path())
            .env("FAILPOINTS", format!("{point}={passed}*off->return"))
            .output()
            .unwrap();
        assert_eq!(output.status.signal(), Some(SIGKILL), "{point}: {output:?}");
        let acknowledged =
            std::fs::read_to_string(folder.path().join("acknowledged")).map_or(0, |n| n.parse::<i64>().unwrap() + 1);
        assert_eq!(acknowledged, passed, "{point}");
        let database = Database::open(&folder.path().join("a.db"), Settings::default(), &tables()).unwrap();
        let rows = database.query("SELECT count(*) FROM a", Vec::new(), soon()).await.unwrap();
        assert_eq!(number(&rows), acknowledged + more, "{point} after {passed}");
    }
}
