//! The languages that a module can be made in. A language is a row here, and a folder of templates of the same name.

use super::python;
use watertight_build::Language;

/// A language that `watertight new module` knows.
#[derive(Debug)]
pub struct Starter {
    /// The name of the language, as `--lang` takes it; also the name of its folder of templates.
    pub name: &'static str,
    /// The language for messages.
    pub title: &'static str,
    pub(super) language: Language,
    /// The capabilities that every module of the language needs, for its runtime.
    pub(super) needs: &'static [&'static str],
    /// The host's interfaces that the templates of a module with a contract of its own import.
    pub(super) imports: &'static [&'static str],
    /// The words that can't be the name of a module, because its identifiers in the language would be keywords.
    pub(super) keywords: &'static [&'static str],
    /// Whether a word of a name may begin with a digit, as in `page-2`.
    pub(super) takes_digits: bool,
    /// What to run in the module's folder for its native tests.
    pub test: &'static str,
}

/// All languages, in the order in which they are listed.
pub const LANGUAGES: &[Starter] = &[
    Starter {
        name: "rust",
        title: "Rust",
        language: Language::Rust,
        needs: &[],
        imports: &["watertight:lifecycle/failure@1.0.0"],
        keywords: &[
            "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn",
            "else", "enum", "exports", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let",
            "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self",
            "static", "struct", "super", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use",
            "virtual", "where", "while", "yield",
        ],
        takes_digits: true,
        test: "cargo test",
    },
    Starter {
        name: "go",
        title: "Go",
        language: Language::Go,
        needs: &["clocks", "random"],
        imports: &[],
        keywords: &[
            "break",
            "case",
            "chan",
            "const",
            "continue",
            "contract",
            "default",
            "defer",
            "else",
            "errors",
            "fallthrough",
            "fmt",
            "for",
            "func",
            "go",
            "goto",
            "host",
            "if",
            "import",
            "interface",
            "internal",
            "main",
            "map",
            "package",
            "range",
            "return",
            "select",
            "sql",
            "struct",
            "switch",
            "type",
            "types",
            "var",
            "vendor",
        ],
        takes_digits: true,
        test: "go test ./...",
    },
    Starter {
        name: "javascript",
        title: "JavaScript",
        language: Language::JavaScript,
        needs: &[],
        imports: &[],
        keywords: &[
            "add",
            "answer",
            "arguments",
            "await",
            "break",
            "case",
            "catch",
            "class",
            "const",
            "continue",
            "debugger",
            "default",
            "delete",
            "do",
            "else",
            "enum",
            "eval",
            "execute",
            "export",
            "extends",
            "false",
            "finally",
            "for",
            "function",
            "greet",
            "host",
            "if",
            "implements",
            "import",
            "in",
            "instanceof",
            "interface",
            "let",
            "list",
            "new",
            "null",
            "package",
            "private",
            "protected",
            "public",
            "query",
            "return",
            "static",
            "succeeds",
            "super",
            "switch",
            "this",
            "throw",
            "true",
            "try",
            "typeof",
            "undefined",
            "var",
            "void",
            "while",
            "with",
            "yield",
        ],
        takes_digits: false,
        test: "npm ci --ignore-scripts && node --test",
    },
    Starter {
        name: "python",
        title: "Python",
        language: Language::Python,
        needs: &["clocks", "random"],
        imports: &[],
        keywords: python::KEYWORDS,
        takes_digits: true,
        test: "python3 -m unittest discover tests",
    },
];

impl Starter {
    /// Finds a language by the name that `--lang` takes.
    pub fn find(name: &str) -> Option<&'static Self> {
        LANGUAGES.iter().find(|language| language.name == name)
    }
}
