//! Tests that reading any bytes ends with a value, or with problems whose lines are in the file.

use proptest::prelude::*;

use super::good::{MANIFEST, ROUTES};
use super::*;
use crate::config::capability::Declarations;

/// Reads bytes as a manifest and as a route file, and checks the lines of the problems.
fn read_both(bytes: &[u8]) -> Result<(), TestCaseError> {
    let path = Path::new("a.toml");
    let lines = u32::try_from(bytes.split(|&byte| byte == b'\n').count()).unwrap();
    let mut problems = Vec::new();
    match Source::new(path, bytes.to_vec()) {
        Err(refused) => problems.extend(refused.into_vec()),
        Ok(source) => {
            match source.parse() {
                Err(refused) => problems.extend(refused.into_vec()),
                Ok(tree) => {
                    let folders = Folders { root: "r".into(), workspace: "w".into(), components: "c".into() };
                    let manifest = tree::document(&source, &tree, |table| {
                        Manifest::read(table, &folders, &Declarations::default())
                    });
                    read_routes(&source, &manifest.declared, RouteDefaults::default(), &mut FoundRoutes::default());
                }
            }
            problems.extend(source.into_problems());
        }
    }
    for problem in problems {
        prop_assert_eq!(problem.file.as_deref(), Some(path));
        prop_assert!(problem.line.is_some_and(|line| (1..=lines).contains(&line)), "{} of {} lines", problem, lines);
    }
    Ok(())
}

/// Pieces of TOML that change the meaning of the text where they are inserted.
const SNIPPETS: &[&str] = &[
    "\n",
    "\"",
    "'''",
    "[",
    "]",
    "[[",
    "{",
    "}",
    "=",
    ".",
    ",",
    "#",
    "\\u0000",
    "\u{feff}",
    "é",
    "\r\n",
    "\r",
    "-1",
    "0x",
    "1e999",
    "nan",
    "1979-05-27",
    "true",
    "\n[modules.zeta]\n",
    "\n[[route]]\n",
    "\n[[mount]]\n",
    "\n[app.x.y]\n",
    "9999999999999999999999",
    "\"30s\"",
    "18446744073709551615s",
    "= \"\"",
    "calls = [\"nobody\"]\n",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read_both(&bytes)?;
    }

    #[test]
    fn any_text(text in "([a-z]{1,8}|[\\[\\]{}=.,\"'#\n ]|app|modules|route|[0-9]{1,3}){0,60}") {
        read_both(text.as_bytes())?;
    }

    #[test]
    fn good_files_with_edits(
        routes in any::<bool>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..20, prop::sample::select(SNIPPETS)), 1..6),
    ) {
        let mut bytes = if routes { ROUTES } else { MANIFEST }.as_bytes().to_vec();
        for (place, cut, snippet) in edits {
            let start = place.index(bytes.len() + 1);
            let end = (start + cut).min(bytes.len());
            bytes.splice(start..end, snippet.bytes());
        }
        read_both(&bytes)?;
    }
}

#[test]
fn deep_nesting_is_refused_by_the_parser() {
    for opening in ["[", "{a=", "a."] {
        read_both(format!("x = {}", opening.repeat(50_000)).as_bytes()).unwrap();
        read_both(format!("{}x = 1", opening.repeat(50_000)).as_bytes()).unwrap();
    }
}

/// A case that fuzzing found: a message was as long as the longest word of the file.
#[test]
fn long_words_are_repeated_in_part() {
    let long = "x".repeat(500_000);
    let manifest =
        format!("[app]\nname = \"a\"\n{long} = 1\n[modules.a]\ncomponent = \"a.wasm\"\nuses = [\"{long}\"]\n");
    let problems = load_files(&[("app.toml", &manifest)]).unwrap_err();
    assert_eq!(problems.as_slice().len(), 2, "{problems}");
    assert!(problems.to_string().len() < 10_000, "{}", problems.to_string().len());
}
