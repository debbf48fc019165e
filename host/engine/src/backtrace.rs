//! Backtraces of guests as text: function, file and line, as far as the component's debug information goes.

use std::fmt;

use wasmtime::{FrameInfo, WasmBacktrace};

use watertight_model::ids::ModuleName;

/// The largest number of functions that a log line names.
const MAX_FUNCTIONS: usize = 64;
/// The longest name of a function or file, in bytes. A longer one is cut.
const MAX_NAME: usize = 256;

/// The prefixes of functions that carry out a panic.
const PANIC: [&str; 16] = [
    "abort",
    "__rust",
    "rust_begin_unwind",
    "rust_panic",
    "std::panicking",
    "std::panic::",
    "std::sys::",
    "std::process::abort",
    "std::alloc::",
    "core::panicking",
    "core::option::unwrap_failed",
    "core::option::expect_failed",
    "core::result::unwrap_failed",
    "alloc::alloc::handle_alloc_error",
    "alloc::raw_vec::handle_error",
    "runtime.gopanic",
];
/// The prefixes of functions that belong to a language's standard library or runtime.
const LIBRARY: [&str; 8] = ["core::", "std::", "alloc::", "<core::", "<std::", "<alloc::", "runtime.", "__"];

/// The frames of a guest's stack at a trap, innermost first.
pub struct Backtrace<'a>(&'a [FrameInfo]);

impl<'a> Backtrace<'a> {
    /// Returns the frames that an error of Wasmtime carries, if any.
    pub fn of(error: &'a wasmtime::Error) -> Self {
        Self(error.downcast_ref::<WasmBacktrace>().map_or(&[], |trace| trace.frames()))
    }

    /// Returns the module of the innermost frame. Linking has named each module's core modules after the module. Code in nested components
    /// names itself, so only names accepted by `is_known` count.
    pub fn module(&self, is_known: impl Fn(&ModuleName) -> bool) -> Option<ModuleName> {
        self.0.iter().filter_map(module).find(is_known)
    }

    /// Whether no guest function was running.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether the innermost frame is an adapter between two modules of the compartment.
    pub fn is_between_modules(&self) -> bool {
        self.0.first().is_some_and(is_adapter)
    }

    /// Returns where the functions of the module `of` stopped, innermost first, up to the first frame of another module. Each place is the
    /// function's index in its core module, and the offset of the instruction from the start of the function's body, in bytes.
    pub fn stops(&self, of: &ModuleName) -> impl Iterator<Item = (u32, usize)> {
        let own = self.0.iter().skip_while(|frame| is_adapter(frame));
        let own = own.take_while(|frame| module(frame).is_some_and(|name| name == *of));
        own.filter_map(|frame| Some((frame.func_index(), frame.func_offset()?)))
    }

    /// Lists all functions, including those that the compiler inlined.
    fn functions(&self) -> Vec<Function<'a>> {
        let mut functions = Vec::new();
        for frame in self.0 {
            let module = if is_adapter(frame) { "between" } else { frame.module().name().unwrap_or("?") };
            let symbols = frame.symbols();
            for symbol in symbols {
                let name = symbol.name().or_else(|| frame.func_name()).map(demangled);
                let name = name.unwrap_or_else(|| format!("#{}", frame.func_index()));
                functions.push(Function { module, name, place: symbol.file().map(|file| (file, symbol.line())) });
            }
            if symbols.is_empty() {
                let name = frame.func_name().map_or_else(|| format!("#{}", frame.func_index()), demangled);
                functions.push(Function { module, name, place: None });
            }
        }
        functions
    }
}

/// A function on a guest's stack.
#[derive(PartialEq)]
struct Function<'a> {
    module: &'a str,
    name: String,
    /// The source file, and the line if it is known. `None` if the file is unknown.
    place: Option<(&'a str, Option<u32>)>,
}

impl Function<'_> {
    fn is_named(&self, beginnings: &[&str]) -> bool {
        let name = self.name.as_str();
        // The compiler's own functions are in the crate `__rustc`.
        let name = name.strip_prefix("__rustc::").unwrap_or(name);
        beginnings.iter().any(|beginning| name.starts_with(beginning)) && !name.contains("catch_unwind")
    }
}

impl fmt::Display for Function<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}!{}", shown(self.module), shown(&self.name))?;
        match self.place {
            Some((file, Some(line))) => write!(f, " ({}:{line})", shown(file)),
            Some((file, None)) => write!(f, " ({})", shown(file)),
            None => Ok(()),
        }
    }
}

/// Removes the innermost functions that are not the author's: those that carry out a panic, and those of the language's library in which
/// it happened. If no other functions are left, all are kept.
fn authors<'f, 'a>(functions: &'f [Function<'a>]) -> &'f [Function<'a>] {
    let panic = functions.iter().rposition(|function| function.is_named(&PANIC));
    let rest = &functions[panic.map_or(0, |last| last + 1)..];
    let first = rest.iter().position(|function| !function.is_named(&LIBRARY));
    match (first, rest) {
        (Some(first), rest) => &rest[first..],
        (None, []) => functions,
        (None, rest) => rest,
    }
}

impl fmt::Display for Backtrace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_functions(authors(&self.functions()), f)
    }
}

/// Writes at most [`MAX_FUNCTIONS`] functions, innermost first. Equal neighbours, as in a recursion, are written once with their number.
fn write_functions(functions: &[Function<'_>], f: &mut impl fmt::Write) -> fmt::Result {
    for (place, same) in functions.chunk_by(PartialEq::eq).take(MAX_FUNCTIONS).enumerate() {
        let between = if place == 0 { "" } else { " < " };
        write!(f, "{between}{}", same[0])?;
        if same.len() > 1 {
            write!(f, " (×{})", same.len())?;
        }
    }
    Ok(())
}

fn module(frame: &FrameInfo) -> Option<ModuleName> {
    frame.module().name()?.parse().ok()
}

/// Returns whether a frame belongs to an adapter that Wasmtime generated for a call between two modules. An adapter has no name, and
/// imports the function that it calls from a module named `callee`.
fn is_adapter(frame: &FrameInfo) -> bool {
    frame.module().name().is_none() && frame.module().imports().any(|import| import.module() == "callee")
}

fn demangled(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

/// Returns the beginning of a name, with control characters escaped: names come from untrusted components.
fn shown(name: &str) -> String {
    let name = &name[..name.floor_char_boundary(MAX_NAME)];
    let escaped = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() };
    name.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(names: &[&str]) -> Vec<String> {
        let function = |name: &&str| Function { module: "m", name: (*name).to_owned(), place: None };
        let functions: Vec<_> = names.iter().map(function).collect();
        authors(&functions).iter().map(|function| function.name.clone()).collect()
    }

    #[test]
    fn the_authors_functions_come_first() {
        let panic = [
            "__rustc::__rust_abort",
            "__rustc::rust_panic",
            "std::panicking::panic_with_hook",
            "std::panicking::panic_handler::{closure#0}",
            "std::sys::backtrace::__rust_end_short_backtrace",
            "__rustc::rust_begin_unwind",
            "core::panicking::panic_fmt",
            "core::panicking::panic_bounds_check",
            "<alloc::vec::Vec<u8> as core::ops::index::Index<usize>>::index",
            "tea::price",
            "core::iter::Iterator::map",
            "tea::place",
        ];
        assert_eq!(first(&panic), ["tea::price", "core::iter::Iterator::map", "tea::place"]);
        assert_eq!(
            first(&["tea::price", "std::panic::catch_unwind", "cabi"]),
            ["tea::price", "std::panic::catch_unwind", "cabi"]
        );
        assert_eq!(first(&["abort", "core::panicking::panic"]), ["abort", "core::panicking::panic"]);
        assert_eq!(first(&["#3"]), ["#3"]);
    }

    #[test]
    fn a_function_that_calls_itself_is_written_once() {
        let function = |name: &str| Function { module: "m", name: name.to_owned(), place: None };
        let functions = ["c", "b", "b", "b", "a", "b"].map(function);
        let mut text = String::new();
        write_functions(&functions, &mut text).unwrap();
        assert_eq!(text, "m!c < m!b (×3) < m!a < m!b");
    }

    #[test]
    fn no_name_begins_a_line_of_its_own() {
        let long = "x".repeat(1_000);
        let function = Function { module: "m", name: "a\nb".to_owned(), place: Some((&long, Some(7))) };
        assert_eq!(function.to_string(), format!("m!a\\nb ({}:7)", "x".repeat(MAX_NAME)));
    }
}
