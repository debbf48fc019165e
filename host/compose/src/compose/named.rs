//! Names the core modules of a component after its module, so that backtraces show which module's code ran.
//!
//! It also removes imports that only repeat a type of an imported interface, because no other component could supply them.

use std::ops::Range;

use wasm_encoder::{
    Alias, Component, ComponentAliasSection, ComponentOuterAliasKind, ComponentSectionId, Encode, NameSection,
    RawSection, Section,
};
use wasmparser::{
    BinaryReaderError, Chunk, ComponentAlias, ComponentExternalKind, ComponentImportSectionReader, ComponentTypeRef,
    Parser, Payload, TypeBounds,
};

/// Returns `component` with `name` as the name of its core modules, and without imports that only repeat a type of an imported interface.
/// Core modules inside nested components keep their names.
pub(super) fn named(component: &[u8], name: &str) -> Result<Vec<u8>, BinaryReaderError> {
    let mut names = NameSection::new();
    names.module(name);
    let mut renamed = Component::new();
    let mut types = TypeOrigins::default();
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
        let again = types.add(&payload)?;
        if let Payload::ComponentImportSection(imports) = &payload
            && again.contains(&true)
        {
            without_named_types(imports.clone(), &again, component, &mut renamed)?;
            continue;
        }
        let nested = matches!(payload, Payload::ModuleSection { .. } | Payload::ComponentSection { .. });
        let mut data = slice_of(component, range).to_vec();
        if nested {
            // `rest` must skip the nested binary too: this parser continues behind it.
            rest = &rest[data.len().min(rest.len())..];
        }
        if matches!(payload, Payload::ModuleSection { .. }) {
            // A later name section overrides the module name of an earlier one; function names stay.
            data.push(names.id());
            names.encode(&mut data);
        }
        renamed.section(&RawSection { id, data: &data });
    }
}

/// Tells for each type of the outermost component, by index, whether it comes from an imported interface, which then names it.
#[derive(Default)]
struct TypeOrigins(Vec<bool>);

impl TypeOrigins {
    /// Adds the types that a section defines. Returns for each import of the section whether it only repeats a type of an imported
    /// interface. A `use` in a world makes such imports. A type that the world itself defines is no repetition: the import names it.
    fn add(&mut self, payload: &Payload<'_>) -> Result<Vec<bool>, BinaryReaderError> {
        let known = |types: &Self, index: u32| types.0.get(index as usize).copied().unwrap_or(false);
        let mut again = Vec::new();
        match payload {
            Payload::ComponentTypeSection(section) => self.0.extend((0..section.count()).map(|_| false)),
            Payload::ComponentAliasSection(section) => {
                for alias in section.clone() {
                    match alias? {
                        ComponentAlias::InstanceExport { kind: ComponentExternalKind::Type, .. } => self.0.push(true),
                        ComponentAlias::Outer { kind: wasmparser::ComponentOuterAliasKind::Type, index, .. } => {
                            let known = known(self, index);
                            self.0.push(known);
                        }
                        _ => {}
                    }
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section.clone() {
                    let is_again = match import?.ty {
                        ComponentTypeRef::Type(TypeBounds::Eq(index)) => {
                            let known = known(self, index);
                            self.0.push(known);
                            known
                        }
                        ComponentTypeRef::Type(TypeBounds::SubResource) => {
                            self.0.push(false);
                            false
                        }
                        _ => false,
                    };
                    again.push(is_again);
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section.clone() {
                    let export = export?;
                    if export.kind == ComponentExternalKind::Type {
                        let known = known(self, export.index);
                        self.0.push(known);
                    }
                }
            }
            _ => {}
        }
        Ok(again)
    }
}

/// Writes the imports of a section, with an alias in place of each import that only repeats a known type. Those imports must go because
/// nothing outside the component could pass in a resource type that an interface defines.
fn without_named_types(
    imports: ComponentImportSectionReader<'_>,
    again: &[bool],
    component: &[u8],
    renamed: &mut Component,
) -> Result<(), BinaryReaderError> {
    let end = imports.range().end;
    let imports = imports.into_iter_with_offsets().collect::<Result<Vec<_>, _>>()?;
    let mut plain = RawImports::default();
    for (place, (start, import)) in imports.iter().enumerate() {
        if let (ComponentTypeRef::Type(TypeBounds::Eq(index)), true) = (import.ty, again[place]) {
            plain.flush(renamed);
            let mut alias = ComponentAliasSection::new();
            alias.alias(Alias::Outer { kind: ComponentOuterAliasKind::Type, count: 0, index });
            renamed.section(&alias);
        } else {
            let end = imports.get(place + 1).map_or(end, |(next, _)| *next);
            plain.add(slice_of(component, *start..end));
        }
    }
    plain.flush(renamed);
    Ok(())
}

/// Imports in their encoded form, copied without changes.
#[derive(Default)]
struct RawImports {
    count: u32,
    bytes: Vec<u8>,
}

impl RawImports {
    fn add(&mut self, import: &[u8]) {
        self.count += 1;
        self.bytes.extend_from_slice(import);
    }

    fn flush(&mut self, renamed: &mut Component) {
        let Self { count, bytes } = std::mem::take(self);
        if count > 0 {
            let mut data = Vec::new();
            count.encode(&mut data);
            data.extend(bytes);
            renamed.section(&RawSection { id: ComponentSectionId::Import as u8, data: &data });
        }
    }
}

/// Returns the bytes of `component` at `range`. Bytes beyond the component's end are left out.
fn slice_of(component: &[u8], range: Range<u64>) -> &[u8] {
    let place = |offset: u64| usize::try_from(offset).map_or(component.len(), |offset| offset.min(component.len()));
    &component[place(range.start)..place(range.end)]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_the_world_names_again_is_no_import() {
        let component = wat::parse_str(
            r#"(component
                 (import "a:a/a" (instance $a (export "r" (type (sub resource))) (export "n" (type (eq 0)))))
                 (alias export $a "r" (type $r))
                 (import "r" (type $again (eq $r)))
                 (import "b:b/b" (instance $b (export "f" (func (param "x" (own $again))))))
                 (import "s" (type $s (eq $r)))
                 (type $record (record (field "x" u8)))
                 (import "own" (type $own (eq $record)))
                 (import "c:c/c" (instance (export "f" (func (param "x" u8)))))
                 (export "t" (type $s)))"#,
        );
        let named = named(&component.unwrap(), "greeter").unwrap();
        wasmparser::Validator::new().validate_all(&named).unwrap();
        let mut imports = Vec::new();
        for payload in Parser::new(0).parse_all(&named) {
            if let Payload::ComponentImportSection(section) = payload.unwrap() {
                imports.extend(section.into_iter().map(|import| import.unwrap().name.name.to_owned()));
            }
        }
        // `own` stays: it is a type of the world itself, so the import is its only name.
        assert_eq!(imports, ["a:a/a", "b:b/b", "own", "c:c/c"]);
    }

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
