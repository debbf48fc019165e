//! Finds without compiling what an engine would refuse in a component.

use wasmparser::{BinaryReaderError, Validator, WasmFeatures};

use watertight_component::profile::Profile;

/// The most missing WebAssembly features that are named for one component. Each costs several validations.
const MAX_FEATURES: usize = 8;

/// A reason why an engine refuses a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidationFault {
    /// The WebAssembly feature that the component needs and the engine lacks, by `wasmparser`'s name. `None` if the
    /// component is invalid with any features.
    pub feature: Option<&'static str>,
    /// The validator's message.
    pub message: String,
    /// The position of the fault in the component's bytes.
    pub offset: u64,
}

/// Returns every reason why a profile's engine would refuse a component. Empty if the engine accepts it.
///
/// The whole component is validated, with function bodies, by the validator and with the features that compiling uses.
pub fn validate(component: &[u8], profile: Profile) -> Vec<ValidationFault> {
    let mut features = features(profile);
    let mut refusals = Vec::new();
    while let Err(error) = validate_with(component, features) {
        let missing = missing(component, features, &error).filter(|_| refusals.len() < MAX_FEATURES);
        refusals.push(ValidationFault {
            feature: missing.map(|(name, _)| name),
            message: error.message().lines().collect::<Vec<_>>().join(": "),
            offset: error.offset(),
        });
        match missing {
            Some((_, feature)) => features |= feature,
            None => break,
        }
    }
    refusals
}

/// The WebAssembly features of a profile's engine: those of Wasmtime built without `gc` and `threads`, and those that
/// [`Profile::config`] adds. A test below compares them with the engines.
fn features(profile: Profile) -> WasmFeatures {
    let mut features =
        WasmFeatures::WASM3 | WasmFeatures::COMPONENT_MODEL | WasmFeatures::CM_IMPLEMENTS | WasmFeatures::CM_MAP;
    features.remove(WasmFeatures::GC_TYPES | WasmFeatures::EXCEPTIONS | WasmFeatures::THREADS);
    features.insert(WasmFeatures::WIDE_ARITHMETIC);
    features.set(WasmFeatures::CM_ASYNC, profile == Profile::Async);
    features
}

fn validate_with(component: &[u8], features: WasmFeatures) -> Result<(), BinaryReaderError> {
    Validator::new_with_features(features).validate_all(component).map(|_| ())
}

/// Returns a WebAssembly feature that is not in `features` and with which validation gets further than to `error`. `None` if there is none.
fn missing(
    component: &[u8],
    features: WasmFeatures,
    error: &BinaryReaderError,
) -> Option<(&'static str, WasmFeatures)> {
    let off = WasmFeatures::all().iter_names().filter(|(_, feature)| !features.contains(*feature));
    let helps = |feature: WasmFeatures| match validate_with(component, features | feature) {
        Ok(()) => true,
        Err(next) => next.offset() > error.offset(),
    };
    let mut off: Vec<_> = off.collect();
    // The features that toolchains use most come first, because each attempt costs a validation.
    off.sort_by_key(|(name, _)| !matches!(*name, "EXCEPTIONS" | "THREADS" | "GC_TYPES"));
    off.into_iter().find(|(_, feature)| helps(*feature))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A component around one core module.
    fn core(fields: &str) -> String {
        format!("(component (core module {fields}))")
    }

    /// Components, each with the features that it needs and the engine lacks.
    fn components() -> Vec<(String, &'static [&'static str])> {
        vec![
            (core("(func (export \"f\") (result i32) (i32.const 1))"), &[]),
            (core("(func (result v128) (v128.const i64x2 0 0))"), &[]),
            (core("(memory 1) (memory 1)"), &[]),
            (core("(memory i64 1)"), &[]),
            (core("(func $f (return_call $f))"), &[]),
            (core("(table 1 externref)"), &["GC_TYPES"]),
            (core("(type (struct (field i32)))"), &["GC_TYPES"]),
            (core("(tag (param i32))"), &["EXCEPTIONS"]),
            (core("(tag $e) (func try catch $e end)"), &["EXCEPTIONS", "LEGACY_EXCEPTIONS"]),
            (core("(memory 1 1 shared)"), &["THREADS"]),
            (core("(memory 1) (func (drop (i32.atomic.load (i32.const 0))))"), &["THREADS"]),
            (core("(memory 1 (pagesize 1))"), &["CUSTOM_PAGE_SIZES"]),
            (core("(func (drop (drop (i64.add128 (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)))))"), &[]),
            ("(component (type (list u8 6)))".to_owned(), &["CM_FIXED_LENGTH_LISTS"]),
            ("(component (type (map string u8)))".to_owned(), &[]),
            ("(component (type (func (result error-context))))".to_owned(), &["CM_ERROR_CONTEXT"]),
            ("(component (type (func async (result u8))))".to_owned(), &[]),
            ("(component (type (stream u8)))".to_owned(), &[]),
            ("(component (core func (canon waitable-set.new)))".to_owned(), &[]),
            ("(component (core func (canon thread.index)))".to_owned(), &["CM_THREADING"]),
            (core("(func (result i32) (i64.const 1))"), &[""]),
        ]
    }

    #[test]
    fn what_is_missing_is_named_and_the_engine_agrees() {
        let engine = wasmtime::Engine::new(&crate::config_to_compile(Profile::Async)).unwrap();
        for (text, expected) in components() {
            let bytes = wat::parse_str(&text).unwrap();
            let refusals = validate(&bytes, Profile::Async);
            let found: Vec<&str> = refusals.iter().map(|refusal| refusal.feature.unwrap_or_default()).collect();
            assert_eq!(found, expected, "{text}: {refusals:?}");
            let compiled = engine.precompile_component(&bytes);
            assert_eq!(compiled.is_ok(), refusals.is_empty(), "{text}: {:?}", compiled.err());
        }
    }

    #[test]
    fn concurrency_is_for_one_profile() {
        let bytes = wat::parse_str("(component (type (func async (result u8))))").unwrap();
        for profile in Profile::ALL {
            let engine = wasmtime::Engine::new(&crate::config_to_compile(profile)).unwrap();
            let refusals = validate(&bytes, profile);
            assert_eq!(engine.precompile_component(&bytes).is_ok(), refusals.is_empty(), "{profile:?} {refusals:?}");
            assert_eq!(refusals.is_empty(), profile == Profile::Async);
        }
    }
}
