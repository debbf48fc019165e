//! Takes away the interface by which componentize-py starts the interpreter at build time. A component exports it still, as `exports`.

use wasmparser::{ComponentExternalKind, Parser, Payload};

/// The name of the export.
const EXPORT: &str = "exports";

/// A section with one instance that exports nothing. It takes the place of the export in the numbers of instances.
const EMPTY_INSTANCE: [u8; 5] = [5, 3, 1, 1, 0];

/// Returns the component without the interface. Returns it as it is if it has none in a section of its own.
pub(super) fn without(component: Vec<u8>) -> wasmparser::Result<Vec<u8>> {
    // Sections within sections are skipped.
    let (mut depth, mut end) = (0, 0);
    for payload in Parser::new(0).parse_all(&component) {
        let payload = payload?;
        match &payload {
            Payload::Version { range, .. } => {
                depth += 1;
                if depth == 1 {
                    end = range.end;
                }
            }
            Payload::End(_) => depth -= 1,
            _ => {}
        }
        let Some((_, section)) = payload.as_section().filter(|_| depth == 1) else { continue };
        if let Payload::ComponentExportSection(exports) = payload {
            let found: Vec<_> = exports.into_iter().collect::<wasmparser::Result<_>>()?;
            let is_it = |kind, name: &str| kind == ComponentExternalKind::Instance && name == EXPORT;
            if let [only] = &found[..]
                && is_it(only.kind, only.name.name)
            {
                // The parser read both places, so they are in the bytes.
                let place = |offset: u64| usize::try_from(offset).unwrap_or(component.len());
                let (before, after) = (&component[..place(end)], &component[place(section.end)..]);
                return Ok([before, &EMPTY_INSTANCE[..], after].concat());
            }
        }
        end = section.end;
    }
    Ok(component)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use wasmparser::{Validator, WasmFeatures};

    use super::*;

    /// Returns a component that exports `exports`, `between` and the interface `t:t/api`, in this order.
    fn component(between: &str) -> Vec<u8> {
        let text = format!(
            r#"(component
                 (component (instance $within) (export "exports" (instance $within)))
                 (core module $code (func (export "f") (result i32) (i32.const 7)))
                 (core instance $code (instantiate $code))
                 (func $f (result u32) (canon lift (core func $code "f")))
                 (instance $init (export "init" (func $f)))
                 (export "exports" (instance $init))
                 {between}
                 (instance $api (export "call" (func $f)))
                 (export "t:t/api" (instance $api)))"#
        );
        wat::parse_str(text).unwrap()
    }

    /// Returns the names that a valid component exports itself.
    fn exports(component: &[u8]) -> Vec<String> {
        Validator::new_with_features(WasmFeatures::all()).validate_all(component).unwrap();
        let (mut depth, mut names) = (0, Vec::new());
        for payload in Parser::new(0).parse_all(component) {
            match payload.unwrap() {
                Payload::Version { .. } => depth += 1,
                Payload::End(_) => depth -= 1,
                Payload::ComponentExportSection(exports) if depth == 1 => {
                    names.extend(exports.into_iter().map(|export| export.unwrap().name.name.to_owned()));
                }
                _ => {}
            }
        }
        names
    }

    #[test]
    fn the_interface_is_taken_away_and_the_others_keep_their_numbers() {
        let made = component("");
        assert_eq!(exports(&made), ["exports", "t:t/api"]);
        let without_it = without(made).unwrap();
        assert_eq!(exports(&without_it), ["t:t/api"]);
        // There is nothing to take away a second time, and nothing of components within is touched.
        assert_eq!(without(without_it.clone()).unwrap(), without_it);
    }

    #[test]
    fn what_is_not_only_the_interface_is_left_as_it_is() {
        // The next export stands in the same section.
        let made = component(r#"(export "more" (func $f))"#);
        assert_eq!(exports(&made), ["exports", "more", "t:t/api"]);
        assert_eq!(without(made.clone()).unwrap(), made);
        assert!(without(b"no component".to_vec()).is_err());
    }
}
