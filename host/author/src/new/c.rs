//! What the generated header of a C module declares, for templates that call these functions or define them.

use anyhow::Context as _;
use serde_json::{Value, json};
use wit_bindgen_core::Files;

use super::stubs::parsed;
use watertight_build::World;

/// What a function does that is still to be written.
const UNWRITTEN: &str = "assert(false && \"this function is not written yet\")";

/// The header of a module's bindings, and the code to it, which defines some of the functions itself.
pub(super) struct Header {
    text: String,
    code: String,
}

/// A function that the header declares.
struct Declared<'a> {
    result: &'a str,
    name: &'a str,
    /// The type and the name of each parameter.
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Declared<'a> {
    /// Reads a line of the header, if it declares a function.
    fn read(line: &'a str) -> Option<Self> {
        let line = line.strip_prefix("extern ").unwrap_or(line);
        let (start, parameters) = line.strip_suffix(");")?.split_once('(')?;
        let (result, name) = start.split_once(' ')?;
        let parameter = |text: &'a str| {
            let at = text.rfind([' ', '*']).map_or(0, |at| at + 1);
            (text[..at].trim_end(), &text[at..])
        };
        let parameters = parameters.split(", ").filter(|one| *one != "void").map(parameter).collect();
        Some(Self { result, name, parameters })
    }
}

impl Header {
    /// Generates the header of a module's world.
    pub(super) fn of(world: &World) -> anyhow::Result<Self> {
        let (mut resolve, id) = parsed(world)?;
        let mut files = Files::default();
        let options = wit_bindgen_c::Opts { no_object_file: true, ..Default::default() };
        options.build().generate(&mut resolve, id, &mut files)?;
        let file = |extension: &str| {
            let file = files.iter().find(|(name, _)| name.ends_with(extension)).context("the generator writes both")?;
            Ok::<_, anyhow::Error>(std::str::from_utf8(file.1)?.to_owned())
        };
        Ok(Self { text: file(".h")?, code: file(".c")? })
    }

    /// Whether the code of the bindings defines a function, such as those that hand over a resource.
    fn is_defined(&self, name: &str) -> bool {
        let call = format!("{name}(");
        // The wrappers of exported functions have longer names that end alike.
        let is_head = |line: &str| line.split_once(&call).is_some_and(|(before, _)| before.ends_with([' ', '*']));
        let mut heads = self.code.lines().filter(|line| !line.starts_with(char::is_whitespace) && line.ends_with('{'));
        heads.any(is_head)
    }

    fn declared(&self) -> impl Iterator<Item = Declared<'_>> {
        self.text.lines().filter_map(Declared::read)
    }

    /// Returns a definition of each function that the module exports.
    pub(super) fn definitions(&self) -> String {
        let is_own = |one: &Declared<'_>| one.name.starts_with("exports_") && !self.is_defined(one.name);
        let exported = self.declared().filter(is_own);
        let definition = |function: Declared<'_>| {
            let Declared { result, name, parameters } = function;
            let shown = |(ty, name): &(&str, &str)| match ty.ends_with('*') {
                true => format!("{ty}{name}"),
                false => format!("{ty} {name}"),
            };
            let unused: String = parameters.iter().map(|(_, name)| format!("    (void){name};\n")).collect();
            let parameters = match parameters.is_empty() {
                true => "void".to_owned(),
                false => parameters.iter().map(shown).collect::<Vec<_>>().join(", "),
            };
            format!("{result} {name}({parameters}) {{\n{unused}    {UNWRITTEN};\n    abort();\n}}\n")
        };
        exported.map(definition).collect::<Vec<_>>().join("\n")
    }

    /// Returns how a function of another module is called: the call itself, and the variables that it fills, each with the function that
    /// frees it. `kinds` says what the arguments are.
    fn call(&self, name: &str, kinds: &[&str], has_result: bool) -> Option<Value> {
        let function = self.declared().find(|one| one.name == name)?;
        let results = function.parameters.get(kinds.len()..)?.iter().map(|(ty, name)| {
            let ty = ty.trim_end_matches(['*', ' ']);
            let free = format!("{}_free", ty.strip_suffix("_t").unwrap_or(ty));
            let free = self.declared().any(|one| one.name == free).then_some(free);
            (*name, json!({ "type": ty, "name": name, "free": free }))
        });
        let (names, results): (Vec<&str>, Vec<Value>) = results.unzip();
        let argument = |kind: &&str| match *kind {
            "string" => "&name".to_owned(),
            "none" => "NULL".to_owned(),
            "bool" => "true".to_owned(),
            _ => "1".to_owned(),
        };
        let arguments = kinds.iter().map(argument).chain(names.iter().map(|name| format!("&{name}")));
        let call = format!("{name}({})", arguments.collect::<Vec<_>>().join(", "));
        // An option that is returned is there where the function says `true`.
        let is_optional = !has_result && function.result == "bool" && !names.is_empty();
        Some(json!({ "call": call, "results": results, "is_optional": is_optional }))
    }
}

/// Adds to each call of another module how it looks in C.
pub(super) fn describe(world: &World, calls: &mut Value) -> anyhow::Result<()> {
    let header = Header::of(world)?;
    for call in calls.as_array_mut().into_iter().flatten() {
        let Some(names) = names(call) else { continue };
        let kinds: Vec<&str> = call["arguments"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let has_result = call["has_result"] == true;
        let described = names.iter().find_map(|name| header.call(name, &kinds, has_result));
        call["c"] = described.with_context(|| format!("the header has none of {names:?}"))?;
    }
    Ok(())
}

/// Returns the names that the function of a call may have: with the version of its package if the world has several.
fn names(call: &Value) -> Option<[String; 2]> {
    let (package, rest) = call["interface"].as_str()?.split_once('/')?;
    let (interface, version) = rest.split_once('@').unwrap_or((rest, ""));
    let function = call["function"].as_str()?;
    let name = |parts: &[&str]| parts.join("_").replace([':', '-', '.', '+'], "_").to_lowercase();
    Some([name(&[package, interface, function]), name(&[package, version, interface, function])])
}
