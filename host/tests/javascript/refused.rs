//! Tests of the refusals of `build` for JavaScript modules, and of their messages.

use std::fs;

use crate::workspace::Workspace;

const CODE: &str = "export const one = { f: (n) => n };\n";

#[test]
fn what_the_language_can_not_carry_is_named_with_function_and_type() {
    for (contract, part) in [
        ("f: func(words: list<string>) -> map<string, u32>;", "its result has the type `map<string, u32>`"),
        (
            "record r { m: map<u8, list<s64>> } f: func(n: option<r>);",
            "parameter `n` has the type `map<u8, list<s64>>`",
        ),
        ("f: func(n: list<u8, 4>);", "parameter `n` has the type `list<u8, 4>`"),
        ("f: func(n: stream<u8>);", "parameter `n` has the type `stream<u8>`"),
        ("f: func() -> future<string>;", "its result has the type `future<string>`"),
        ("f: async func(n: u8) -> u8;", "is an `async func`"),
        ("f: func(n: error-context);", "parameter `n` has the type `error-context`"),
    ] {
        let said = Workspace::new(contract, CODE).build().expect(1);
        for part in [part, "`f` of `test:one/one@1.0.0`", "JavaScript doesn't support", "help: "] {
            assert!(said.err.contains(part), "{contract}: {part} is not in {}", said.err);
        }
        assert!(!said.err.contains("panicked"), "{}", said.err);
    }
}

#[test]
fn names_that_the_toolchain_can_not_read_are_named_with_their_place() {
    for (contract, part) in [
        ("f: func(line-2: string);", "the parameter `line-2` of `f` of `test:one/one@1.0.0`"),
        ("get-2fa: func();", "the function `get-2fa` of `test:one/one@1.0.0`"),
        ("variant error { needs-2FA } f: func() -> result<_, error>;", "the case `needs-2FA` of `error` of `test:one/"),
        ("enum error { needs-2fa } f: func(e: error);", "the case `needs-2fa` of `error` of `test:one/"),
        ("record r { line-2: u8 } f: func(n: list<r>);", "the field `line-2` of `r` of `test:one/"),
        ("flags r { read-1 } f: func(n: r);", "the flag `read-1` of `r` of `test:one/"),
        ("record vat-2025 { n: u8 } f: func(n: vat-2025);", "the type `vat-2025` of `test:one/"),
        ("resource r { constructor(); get-2: func(); }", "the function `get-2` of `test:one/"),
    ] {
        let said = Workspace::new(contract, CODE).build().expect(1);
        for part in [part, "JavaScript doesn't support", "has a word that begins with a digit", "help: "] {
            assert!(said.err.contains(part), "{contract}: {part} is not in {}", said.err);
        }
    }
    let workspace = Workspace::new("f: func(n: u8) -> u8;", CODE);
    let world = "package test:m;\nworld module { export text-3: interface { f: func(); } export add-2: func(); }\n";
    workspace.write("modules/one/wit/world.wit", world);
    let said = workspace.build().expect(1);
    for part in ["the interface `text-3` of the world", "the function `add-2` of the world"] {
        assert!(said.err.contains(part), "{part} is not in {}", said.err);
    }
    let world = "package test:m;\nworld module { import other: test:one/one@1.0.0; export test:one/one@1.0.0; }\n";
    workspace.write("modules/one/wit/world.wit", world);
    let said = workspace.build().expect(1);
    assert!(
        said.err.contains("`other` of the world is a label for the interface `test:one/one@1.0.0`"),
        "{}",
        said.err
    );
}

#[test]
fn what_a_world_names_itself_is_exported_in_camel_case() {
    let code = "export const myText = { upTo: (n) => n };\nexport const vatRate = { f: (n) => n };\n\
                export const addAll = (n) => n;\n";
    let workspace = Workspace::new("f: func(n: u8) -> u8;", code);
    let world = "package test:m;\nworld module {\n  export my-text: interface { up-TO: func(n: u64) -> u64; }\n  \
                 export VAT-rate: interface { f: func(n: s64) -> s64; }\n  export add-ALL: func(n: u8) -> u8;\n}\n";
    workspace.write("modules/one/wit/world.wit", world);
    workspace.build().expect(0);
}

#[test]
fn mistakes_are_told_with_their_place() {
    let contract = "f: func(n: string) -> string;";
    let told = |code: &str, parts: &[&str]| {
        let workspace = Workspace::new(contract, code);
        workspace.write("modules/one/typed.ts", "export const f = (n: string): string => n;\n");
        let said = workspace.build().expect(1);
        for part in parts {
            assert!(said.err.contains(part), "{code}: {part} is not in {}", said.err);
            assert_eq!(said.err.matches(part).count(), 1, "{part} is told twice: {}", said.err);
        }
    };
    told("export const one = {\n  f: (n) => n,\n};\nconst = 1;\n", &["component.js:4:7: SyntaxError: ", "const = 1;"]);
    let typescript = "TypeScript is not JavaScript: give its files names";
    told("const f = (n: string): string => n;\nexport const one = { f };\n", &["component.js:1:", typescript]);
    told("import { f } from './typed.ts';\nexport const one = { f };\n", &["typed.ts:1:1: ", typescript]);
    told(
        "import { f } from './nothing.js';\nexport const one = { f };\n",
        &["component.js:1:19: ", "no file `./nothing.js`"],
    );
    told("import f from 'left-pad';\nexport const one = { f };\n", &["`npm install --ignore-scripts left-pad`"]);
    told("import f from '@a/b/c';\nexport const one = { f };\n", &["`npm install --ignore-scripts @a/b`"]);
    told(
        "import f from 'wasi:random/random@0.2.6';\nexport const one = { f };\n",
        &["world does not import `wasi:random/random@0.2.6`"],
    );
    told("import f from 'node:fs';\nexport const one = { f };\n", &["`node:fs` is a part of Node.js"]);
    told("export const two = {};\n", &["does not export a \"one\" interface", "export const one = {};"]);
    told("export const one = {};\n", &["does not export a function `one.f`"]);
    told(
        "export const one = { f: (n) => n };\n\nunknown();\n",
        &["ReferenceError: unknown is not defined", "component.js:3"],
    );

    let workspace = Workspace::new(contract, CODE);
    workspace.write("modules/one/package.json", r#"{"main":"component.ts"}"#);
    assert!(workspace.build().expect(1).err.contains("there is no such file"));
}

#[test]
fn packages_are_found_by_their_bare_names() {
    let code = "import { pad } from 'padding';\nexport const one = { f: (n) => pad(n) };\n";
    let workspace = Workspace::new("f: func(n: string) -> string;", code);
    let listed = r#"{"type":"module","main":"component.js","dependencies":{"padding":"1.0.0"}}"#;
    workspace.write("modules/one/package.json", listed);
    let said = workspace.build().expect(1);
    assert!(
        said.err.contains("run `npm install --ignore-scripts`") && said.err.contains("node_modules"),
        "{}",
        said.err
    );
    workspace.write(
        "modules/one/node_modules/padding/package.json",
        r#"{"name":"padding","exports":"./lib/index.mjs","version":"1.0.0"}"#,
    );
    workspace.write("modules/one/node_modules/padding/lib/index.mjs", "export * from './pad.mjs';\n");
    workspace.write("modules/one/node_modules/padding/lib/pad.mjs", "export const pad = (text) => text.padStart(9);\n");
    workspace.build().expect(0);
    assert!(fs::exists(workspace.0.path().join("target/components/one.wasm")).unwrap());
}
