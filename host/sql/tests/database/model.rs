//! Property tests: random transactions and reopenings are compared with a map in memory.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Put(i64, i64),
    Remove(i64),
    /// A statement that violates a constraint, and so changes nothing.
    Break(i64),
}

#[derive(Debug, Clone)]
enum Action {
    Alone(Step),
    Commit(Vec<Step>),
    RollBack(Vec<Step>),
    Drop(Vec<Step>),
    Reopen,
    /// Opens a copy of the files of the open database, as a start after a kill would find them.
    Copy,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..12_i64, 0..100_i64).prop_map(|(key, value)| Step::Put(key, value)),
        2 => (0..12_i64).prop_map(Step::Remove),
        1 => (0..12_i64).prop_map(Step::Break),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    let steps = || prop::collection::vec(step(), 0..6);
    prop_oneof![
        4 => step().prop_map(Action::Alone),
        4 => steps().prop_map(Action::Commit),
        2 => steps().prop_map(Action::RollBack),
        2 => steps().prop_map(Action::Drop),
        1 => Just(Action::Reopen),
        1 => Just(Action::Copy),
    ]
}

type Model = BTreeMap<i64, i64>;

impl Step {
    fn sql(&self) -> (&'static str, Vec<Value>) {
        match *self {
            Step::Put(key, value) => (
                "INSERT INTO a VALUES (?1, 'n' || ?1, ?2) ON CONFLICT (id) DO UPDATE SET size = excluded.size",
                vec![key.into(), value.into()],
            ),
            Step::Remove(key) => ("DELETE FROM a WHERE id = ?1", vec![key.into()]),
            Step::Break(key) => ("INSERT OR REPLACE INTO a VALUES (?1, 'n' || ?1, 5), (99, 'm', -1)", vec![key.into()]),
        }
    }

    fn apply(&self, model: &mut Model) -> Result<u64, ()> {
        match *self {
            Step::Put(key, value) => {
                model.insert(key, value);
                Ok(1)
            }
            Step::Remove(key) => Ok(u64::from(model.remove(&key).is_some())),
            Step::Break(_) => Err(()),
        }
    }
}

async fn run(database: &Database, model: &mut Model, steps: &[Step], how: &Action) {
    let mut changed = model.clone();
    let mut transaction = database.begin(soon()).await.unwrap();
    for step in steps {
        let (sql, values) = step.sql();
        assert_eq!(transaction.execute(sql, values).await.map_err(|_| ()), step.apply(&mut changed), "{step:?}");
    }
    let inside = transaction.query("SELECT id, size FROM a ORDER BY id", Vec::new()).await.unwrap();
    assert_eq!(content(&inside), changed);
    match how {
        Action::Commit(_) => {
            transaction.commit().await.unwrap();
            *model = changed;
        }
        Action::RollBack(_) => transaction.rollback().await.unwrap(),
        _ => drop(transaction),
    }
}

fn content(rows: &Rows) -> Model {
    let pair = |row: &Vec<Value>| match row[..] {
        [Value::Integer(key), Value::Integer(value)] => (key, value),
        _ => panic!("{row:?}"),
    };
    rows.iter().map(pair).collect()
}

async fn check(actions: Vec<Action>) {
    let mut folders = vec![tempfile::tempdir().unwrap()];
    let open = |folder: &TempDir| Database::open(&folder.path().join("a.db"), Settings::default(), &tables()).unwrap();
    let mut database = open(&folders[0]);
    let mut model = Model::new();
    for action in actions {
        match &action {
            Action::Alone(step) => {
                let (sql, values) = step.sql();
                let result = database.execute(sql, values, soon()).await.map_err(|_| ());
                assert_eq!(result, step.apply(&mut model), "{step:?}");
            }
            Action::Commit(steps) | Action::RollBack(steps) | Action::Drop(steps) => {
                run(&database, &mut model, steps, &action).await;
            }
            Action::Reopen => {
                database.close().await;
                database = open(folders.last().unwrap());
            }
            Action::Copy => {
                let copy = tempfile::tempdir().unwrap();
                for name in ["a.db", "a.db-wal"] {
                    std::fs::copy(folders.last().unwrap().path().join(name), copy.path().join(name)).unwrap();
                }
                folders.push(copy);
                database = open(folders.last().unwrap());
            }
        }
        let rows = database.query("SELECT id, size FROM a ORDER BY id", Vec::new(), soon()).await.unwrap();
        assert_eq!(content(&rows), model, "after {action:?}");
    }
    database.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn transactions_do_what_a_map_does(actions in prop::collection::vec(action(), 1..25)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(check(actions));
    }
}
