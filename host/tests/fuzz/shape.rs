//! Fuzzes the reading of components, generated and damaged ones, with Wasmtime as the reference: what Wasmtime accepts has a shape or is
//! refused with a reason and a place, and the shape has the imports and exports that Wasmtime sees.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use arbitrary::Unstructured;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;
use wasmtime::{Engine, InstanceAllocationStrategy, OptLevel};
use watertight_component::artifact::{Artifact, ArtifactError};
use watertight_component::profile::Profile;
use watertight_component::shape::{self, ShapeError};
use watertight_model::ids::InterfaceName;
use watertight_model::problem::{Problem, with_causes};
use watertight_testkit::cases;
use watertight_testkit::paths::repository;

use crate::mutate::{Change, changed, changes};
use crate::runner::{Outcome, fuzz};

/// The maximum size of a real component that is used, in bytes. Larger ones would take most of the time to copy.
const MAX_REAL: u64 = 128 << 10;

#[derive(Debug, Clone)]
enum Input {
    /// The component that wasm-smith generates from these bytes.
    Smith(Vec<u8>),
    /// The real component with this index, with changed sections and bytes.
    Real(Index, Vec<Sections>, Vec<Change>),
}

/// A change of a component's top-level sections.
#[derive(Debug, Clone)]
enum Sections {
    Swap(Index, Index),
    Repeat(Index, Index),
    Remove(Index),
    /// Inserts a section of another real component.
    Insert(Index, Index, Index),
}

fn input() -> impl Strategy<Value = Input> {
    let at = any::<Index>;
    let sections = prop_oneof![
        (at(), at()).prop_map(|(one, other)| Sections::Swap(one, other)),
        (at(), at()).prop_map(|(from, to)| Sections::Repeat(from, to)),
        at().prop_map(Sections::Remove),
        (at(), at(), at()).prop_map(|(whose, from, to)| Sections::Insert(whose, from, to)),
    ];
    prop_oneof![
        1 => vec(any::<u8>(), 0..1500).prop_map(Input::Smith),
        1 => (at(), vec(sections, 1..3), Just(vec![])).prop_map(|(real, sections, changes)| Input::Real(real, sections, changes)),
        3 => (at(), Just(vec![]), changes()).prop_map(|(real, sections, changes)| Input::Real(real, sections, changes)),
    ]
}

/// Returns real components: those of the cases in `tests/graphs`, those of the shop if they were built, and some with very large types.
fn real() -> Vec<Vec<u8>> {
    let mut folders: Vec<_> = vec![repository().join("target/components")];
    let copies: Vec<tempfile::TempDir> = cases::cases().iter().map(|case| cases::prepare(case)).collect();
    folders.extend(copies.iter().map(|copy| copy.path().to_owned()));
    let mut all = vec![wide(14), wide(30), deep(90), deep(120)];
    for folder in folders {
        all.extend(fs::read_dir(folder).into_iter().flatten().filter_map(|entry| {
            let file = entry.unwrap().path();
            let fits = file.extension().is_some_and(|end| end == "wasm") && file.metadata().unwrap().len() < MAX_REAL;
            fits.then(|| fs::read(file).unwrap())
        }));
    }
    all
}

/// Returns a component with a type that has 2 to the power of `levels` parts.
fn wide(levels: u32) -> Vec<u8> {
    exporting("(type $t0 (tuple u8 string))", levels, |before| format!("(tuple $t{before} $t{before})"))
}

fn deep(levels: u32) -> Vec<u8> {
    exporting("(type $t0 (tuple u8 string))", levels, |before| format!("(list $t{before})"))
}

fn exporting(first: &str, levels: u32, ty: impl Fn(u32) -> String) -> Vec<u8> {
    let mut text = format!("(component (import \"t:t/api\" (instance {first}");
    for level in 1..=levels {
        let _ = write!(text, "(type $t{level} {})", ty(level - 1));
    }
    let _ = write!(text, "(export \"it\" (type $it (eq $t{levels}))) (export \"f\" (func (param \"it\" $it))))))");
    wat::parse_str(text).unwrap()
}

const WORDS: &[&str] = &[
    "\0asm\r\0\x01\0",
    "\0asm\x01\0\0\0",
    "\0",
    "\x01",
    "\x02",
    "\x07",
    "\x0a",
    "\x0b",
    "\x7f",
    "\u{7f}\u{7f}\u{7f}\u{7f}\x07",
    "t:t/api",
    "t:t/api@1.0.0",
    "[method]a.b",
    "[constructor]a",
    "[async]f",
    "a",
    "A-B",
    "(implements \"a:b/c\")",
];

fn spoilt(real: &[Vec<u8>], which: &Index, sections: &[Sections], changes: &[Change]) -> Vec<u8> {
    let original = &real[which.index(real.len())];
    if sections.is_empty() {
        return changed(original, changes, WORDS);
    }
    let mut parts = parts(original);
    for change in sections {
        let count = parts.len().max(1);
        let place = |index: &Index| index.index(count).min(parts.len());
        match change {
            Sections::Swap(one, other) if !parts.is_empty() => parts.swap(one.index(count), other.index(count)),
            Sections::Repeat(from, to) if !parts.is_empty() => {
                let (part, to) = (parts[from.index(count)].clone(), place(to));
                parts.insert(to, part);
            }
            Sections::Remove(at) if !parts.is_empty() => drop(parts.remove(at.index(count))),
            Sections::Insert(whose, from, to) => {
                let others = self::parts(&real[whose.index(real.len())]);
                if !others.is_empty() {
                    let to = place(to);
                    parts.insert(to, from.get(&others).clone());
                }
            }
            _ => {}
        }
    }
    [original[..original.len().min(8)].to_vec(), parts.concat()].concat()
}

/// Returns the top-level sections of a component, each with its header. Stops where the bytes are not a list of sections.
fn parts(component: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    let mut at = 8;
    while at < component.len() {
        let (mut size, mut shift, mut end) = (0_usize, 0, at + 1);
        while let Some(byte) = component.get(end).filter(|_| shift < 35) {
            size |= usize::from(byte & 0x7f) << shift;
            (shift, end) = (shift + 7, end + 1);
            if byte & 0x80 == 0 {
                break;
            }
        }
        let Some(part) = component.get(at..end.saturating_add(size)) else { break };
        parts.push(part.to_vec());
        at += part.len();
    }
    parts
}

/// Returns a Wasmtime engine that accepts all components that the host's engines accept, and compiles fast.
fn engine() -> Engine {
    let mut config = watertight_engine::config(Profile::Async);
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand).cranelift_opt_level(OptLevel::None);
    Engine::new(&config).unwrap()
}

#[test]
fn shape() {
    let (engine, real) = (engine(), real());
    let outcomes = &["taken by both", "refused by both", "too much for the engine", "of no use here"];
    fuzz("shape", &outcomes[..2], input(), |input| {
        let bytes = match &input {
            Input::Smith(bytes) => {
                let mut config = wasm_smith::Config::default();
                // These limits are those of wasm-smith's own tests of components. With them, it can generate the imports that it asks for.
                (config.max_components, config.max_instances) = (3, 5);
                match wasm_smith::Component::new(config, &mut Unstructured::new(bytes)) {
                    Ok(component) => component.to_bytes(),
                    Err(_) => return Ok("none"),
                }
            }
            Input::Real(which, sections, changes) => spoilt(&real, which, sections, changes),
        };
        check(&engine, &bytes)
    });
}

/// Reads the same bytes as a component with the host and with Wasmtime, and compares the results.
fn check(engine: &Engine, bytes: &[u8]) -> Outcome {
    let ours = Artifact::new(Path::new("it.wasm"), bytes.to_vec().into());
    let theirs = Component::new(engine, bytes);
    match (&ours, &theirs) {
        (Ok(artifact), theirs) => {
            for interface in artifact.shape.imports.values().chain(artifact.shape.exports.values()) {
                prop_assert!(shape::differences(interface, interface).is_empty(), "an interface differs from itself");
            }
            // If the component has documentation, the artifact's shape contains it, and the plain shape doesn't.
            let same = artifact.section.is_some() || shape::read(bytes).unwrap() == artifact.shape;
            prop_assert!(same, "a second reading returned another shape");
            let Ok(theirs) = theirs else { return Ok("too much for the engine") };
            check_names(engine, theirs, artifact)?;
            Ok("taken by both")
        }
        (Err(ArtifactError::Section { .. }), _) => Ok("of no use here"),
        (Err(ArtifactError::Shape { source: ShapeError::TooDeep | ShapeError::Unsupported { .. }, .. }), Ok(_)) => {
            Ok("of no use here")
        }
        // The host's validator is newer and stricter than the engine's. Only the engine accepts field names that differ in case alone, and
        // a component that is cut off within a nested one.
        (
            Err(ArtifactError::Shape { source: ShapeError::Invalid { .. } | ShapeError::Truncated { .. }, .. }),
            Ok(_),
        ) => Ok("refused here"),
        (Err(error), Ok(_)) => {
            prop_assert!(false, "Wasmtime accepts it: {}", with_causes(error));
            unreachable!()
        }
        (Err(_), Err(_)) => {
            let told = Problem::from(ours.unwrap_err()).to_string();
            prop_assert!(told.len() < 20_000, "{} bytes of message", told.len());
            Ok("refused by both")
        }
    }
}

/// Asserts that each import and export that Wasmtime sees is an interface or a function in the shape that the host has read, or only a
/// type.
fn check_names(engine: &Engine, component: &Component, artifact: &Artifact) -> Result<(), TestCaseError> {
    let component = component.component_type();
    let names = |items: Vec<(&str, ComponentItem)>| -> BTreeSet<String> {
        let linked =
            items.into_iter().filter(|(_, item)| !matches!(item, ComponentItem::Type(_) | ComponentItem::Resource(_)));
        linked.map(|(name, _)| name.to_owned()).collect()
    };
    let shape = &artifact.shape;
    for (theirs, interfaces, bare) in [
        (
            names(component.imports(engine).map(|(name, item)| (name, item.ty)).collect()),
            &shape.imports,
            &shape.bare_imports,
        ),
        (
            names(component.exports(engine).map(|(name, item)| (name, item.ty)).collect()),
            &shape.exports,
            &shape.bare_exports,
        ),
    ] {
        let functions =
            interfaces.get(&InterfaceName::world()).into_iter().flat_map(|world| world.functions.keys().cloned());
        let names = interfaces.keys().map(ToString::to_string);
        let ours: BTreeSet<String> = names.chain(functions).chain(bare.iter().cloned()).collect();
        prop_assert!(theirs.is_subset(&ours), "{theirs:?} and {ours:?}");
    }
    Ok(())
}
