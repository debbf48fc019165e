//! Reads the [`Shape`] of a component from its bytes.
//!
//! The validator of wasmparser does the work. It bounds the size and depth of types. Function bodies are skipped, so that a component of
//! many megabytes is read in milliseconds. `wit_component::decode` is not used: it merges an interface that is both imported and exported
//! into one, and refuses components that WIT can't express. The bytes are untrusted: every fault in them is an error.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use wasmparser::component_types::{
    ComponentAnyTypeId, ComponentDefinedType, ComponentDefinedTypeId, ComponentEntityType, ComponentFuncTypeId,
    ComponentInstanceTypeId, ComponentItem, ComponentValType, ResourceId,
};
use wasmparser::types::{Types, TypesRef};
use wasmparser::{Encoding, Parser, Payload, PrimitiveValType, ValidPayload, Validator, WasmFeatures};

use super::{Case, Field, Function, Interface, Named, Resource, Shape, Type};
use watertight_model::ids::InterfaceName;

/// Greatest depth to which types may nest. The validator has the same bound; this one protects the recursion in this file.
const MAX_DEPTH: usize = 100;

/// The reason that a component's imports and exports can't be read from bytes.
#[derive(Debug, thiserror::Error)]
pub enum ShapeError {
    /// The bytes are not WebAssembly.
    #[error("this is not WebAssembly: it does not start with `\\0asm`")]
    NotWasm,
    /// The bytes are a core WebAssembly module, not a component.
    #[error("this is a core WebAssembly module, not a component")]
    CoreModule,
    /// The bytes end too early.
    #[error("the component ends too early, after {length} bytes: it is truncated or damaged")]
    Truncated {
        /// The number of bytes that are there.
        length: usize,
    },
    /// The bytes are not a valid component.
    #[error("the component is invalid at byte {offset:#x}: {message}")]
    Invalid {
        /// The offset of the fault from the start, in bytes.
        offset: u64,
        /// The message of the validator.
        message: String,
    },
    /// A type nests more than 100 levels deep.
    #[error("a type is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// An import or export has a type that the values of functions can't have.
    #[error("the import or export `{name}` has an unsupported type: {what}")]
    Unsupported {
        /// The name of the import or export.
        name: String,
        /// The reason that the type isn't supported.
        what: &'static str,
    },
}

impl ShapeError {
    /// Returns what the operator can do about the error.
    pub fn help(&self) -> &'static str {
        match self {
            Self::NotWasm => "give a component file, as `watertight build` makes it",
            Self::CoreModule => {
                "make a component of the core module: `watertight build`, or `wasm-tools component new` for other toolchains"
            }
            Self::Truncated { .. } => "copy or build the file again",
            Self::Invalid { .. } => {
                "build the component again with current tools; `wasm-tools validate --features all` shows details"
            }
            Self::TooDeep | Self::Unsupported { .. } => "simplify the type in the WIT interface",
        }
    }
}

/// Reads the imports and exports of the component in `bytes`. Function bodies are not read.
///
/// # Errors
///
/// [`ShapeError`] if the bytes are not a component, or break the rules of the component model.
pub fn read(bytes: &[u8]) -> Result<Shape, ShapeError> {
    if !bytes.starts_with(b"\0asm") {
        return Err(if bytes.len() < 4 && b"\0asm".starts_with(bytes) && !bytes.is_empty() {
            ShapeError::Truncated { length: bytes.len() }
        } else {
            ShapeError::NotWasm
        });
    }
    let outline = Outline::of(bytes)?;
    let mut reader = Reader::new(outline.types.as_ref());
    let imports = outline.items(&outline.imports, |types, name| types.component_item_for_import(name));
    let exports = outline.items(&outline.exports, |types, name| types.component_item_for_export(name));
    // All names are learned before any type is read, in the order of the file: a later interface may use an earlier one's types.
    for (name, item) in imports.iter().chain(&exports) {
        reader.collect_names(name, item);
    }
    let mut shape = Shape::default();
    for (name, item) in imports {
        reader.add(name, item, &mut shape.imports, &mut shape.bare_imports)?;
    }
    split_functions(&mut shape.imports);
    for (name, item) in exports {
        reader.add(name, item, &mut shape.exports, &mut shape.bare_exports)?;
    }
    Ok(shape)
}

/// Gives each function that a world imports directly an entry of its own, as far as its name is a label.
fn split_functions(imports: &mut BTreeMap<InterfaceName, Interface>) {
    let Some(mut world) = imports.remove(&InterfaceName::world()) else { return };
    for (name, function) in std::mem::take(&mut world.functions) {
        match InterfaceName::label(&name) {
            Ok(label) => {
                imports.insert(label, Interface::of_function(&name, function));
            }
            Err(_) => {
                world.functions.insert(name, function);
            }
        }
    }
    if !world.functions.is_empty() {
        imports.insert(InterfaceName::world(), world);
    }
}

/// The imports and exports of the outermost component by name, with the types that the validator made of them.
struct Outline {
    types: Types,
    imports: Vec<String>,
    exports: Vec<String>,
}

impl Outline {
    fn of(bytes: &[u8]) -> Result<Self, ShapeError> {
        let invalid = |error: wasmparser::Error| {
            if error.message().contains("unexpected end-of-file") {
                return ShapeError::Truncated { length: bytes.len() };
            }
            // The validator writes each nested cause on a line of its own.
            let message = error.message().lines().collect::<Vec<_>>().join(": ");
            ShapeError::Invalid { offset: error.offset(), message }
        };
        let mut parser = Parser::new(0);
        parser.set_features(WasmFeatures::all());
        let mut validator = Validator::new_with_features(WasmFeatures::all());
        let (mut imports, mut exports) = (Vec::new(), Vec::new());
        let mut nested = 0_usize;
        for payload in parser.parse_all(bytes) {
            let payload = payload.map_err(invalid)?;
            if let Payload::Version { encoding: Encoding::Module, .. } = payload
                && nested == 0
            {
                return Err(ShapeError::CoreModule);
            }
            match validator.payload(&payload).map_err(invalid)? {
                ValidPayload::Parser(_) => nested += 1,
                ValidPayload::End(types) if nested == 0 => return Ok(Self { types, imports, exports }),
                ValidPayload::End(_) => nested -= 1,
                // A function body is passed over here and not validated: compilation validates it.
                ValidPayload::Ok | ValidPayload::Func(..) => {}
            }
            match payload {
                Payload::ComponentImportSection(section) if nested == 0 => {
                    for import in section {
                        imports.push(import.map_err(invalid)?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if nested == 0 => {
                    for export in section {
                        exports.push(export.map_err(invalid)?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Err(ShapeError::Truncated { length: bytes.len() })
    }

    fn items<'a>(
        &'a self,
        names: &'a [String],
        find: impl Fn(TypesRef<'a>, &str) -> Option<&'a ComponentItem>,
    ) -> Vec<(&'a str, &'a ComponentItem)> {
        let item = |name: &'a String| Some((name.as_str(), find(self.types.as_ref(), name)?));
        names.iter().filter_map(item).collect()
    }
}

/// Returns the name under which an instance of an interface is imported or exported. If that name is a label, also returns the name of the
/// interface that the instance implements. `None` if `name` is no such name.
fn instance_names(name: &str, item: &ComponentItem) -> Option<(InterfaceName, Option<InterfaceName>)> {
    if let Ok(name) = name.parse() {
        return Some((name, None));
    }
    Some((InterfaceName::label(name).ok()?, item.implements.as_ref().and_then(|interface| interface.parse().ok())))
}

/// Converts the validator's types to the types of a shape.
struct Reader<'a> {
    types: TypesRef<'a>,
    /// The names that interfaces give to types of values.
    names: HashMap<ComponentDefinedTypeId, Arc<str>>,
    /// The definition of each resource: the first interface in the file that has it defines it.
    resources: HashMap<ResourceId, Resource>,
    /// The types that were converted before, so that a type used in several places is converted once and shared.
    done: HashMap<ComponentDefinedTypeId, Type>,
}

impl<'a> Reader<'a> {
    fn new(types: TypesRef<'a>) -> Self {
        Self { types, names: HashMap::new(), resources: HashMap::new(), done: HashMap::new() }
    }

    fn collect_names(&mut self, item_name: &str, item: &ComponentItem) {
        match item.ty {
            ComponentEntityType::Instance(id) => {
                let interface = instance_names(item_name, item).map(|(name, implements)| implements.unwrap_or(name));
                let types = self.types;
                for (name, export) in &types[id].exports {
                    self.collect_type(name, export, interface.as_ref());
                }
            }
            ComponentEntityType::Type { .. } => self.collect_type(item_name, item, None),
            _ => {}
        }
    }

    fn collect_type(&mut self, name: &str, item: &ComponentItem, interface: Option<&InterfaceName>) {
        match item.ty {
            ComponentEntityType::Type { created: ComponentAnyTypeId::Defined(id), .. } => {
                self.names.entry(id).or_insert_with(|| name.into());
            }
            ComponentEntityType::Type { created: ComponentAnyTypeId::Resource(id), .. } => {
                let resource = || Resource { interface: interface.cloned(), name: name.into() };
                self.resources.entry(id.resource()).or_insert_with(resource);
            }
            _ => {}
        }
    }

    /// Adds an import or export to `interfaces`, or to `bare` if it is neither an interface nor a function.
    fn add(
        &mut self,
        name: &str,
        item: &ComponentItem,
        interfaces: &mut BTreeMap<InterfaceName, Interface>,
        bare: &mut Vec<String>,
    ) -> Result<(), ShapeError> {
        match item.ty {
            ComponentEntityType::Instance(id) => match instance_names(name, item) {
                Some((name, implements)) => {
                    let mut interface = self.instance(implements.as_ref().unwrap_or(&name), id)?;
                    interface.implements = implements;
                    interfaces.insert(name, interface);
                }
                None => bare.push(name.to_owned()),
            },
            ComponentEntityType::Func(id) => {
                let function = self.function(id)?;
                interfaces.entry(InterfaceName::world()).or_default().functions.insert(name.to_owned(), function);
            }
            ComponentEntityType::Type { created: ComponentAnyTypeId::Resource(id), .. } => {
                // A resource of the world itself must be provided from outside. One that an interface defines comes with the interface.
                let defined_by = self.resources.get(&id.resource()).and_then(|resource| resource.interface.as_ref());
                if defined_by.is_none() {
                    bare.push(name.to_owned());
                }
            }
            ComponentEntityType::Type { .. } => {}
            _ => bare.push(name.to_owned()),
        }
        Ok(())
    }

    /// Reads an interface from the validator's type `id`. `name` is the interface's own name, even if it is imported or exported under a
    /// label.
    fn instance(&mut self, name: &InterfaceName, id: ComponentInstanceTypeId) -> Result<Interface, ShapeError> {
        let mut interface = Interface::default();
        let types = self.types;
        for (item_name, item) in &types[id].exports {
            match item.ty {
                ComponentEntityType::Func(id) => {
                    interface.functions.insert(item_name.clone(), self.function(id)?);
                }
                ComponentEntityType::Type { created: ComponentAnyTypeId::Defined(id), .. } => {
                    interface.types.insert(item_name.clone(), self.defined(id, 0)?);
                }
                ComponentEntityType::Type { created: ComponentAnyTypeId::Resource(id), .. } => {
                    let resource = self.resource(id.resource());
                    if resource.interface.as_ref() == Some(name) && *resource.name == **item_name {
                        interface.resources.insert(item_name.clone());
                    } else {
                        interface.types.insert(item_name.clone(), Type::Own(resource));
                    }
                }
                _ => {
                    return Err(ShapeError::Unsupported {
                        name: format!("{name}.{item_name}"),
                        what: "it is neither a function nor a type of a value",
                    });
                }
            }
        }
        Ok(interface)
    }

    fn function(&mut self, id: ComponentFuncTypeId) -> Result<Function, ShapeError> {
        let types = self.types;
        let function = &types[id];
        let mut parameters = Vec::with_capacity(function.params.len());
        for (name, ty) in &function.params {
            parameters.push(Field { name: name.as_str().into(), ty: self.value(*ty, 0)? });
        }
        let result = function.result.map(|ty| self.value(ty, 0)).transpose()?;
        Ok(Function { parameters, result, is_async: function.async_, docs: None })
    }

    fn value(&mut self, ty: ComponentValType, depth: usize) -> Result<Type, ShapeError> {
        match ty {
            ComponentValType::Primitive(primitive) => Ok(primitive_type(primitive)),
            ComponentValType::Type(id) => self.defined(id, depth),
        }
    }

    fn shared(&mut self, ty: ComponentValType, depth: usize) -> Result<Arc<Type>, ShapeError> {
        self.value(ty, depth).map(Arc::new)
    }

    fn maybe(&mut self, ty: Option<ComponentValType>, depth: usize) -> Result<Option<Arc<Type>>, ShapeError> {
        ty.map(|ty| self.shared(ty, depth)).transpose()
    }

    /// Converts a type that the component defines. `depth` is the number of types around it.
    fn defined(&mut self, id: ComponentDefinedTypeId, depth: usize) -> Result<Type, ShapeError> {
        if depth > MAX_DEPTH {
            return Err(ShapeError::TooDeep);
        }
        let (id, name) = self.origin(id);
        if let Some(ty) = self.done.get(&id) {
            return Ok(ty.clone());
        }
        let ty = self.structure(id, name, depth + 1)?;
        self.done.insert(id, ty.clone());
        Ok(ty)
    }

    /// Follows aliases to the definition: the innermost type that has a name, or the innermost type if none has.
    fn origin(&self, id: ComponentDefinedTypeId) -> (ComponentDefinedTypeId, Arc<str>) {
        let mut named = self.names.get(&id).map(|name| (id, name));
        let mut innermost = id;
        while let Some(next) = self.types.peel_alias(innermost) {
            innermost = next;
            named = self.names.get(&innermost).map(|name| (innermost, name)).or(named);
        }
        // The component model requires a name for every record, variant, enum and flags type in an import or export.
        named.map_or_else(|| (innermost, "_".into()), |(id, name)| (id, name.clone()))
    }

    fn structure(&mut self, id: ComponentDefinedTypeId, name: Arc<str>, depth: usize) -> Result<Type, ShapeError> {
        let types = self.types;
        Ok(match &types[id] {
            ComponentDefinedType::Primitive(primitive) => primitive_type(*primitive),
            ComponentDefinedType::Record(record) => {
                let mut body = Vec::with_capacity(record.fields.len());
                for (field, ty) in &record.fields {
                    body.push(Field { name: field.as_str().into(), ty: self.value(*ty, depth)? });
                }
                Type::Record(Arc::new(Named { name, body }))
            }
            ComponentDefinedType::Variant(variant) => {
                let mut body = Vec::with_capacity(variant.cases.len());
                for (case, inner) in &variant.cases {
                    let ty = inner.ty.map(|ty| self.value(ty, depth)).transpose()?;
                    body.push(Case { name: case.as_str().into(), ty });
                }
                Type::Variant(Arc::new(Named { name, body }))
            }
            ComponentDefinedType::Enum(cases) => {
                let body = cases.iter().map(|case| case.as_str().into()).collect();
                Type::Enum(Arc::new(Named { name, body }))
            }
            ComponentDefinedType::Flags(flags) => {
                let body = flags.iter().map(|flag| flag.as_str().into()).collect();
                Type::Flags(Arc::new(Named { name, body }))
            }
            ComponentDefinedType::Tuple(tuple) => {
                let types: Result<Vec<_>, _> = tuple.types.iter().map(|ty| self.value(*ty, depth)).collect();
                Type::Tuple(types?.into())
            }
            ComponentDefinedType::List { element, .. } => Type::List(self.shared(*element, depth)?),
            ComponentDefinedType::FixedLengthList { element, length, .. } => {
                Type::FixedList(self.shared(*element, depth)?, *length)
            }
            ComponentDefinedType::Map { key, value, .. } => {
                Type::Map(self.shared(*key, depth)?, self.shared(*value, depth)?)
            }
            ComponentDefinedType::Option { ty, .. } => Type::Option(self.shared(*ty, depth)?),
            ComponentDefinedType::Result { ok, err, .. } => {
                Type::Result { ok: self.maybe(*ok, depth)?, err: self.maybe(*err, depth)? }
            }
            ComponentDefinedType::Own(id) => Type::Own(self.resource(id.resource())),
            ComponentDefinedType::Borrow(id) => Type::Borrow(self.resource(id.resource())),
            ComponentDefinedType::Stream { ty, .. } => Type::Stream(self.maybe(*ty, depth)?),
            ComponentDefinedType::Future { ty, .. } => Type::Future(self.maybe(*ty, depth)?),
        })
    }

    fn resource(&self, id: ResourceId) -> Resource {
        // Like the types in `origin`, every resource in an import or export has a name: an interface or the world exports it.
        self.resources.get(&id).cloned().unwrap_or_else(|| Resource { interface: None, name: "_".into() })
    }
}

fn primitive_type(primitive: PrimitiveValType) -> Type {
    match primitive {
        PrimitiveValType::Bool => Type::Bool,
        PrimitiveValType::S8 => Type::S8,
        PrimitiveValType::U8 => Type::U8,
        PrimitiveValType::S16 => Type::S16,
        PrimitiveValType::U16 => Type::U16,
        PrimitiveValType::S32 => Type::S32,
        PrimitiveValType::U32 => Type::U32,
        PrimitiveValType::S64 => Type::S64,
        PrimitiveValType::U64 => Type::U64,
        PrimitiveValType::F32 => Type::F32,
        PrimitiveValType::F64 => Type::F64,
        PrimitiveValType::Char => Type::Char,
        PrimitiveValType::String => Type::String,
        PrimitiveValType::ErrorContext => Type::ErrorContext,
    }
}

#[cfg(test)]
mod tests;
