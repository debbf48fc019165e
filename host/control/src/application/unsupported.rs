//! Finds modules that pass the other checks but that no engine accepts: they are invalid or use WebAssembly features that the engines lack.

use watertight_component::shape::{Type, functions_with_part};
use watertight_engine::validate::{ValidationFault, validate};
use watertight_graph::graph::{AppGraph, Node};
use watertight_model::ids::ModuleName;
use watertight_model::problem::{Code, Problem};

/// Adds a problem for every module that the engine of its compartment would reject.
pub(super) fn reject_unsupported(graph: &AppGraph, problems: &mut Vec<Problem>) {
    for compartment in &graph.compartments {
        for module in &compartment.modules {
            let node = &graph.modules[module];
            for refusal in validate(&node.artifact.bytes, compartment.profile) {
                report(module, node, &refusal, problems);
            }
        }
    }
}

fn report(module: &ModuleName, node: &Node, refusal: &ValidationFault, problems: &mut Vec<Problem>) {
    let ValidationFault { feature, message, offset } = refusal;
    let problem = |message: String, help: &str| {
        Problem::new(Code::Compile, message).module(module).file(&node.artifact.path).help(help)
    };
    let Some(feature) = feature else {
        let message = format!("the component of module `{module}` is invalid at byte {offset:#x}: {message}");
        let help = "build it again with current tools; `wasm-tools validate` says more";
        return problems.push(problem(message, help));
    };
    let (what, help) = in_words(feature);
    let message =
        format!("module `{module}` uses {what}, which the host's engine doesn't have (at byte {offset:#x}: {message})");
    let is_wanted: fn(&Type) -> bool = match *feature {
        "CM_FIXED_LENGTH_LISTS" => |ty| matches!(ty, Type::FixedList(..)),
        "CM_ERROR_CONTEXT" => |ty| matches!(ty, Type::ErrorContext),
        _ => |_| false,
    };
    let shape = &node.artifact.shape;
    let before = problems.len();
    for (name, interface) in shape.imports.iter().chain(&shape.exports) {
        for (function, path) in functions_with_part(interface, is_wanted) {
            problems.push(problem(message.clone(), help).interface(name).function(function).type_path(path));
        }
    }
    if problems.len() == before {
        problems.push(problem(message, help));
    }
}

/// Returns a name of a WebAssembly feature for people, and advice on how to build without it.
fn in_words(feature: &str) -> (String, &'static str) {
    let (what, help) = match feature {
        "EXCEPTIONS" | "LEGACY_EXCEPTIONS" => (
            "WebAssembly exceptions",
            "C and C++: build without `-fwasm-exceptions` and without `setjmp` (`-mllvm -wasm-enable-sjlj`); Rust: build with \
             `panic = \"abort\"`; others: switch exceptions off",
        ),
        "THREADS" | "SHARED_EVERYTHING_THREADS" => (
            "atomics or shared memory (threads)",
            "C and C++: build without `-pthread` and `-matomics`; Rust: without the target feature `atomics`",
        ),
        "GC" | "GC_TYPES" | "FUNCTION_REFERENCES" | "CUSTOM_DESCRIPTORS" | "CM_GC" => (
            "values of the engine's garbage collector",
            "build it for linear memory: languages that need the engine's collector can't run here",
        ),
        "CM_FIXED_LENGTH_LISTS" => (
            "a list of fixed length",
            "in the contract, write `list<T>`, or a tuple or record where the length matters",
        ),
        "CM_ERROR_CONTEXT" => {
            ("`error-context`", "in the contract, write a `string`, or a variant of the module's own")
        }
        "CM_ASYNC_STACKFUL" => (
            "`async` functions with a stack of their own",
            "build it so that `async` functions are lifted with a callback",
        ),
        "CM_ASYNC" | "CM_MORE_ASYNC_BUILTINS" | "CM_THREADING" => (
            "parts of the component model's concurrency",
            "build it with the release of its bindings generator for WASI 0.3.0, without threads",
        ),
        "CM64" | "MEMORY64" => ("64-bit memories", "build it for `wasm32`"),
        "STACK_SWITCHING" => ("stack switching", "build it without typed continuations"),
        "WIDE_ARITHMETIC" => ("wide arithmetic", "build it without the target feature `wide-arithmetic`"),
        "CUSTOM_PAGE_SIZES" => ("memory pages of another size", "build it with pages of 64 KiB"),
        "CM_VALUES" => ("values or a start function of the component itself", "export functions instead"),
        other => {
            let what = format!("the feature `{}`", other.to_ascii_lowercase().replace('_', "-"));
            return (what, "build it without that feature");
        }
    };
    (what.to_owned(), help)
}
