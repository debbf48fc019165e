//! Builds that every host must refuse: files that are not components, components that cannot be linked, and bombs that cost time or
//! memory.

use std::fmt::Write as _;

/// The size of the refused build that consists only of zeros, in bytes.
pub const ZERO_FILE_BYTES: usize = 200 << 20;
/// The text of a component that imports an interface which the manifest does not grant to the module.
const UNGRANTED: &str = r#"
    (import "wasi:clocks/monotonic-clock@0.2.0" (instance (export "now" (func (result u64)))))"#;
/// The text of a component with an import that has the name of a host interface and a wrong type.
const WRONG_TYPE: &str = r#"
    (import "wasi:logging/logging@0.1.0-draft" (instance (export "log" (func (param "message" u32)))))"#;

/// A build that must be refused.
pub struct Refused {
    pub name: &'static str,
    /// The code of a problem for which the host refuses the build. The host may report other problems too.
    pub code: &'static str,
    pub component: Vec<u8>,
}

impl Refused {
    /// Returns all builds that must be refused. They are builds of a module that exports `t:t/api.attack` and is granted only the log.
    pub fn all() -> Vec<Self> {
        let whole = harmless("", "");
        let all = [
            ("truncated", "not-a-component", whole[..whole.len() / 2].to_vec()),
            ("core-module", "not-a-component", wat::parse_str("(module)").unwrap()),
            ("zeros", "not-a-component", vec![0; ZERO_FILE_BYTES]),
            ("ungranted", "ungranted", harmless(UNGRANTED, "")),
            ("wrong-type", "type-mismatch", harmless(WRONG_TYPE, "")),
            ("start-loops", "compile", harmless("", "(func $on (loop (br 0))) (start $on)")),
            // One bomb for a single processor, and one for all.
            ("compile-bomb", "compile", harmless("", &tangle(20_000, 3, 8))),
            ("compile-bombs", "compile", harmless("", &tangle(100, 100, 16).repeat(300))),
            ("types-without-end", "not-a-component", pairs_of_pairs(200, 17)),
        ];
        all.into_iter().map(|(name, code, component)| Self { name, code, component }).collect()
    }
}

/// Builds a harmless component from text. The text `outside` is added to the component, and `inside` to its core module.
pub fn harmless(outside: &str, inside: &str) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(component
          {outside}
          (core module $m
            (func (export "attack"))
            (func (export "fine") (result i32) (i32.const 7))
            {inside})
          (core instance $i (instantiate $m))
          (func $attack (canon lift (core func $i "attack")))
          (func $fine (result u32) (canon lift (core func $i "fine")))
          (instance $api (export "attack" (func $attack)) (export "fine" (func $fine)))
          (export "t:t/api@1.0.0" (instance $api)))"#
    ))
    .unwrap()
}

/// Returns the text of a function of nested blocks, which is slow to compile. Each block changes some of its locals and branches to some of
/// the enclosing blocks, so each local has a different value for each way into each block.
pub fn tangle(blocks: usize, targets: usize, locals: usize) -> String {
    let mut text = format!("(func (local{})\n{}", " i32".repeat(locals), "block ".repeat(blocks));
    for block in 0..blocks {
        for local in (0..locals).filter(|local| (local + block) % 7 == 0) {
            let _ = write!(text, "local.get {local} i32.const {} i32.add local.set {local} ", block % 64);
        }
        let depth = blocks - block;
        let _ = write!(text, "local.get {} br_table", block % locals);
        for target in 0..targets.min(depth) {
            let _ = write!(text, " {}", target * 31 % depth);
        }
        text += " 0 end\n";
    }
    text + ")"
}

/// Builds a component that exports `interfaces` interfaces. Each has a function whose parameter is a pair of pairs, nested `depth`
/// levels.
pub fn pairs_of_pairs(interfaces: usize, depth: usize) -> Vec<u8> {
    let mut text = "(component (type $t0 (tuple u32 u32))\n".to_owned();
    for depth in 1..depth {
        let _ = writeln!(text, "(type $t{depth} (tuple $t{0} $t{0}))", depth - 1);
    }
    let _ = write!(
        text,
        r#"(core module $m (memory (export "memory") 1) (func (export "f") (param i32))
             (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable))
           (core instance $i (instantiate $m))
           (func $f (param "a" $t{}) (canon lift (core func $i "f") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
           (instance $api (export "f" (func $f)))"#,
        depth - 1
    );
    for interface in 0..interfaces {
        let _ = writeln!(text, "(export \"t:t/api{interface}@1.0.0\" (instance $api))");
    }
    wat::parse_str(text + ")").unwrap()
}
