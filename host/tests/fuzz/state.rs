//! Fuzzes files in the state folder. A damaged history of generations is refused, or continued with a new number. A file that is stored
//! under its digest is returned only if it has that digest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use watertight_component::artifact::Artifact;
use watertight_control::state::{Cause, DiskRecord, History, NewGeneration, Requester, StateFolder};
use watertight_model::config::{AppFiles, TextFile};
use watertight_model::ids::Digest;
use watertight_model::problem::{Code, Problem};
use watertight_testkit::components::component;

use crate::mutate::{Change, changed, changes};
use crate::runner::fuzz;

const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "0",
    "1",
    "-1",
    "18446744073709551615",
    "1e3",
    "null",
    "format",
    "number",
    "published",
    "refused",
    "cause",
    "run",
    "swap",
    "apply",
    "rollback",
    "to",
    "module",
    "sha256:",
    "origin",
    "databases",
    "disk",
    "files",
    "components",
    "by",
    "changes",
    "configuration",
    "modules",
    "at",
    "\\u0000",
    "é",
];

/// Fills a state folder as a host does. Returns the history of generations, and the digests of the stored configuration and component.
fn fill(folder: &Path) -> (History, Digest, Digest) {
    let mut history = StateFolder::open(folder).unwrap().history().unwrap();
    let bytes = component("package t:t; interface api { go: func(); } world w { export api; }", "w");
    let artifact = Artifact::new(Path::new("a.wasm"), bytes.into()).unwrap();
    let manifest = TextFile { path: "app.toml".into(), text: "[app]".to_owned() };
    let configuration =
        history.files().store_configuration(&AppFiles { manifest, routes: vec![], examples: vec![] }).unwrap();
    history.files().store_component(&artifact).unwrap();
    let module = "a".parse::<watertight_model::ids::ModuleName>().unwrap();
    let build =
        serde_json::from_value(serde_json::json!({ "digest": artifact.digest, "build": "b", "language": null }));
    let modules = BTreeMap::from([(module.clone(), build.unwrap())]);
    for cause in [Cause::Run, Cause::Swap { module: module.clone() }, Cause::Rollback { to: history.next() }] {
        let told = publication(cause, configuration);
        let (modules, databases) = (modules.clone(), [module.clone()].into());
        let disk = DiskRecord { files: configuration, components: [(module.clone(), artifact.digest)].into() };
        history.publish(NewGeneration { modules, databases, disk: Some(disk), ..told }).unwrap();
    }
    history.record_refusal(Cause::Apply, None, &Problem::new(Code::Cycle, "round and round").into()).unwrap();
    (history, configuration, artifact.digest)
}

fn publication(cause: Cause, configuration: Digest) -> NewGeneration {
    let by = Some(Requester::new(Some([127, 0, 0, 1].into()), Some("test")));
    let (modules, databases, changes) = (BTreeMap::new(), BTreeSet::new(), vec!["+ module a".to_owned()]);
    NewGeneration { cause, by, configuration, modules, databases, disk: None, changes }
}

#[test]
fn state() {
    let folder = tempfile::tempdir().unwrap();
    let (history, configuration, component) = fill(folder.path());
    let file = |name: String| folder.path().join(name);
    let files = [
        file("history.json".to_owned()),
        file(format!("artifacts/{}.wasm", component.hex())),
        file(format!("configurations/{}.json", configuration.hex())),
    ];
    let whole: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    let case = (0..3_usize, changes());
    fuzz("state", &["taken", "refused"], case, |(which, changes): (usize, Vec<Change>)| {
        for (file, bytes) in files.iter().zip(&whole) {
            fs::write(file, bytes).unwrap();
        }
        let spoilt = changed(&whole[which], &changes, WORDS);
        fs::write(&files[which], &spoilt).unwrap();
        if which > 0 {
            let kept = history.files();
            let given = if which == 1 {
                kept.component(&component).is_ok()
            } else {
                kept.configuration(&configuration).is_ok()
            };
            prop_assert_eq!(given, spoilt == whole[which]);
            return Ok(if given { "taken" } else { "refused" });
        }
        let read = StateFolder::read_history(folder.path());
        let state = StateFolder::open(folder.path()).unwrap();
        let opened = state.history();
        prop_assert_eq!(read.is_ok(), opened.is_ok());
        let Ok(mut history) = opened else { return Ok("refused") };
        let numbers: Vec<u64> = history.published().iter().map(|published| published.number.0).collect();
        prop_assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
        let next = history.next();
        prop_assert!(numbers.iter().all(|number| *number < next.0), "{numbers:?}, {next}");
        history.publish(publication(Cause::Apply, configuration)).unwrap();
        let again = StateFolder::read_history(folder.path()).unwrap();
        prop_assert_eq!(again.last().map(|last| last.number), Some(next));
        Ok("taken")
    });
}
