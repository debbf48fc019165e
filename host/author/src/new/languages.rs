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
    /// Further such words, which only the templates of this language declare.
    pub(super) template_words: &'static [&'static str],
    /// Whether a word of a name may begin with a digit, as in `page-2`.
    pub(super) takes_digits: bool,
    /// What to run in the module's folder for its native tests.
    pub test: &'static str,
}

/// The words of JavaScript, and those that the templates of both JavaScript and TypeScript declare.
const ECMASCRIPT: &[&str] = &[
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
];

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
        template_words: &[],
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
        template_words: &[],
        takes_digits: true,
        test: "go test ./...",
    },
    Starter {
        name: "javascript",
        title: "JavaScript",
        language: Language::JavaScript,
        needs: &[],
        imports: &[],
        keywords: ECMASCRIPT,
        template_words: &["execute", "query"],
        takes_digits: false,
        test: "npm ci --ignore-scripts && node --test",
    },
    Starter {
        name: "typescript",
        title: "TypeScript",
        language: Language::TypeScript,
        needs: &[],
        imports: &[],
        keywords: ECMASCRIPT,
        template_words: &["contract", "failed"],
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
        template_words: &[],
        takes_digits: true,
        test: "python3 -m unittest discover tests",
    },
    Starter {
        name: "c",
        title: "C",
        language: Language::C,
        needs: &[],
        imports: &[],
        keywords: &[],
        template_words: &[],
        takes_digits: true,
        test: "make test",
    },
];

impl Starter {
    /// Finds a language by the name that `--lang` takes.
    pub fn find(name: &str) -> Option<&'static Self> {
        LANGUAGES.iter().find(|language| language.name == name)
    }
}
