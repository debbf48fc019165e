//! Exports an interface a second time, with the type names that a caller uses.
//!
//! Two functions fit if their types have the same structure, whatever the types are called. But a component also requires the type names
//! of the interface that it imports, although they carry no meaning. The second export adds those names to the unchanged functions.

use wasm_encoder::{
    Alias, ComponentAliasSection, ComponentDefinedTypeEncoder, ComponentExportKind, ComponentExportSection,
    ComponentInstanceSection, ComponentSection, ComponentTypeSection, ComponentValType, PrimitiveValType,
};
use wasmparser::BinaryReaderError;

use super::outline::{Outline, Spaces, take};
use watertight_component::shape::{Interface, Type};

/// A second export to make: an interface with the type names of one caller.
pub(super) struct ExtraExport<'a> {
    /// The name of the existing export.
    pub(super) export: &'a str,
    /// The interface as the caller imports it.
    pub(super) wanted: &'a Interface,
    /// The name of the second export: a plain name, not an interface name.
    pub(super) label: String,
}

/// Returns `component` with the second exports `all`.
pub(super) fn with_exports(component: Vec<u8>, all: &[ExtraExport<'_>]) -> Result<Vec<u8>, BinaryReaderError> {
    if all.is_empty() {
        return Ok(component);
    }
    let Outline { spaces, instances, .. } = Outline::of(&component)?;
    let mut appending = SectionWriter { bytes: component, spaces, named: Vec::new(), labels: 0 };
    for renamed in all {
        let instance = instances.iter().find(|(name, _)| name == renamed.export).map(|(_, index)| *index);
        appending.export(instance.expect("the graph found the export in these bytes"), renamed);
    }
    Ok(appending.bytes)
}

/// A component that sections are appended to, with its index spaces.
struct SectionWriter {
    bytes: Vec<u8>,
    spaces: Spaces,
    /// The exported records, variants, enums and flags so far, each with its type index.
    named: Vec<(Type, u32)>,
    labels: u32,
}

impl SectionWriter {
    fn append(&mut self, section: &impl ComponentSection) {
        section.append_to_component(&mut self.bytes);
    }

    fn export(&mut self, instance: u32, renamed: &ExtraExport<'_>) {
        let wanted = renamed.wanted;
        let mut items = Vec::new();
        for (name, ty) in wanted.structural_types() {
            let index = match self.value(ty) {
                ComponentValType::Type(index) => index,
                primitive => self.define(|encoder| encode_primitive(encoder, primitive)),
            };
            items.push((name.as_str(), ComponentExportKind::Type, index));
        }
        let handles = wanted.types.iter().filter(|(_, ty)| ty.has_handle()).map(|(name, _)| name);
        for name in handles {
            self.alias(instance, ComponentExportKind::Type, name);
            items.push((name, ComponentExportKind::Type, take(&mut self.spaces.types)));
        }
        for name in wanted.functions.keys() {
            self.alias(instance, ComponentExportKind::Func, name);
            items.push((name, ComponentExportKind::Func, take(&mut self.spaces.functions)));
        }
        let mut section = ComponentInstanceSection::new();
        section.export_items(items);
        self.append(&section);
        let index = take(&mut self.spaces.instances);
        let mut section = ComponentExportSection::new();
        section.export(renamed.label.as_str(), ComponentExportKind::Instance, index, None);
        self.append(&section);
        take(&mut self.spaces.instances);
    }

    fn alias(&mut self, instance: u32, kind: ComponentExportKind, name: &str) {
        let mut section = ComponentAliasSection::new();
        section.alias(Alias::InstanceExport { instance, kind, name });
        self.append(&section);
    }

    /// Appends a type definition and returns its index.
    fn define(&mut self, encode: impl FnOnce(ComponentDefinedTypeEncoder<'_>)) -> u32 {
        let mut section = ComponentTypeSection::new();
        encode(section.defined_type());
        self.append(&section);
        take(&mut self.spaces.types)
    }

    /// Defines a type without handles, unless it is defined already. The recursion is bounded, because the validator bounds the depth and
    /// size of types.
    fn value(&mut self, ty: &Type) -> ComponentValType {
        if let Some(primitive) = primitive(ty) {
            return ComponentValType::Primitive(primitive);
        }
        if let Some((_, index)) = self.named.iter().find(|(known, _)| known == ty) {
            return ComponentValType::Type(*index);
        }
        let index = match ty {
            Type::List(item) => {
                let item = self.value(item);
                self.define(|encoder| encoder.list(item))
            }
            Type::FixedList(item, length) => {
                let item = self.value(item);
                self.define(|encoder| encoder.fixed_length_list(item, *length))
            }
            Type::Map(key, value) => {
                let (key, value) = (self.value(key), self.value(value));
                self.define(|encoder| encoder.map(key, value))
            }
            Type::Option(some) => {
                let some = self.value(some);
                self.define(|encoder| encoder.option(some))
            }
            Type::Result { ok, err } => {
                let (ok, err) = (self.maybe(ok.as_deref()), self.maybe(err.as_deref()));
                self.define(|encoder| encoder.result(ok, err))
            }
            Type::Stream(item) => {
                let item = self.maybe(item.as_deref());
                self.define(|encoder| encoder.stream(item))
            }
            Type::Future(value) => {
                let value = self.maybe(value.as_deref());
                self.define(|encoder| encoder.future(value))
            }
            Type::Tuple(types) => {
                let types: Vec<_> = types.iter().map(|ty| self.value(ty)).collect();
                self.define(|encoder| encoder.tuple(types))
            }
            Type::Record(record) => {
                let fields: Vec<_> = record.body.iter().map(|field| (&*field.name, self.value(&field.ty))).collect();
                let index = self.define(|encoder| encoder.record(fields));
                self.name(ty, index)
            }
            Type::Variant(variant) => {
                let case = |case: &watertight_component::shape::Case| (case.name.clone(), self.maybe(case.ty.as_ref()));
                let cases: Vec<_> = variant.body.iter().map(case).collect();
                let cases: Vec<_> = cases.iter().map(|(name, ty)| (&**name, *ty)).collect();
                let index = self.define(|encoder| encoder.variant(cases));
                self.name(ty, index)
            }
            Type::Enum(names) => {
                let names: Vec<&str> = names.body.iter().map(|name| &**name).collect();
                let index = self.define(|encoder| encoder.enum_type(names));
                self.name(ty, index)
            }
            Type::Flags(names) => {
                let names: Vec<&str> = names.body.iter().map(|name| &**name).collect();
                let index = self.define(|encoder| encoder.flags(names));
                self.name(ty, index)
            }
            _ => unreachable!("handles are left out, and what has no parts was met above"),
        };
        ComponentValType::Type(index)
    }

    fn maybe(&mut self, ty: Option<&Type>) -> Option<ComponentValType> {
        ty.map(|ty| self.value(ty))
    }

    /// Exports a type under a name and returns the index of the export. The component model requires a name, and no one refers to it.
    fn name(&mut self, ty: &Type, index: u32) -> u32 {
        let label = format!("watertight-own{}", take(&mut self.labels));
        let mut section = ComponentExportSection::new();
        section.export(label.as_str(), ComponentExportKind::Type, index, None);
        self.append(&section);
        let index = take(&mut self.spaces.types);
        self.named.push((ty.clone(), index));
        index
    }
}

fn encode_primitive(encoder: ComponentDefinedTypeEncoder<'_>, ty: ComponentValType) {
    if let ComponentValType::Primitive(primitive) = ty {
        encoder.primitive(primitive);
    }
}

fn primitive(ty: &Type) -> Option<PrimitiveValType> {
    Some(match ty {
        Type::Bool => PrimitiveValType::Bool,
        Type::U8 => PrimitiveValType::U8,
        Type::S8 => PrimitiveValType::S8,
        Type::U16 => PrimitiveValType::U16,
        Type::S16 => PrimitiveValType::S16,
        Type::U32 => PrimitiveValType::U32,
        Type::S32 => PrimitiveValType::S32,
        Type::U64 => PrimitiveValType::U64,
        Type::S64 => PrimitiveValType::S64,
        Type::F32 => PrimitiveValType::F32,
        Type::F64 => PrimitiveValType::F64,
        Type::Char => PrimitiveValType::Char,
        Type::String => PrimitiveValType::String,
        Type::ErrorContext => PrimitiveValType::ErrorContext,
        _ => return None,
    })
}
