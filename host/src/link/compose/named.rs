//! A component whose core modules have the module's name, so that a backtrace says whose code it was.

use std::ops::Range;

use wasm_encoder::{Component, Encode, NameSection, RawSection, Section};
use wasmparser::{BinaryReaderError, Chunk, Parser, Payload};

/// `component` with every core module of it called `name`. What is nested in other components keeps the name that it has.
pub(super) fn named(component: &[u8], name: &str) -> Result<Vec<u8>, BinaryReaderError> {
    let mut names = NameSection::new();
    names.module(name);
    let bytes = |range: Range<u64>| {
        let place = |offset: u64| usize::try_from(offset).map_or(component.len(), |offset| offset.min(component.len()));
        &component[place(range.start)..place(range.end)]
    };
    let mut renamed = Component::new();
    let mut parser = Parser::new(0);
    let mut rest = component;
    loop {
        let Chunk::Parsed { consumed, payload } = parser.parse(rest, true)? else {
            return Ok(renamed.finish());
        };
        rest = &rest[consumed..];
        if let Payload::End(_) = payload {
            return Ok(renamed.finish());
        }
        let Some((id, range)) = payload.as_section() else { continue };
        let nested = matches!(payload, Payload::ModuleSection { .. } | Payload::ComponentSection { .. });
        let mut data = bytes(range).to_vec();
        if nested {
            // The parser goes on behind it.
            rest = &rest[data.len().min(rest.len())..];
        }
        if matches!(payload, Payload::ModuleSection { .. }) {
            // A later name takes the place of an earlier one; the names of functions stay.
            data.push(names.id());
            names.encode(&mut data);
        }
        renamed.section(&RawSection { id, data: &data });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn core_modules_are_named_and_all_else_stays() {
        let text = |name: &str| {
            format!(
                r#"(component {name}
                     (core module {name}_one (func $inner (export "f")))
                     (component (core module $theirs))
                     (core module (memory 1) (data (i32.const 0) "text"))
                     (core instance $i (instantiate 0))
                     (func (export "f") (canon lift (core func $i "f"))))"#,
                name = name
            )
        };
        let component = wat::parse_str(text("$mine")).unwrap();
        let named = named(&component, "greeter").unwrap();
        wasmparser::Validator::new().validate_all(&named).unwrap();
        let printed = |bytes: &[u8]| {
            let mut names = Vec::new();
            for payload in Parser::new(0).parse_all(bytes) {
                if let Payload::CustomSection(section) = payload.unwrap()
                    && let wasmparser::KnownCustom::Name(section) = section.as_known()
                {
                    names.extend(section.into_iter().filter_map(|name| match name.unwrap() {
                        wasmparser::Name::Module { name, .. } => Some(name.to_owned()),
                        _ => None,
                    }));
                }
            }
            names
        };
        assert_eq!(printed(&component), ["mine_one", "theirs"]);
        assert_eq!(printed(&named), ["mine_one", "greeter", "theirs", "greeter"]);
    }
}
