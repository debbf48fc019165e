//! Tests of the refusals of `build` for Python modules, and of their messages.

use crate::workspace::Workspace;

const CODE: &str = "class One:\n    def f(self, n):\n        return n\n";

#[test]
fn what_the_language_can_not_carry_is_named_with_function_and_type() {
    for (contract, part) in [
        ("f: func(words: list<string>) -> map<string, u32>;", "its result has the type `map<string, u32>`"),
        ("f: func(n: option<list<u8, 4>>);", "parameter `n` has the type `list<u8, 4>`"),
    ] {
        let said = Workspace::new(contract, CODE).build().expect(1);
        for part in [part, "`f` of `test:one/one@1.0.0`", "Python doesn't support", "help: "] {
            assert!(said.err.contains(part), "{contract}: {part} is not in {}", said.err);
        }
    }
    let workspace = Workspace::new("f: func(n: u8) -> u8;", CODE);
    let world = "package test:m;\nworld module { import other: test:one/one@1.0.0; export test:one/one@1.0.0; }\n";
    workspace.write("modules/one/wit/world.wit", world);
    let said = workspace.build().expect(1);
    assert!(said.err.contains("`other` of the world is a label for the interface"), "{}", said.err);
}

#[test]
fn what_a_project_lacks_is_told() {
    let workspace = Workspace::new("f: func(n: u8) -> u8;", CODE);
    for (project, part) in [
        ("[project", "pyproject.toml"),
        ("[tool.watertight]\ncomponent = \"app.main\"\n", "there is no file `app/main.py`"),
        ("[tool.watertight]\npath = [\"../nowhere\"]\n", "names `../nowhere`, which is no folder"),
        ("[tool.watertight]\npaths = []\n", "unknown field `paths`"),
    ] {
        workspace.write("modules/one/pyproject.toml", project);
        let said = workspace.build().expect(1);
        assert!(said.err.contains(part), "{part} is not in {}", said.err);
    }
    workspace.write("modules/one/pyproject.toml", "[project]\ndependencies = [\"six\"]\n");
    for (pinned, part) in
        [("six>=1\n", "`six>=1` pins no version"), ("# none\n", "`six` of `pyproject.toml` is missing")]
    {
        workspace.write("modules/one/requirements.txt", pinned);
        let said = workspace.build().expect(1);
        assert!(said.err.contains(part), "{part} is not in {}", said.err);
    }
    // This package has wheels with native code only.
    workspace.write("modules/one/pyproject.toml", "[project]\ndependencies = [\"MarkupSafe\"]\n");
    workspace.write("modules/one/requirements.txt", "markupsafe==3.0.2\n");
    let said = workspace.build().expect(1);
    assert!(said.err.contains("no wheel of `markupsafe==3.0.2` in pure Python"), "{}", said.err);
    workspace.write("modules/one/pyproject.toml", "[project]\nname = \"one\"\n");
    workspace.write("modules/one/fast.so", "");
    assert!(workspace.build().expect(1).err.contains("`fast.so` is native code"));
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (code, parts) in [
        ("class One:\n    def f(self, n)\n", &["File \"component.py\", line 2", "SyntaxError"][..]),
        ("import no_such_package\n", &["File \"component.py\", line 1", "No module named 'no_such_package'"]),
        ("class Two:\n    pass\n", &["`component` has no class `One`, which the world exports"]),
        ("class One:\n    pass\n", &["the class `One` of `component` has no function `f`"]),
        (
            "import random\nGENERATOR = random.Random()\n",
            &["line 2", "random numbers at the top level of a file would be the same in every instance"],
        ),
    ] {
        let said = Workspace::new("f: func(n: u8) -> u8;", code).build().expect(1);
        for part in parts {
            assert!(said.err.contains(part), "{code}: {part} is not in {}", said.err);
        }
        for noise in ["watertight_component", "componentize-py\", line", "Stack backtrace", "importlib"] {
            assert!(!said.err.contains(noise), "{code}: {noise} is in {}", said.err);
        }
    }
}
