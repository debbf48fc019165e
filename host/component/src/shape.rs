//! The shape of a component: its imports and exports as plain values, read from its bytes.
//!
//! Types are resolved: aliases are followed, and nothing refers to the bytes. So shapes can be stored, compared across components and
//! sent between threads. [`differences`] compares types by their structure; most type names are for messages only.
//!
//! Nothing here compiles or runs a component.

mod compare;
mod parts;
mod print;
mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use watertight_model::ids::InterfaceName;

pub use compare::{Difference, MAX_DIFFERENCES, differences, exact_differences, has_type, shared_type_differences};
pub use parts::functions_with_part;
pub use read::{ShapeError, read};

/// The imports and exports of a component.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    /// The interfaces that the component imports. A function that its world imports directly is listed like an interface of this one function
    /// under a label, its name: each has a provider of its own. Functions whose name is no label, such as methods of a resource of the world,
    /// are listed under [`InterfaceName::world`].
    pub imports: BTreeMap<InterfaceName, Interface>,
    /// The interfaces that the component exports. Functions that its world exports directly are listed under [`InterfaceName::world`].
    pub exports: BTreeMap<InterfaceName, Interface>,
    /// Imports that are neither interfaces nor functions, such as a resource of the world itself. A component that has any can't be linked.
    pub bare_imports: Vec<String>,
    /// Exports that are neither interfaces nor functions. Nothing can use them.
    pub bare_exports: Vec<String>,
}

/// An interface that a component imports or exports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// The name of the interface, if the component imports or exports it under a label: `import primary: alpha:greeting/greet@1.0.0;`.
    /// `None` if the import or export has the interface's own name.
    pub implements: Option<InterfaceName>,
    /// The functions, by the names that components give them: `say-hello`, `[method]basket.add`.
    pub functions: BTreeMap<String, Function>,
    /// The named types, without the resources that the interface defines. A resource that it uses from another interface is listed here as
    /// an owned handle.
    pub types: BTreeMap<String, Type>,
    /// Whether this is no interface, but a function that a world imports directly.
    pub is_function: bool,
    /// The resources that the interface defines.
    pub resources: BTreeSet<String>,
    /// The documentation of the interface. `None` if the component doesn't carry it.
    pub docs: Option<Arc<str>>,
}

impl Interface {
    /// Returns a function as a world imports it directly, under the name `name`.
    pub fn of_function(name: &str, function: Function) -> Self {
        Self { functions: BTreeMap::from([(name.to_owned(), function)]), is_function: true, ..Self::default() }
    }

    /// Returns the interface's own name: the one that it implements under a label, or else `name`, the name of its import or export.
    pub fn identity<'a>(&'a self, name: &'a InterfaceName) -> &'a InterfaceName {
        self.implements.as_ref().unwrap_or(name)
    }

    /// Whether the interface holds only types of values. Nothing has to serve an import of it: its types are compared, not linked.
    pub fn is_types_only(&self) -> bool {
        self.functions.is_empty() && self.resources.is_empty()
    }

    /// Returns the named types whose names don't matter to the linker. In an interface without resources, these are all types without
    /// handles. In an interface with resources there are none: its methods are bound to that interface, which no other can replace.
    pub fn structural_types(&self) -> impl Iterator<Item = (&String, &Type)> {
        self.types.iter().filter(|(_, ty)| self.is_structural(ty))
    }

    fn is_structural(&self, ty: &Type) -> bool {
        self.resources.is_empty() && !ty.has_handle()
    }
}

/// A function that an interface or a world has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// The parameters in order, each with its name and type.
    pub parameters: Vec<Field>,
    /// The type of the result. `None` if the function returns nothing.
    pub result: Option<Type>,
    /// Whether WIT declares the function as an `async func`.
    pub is_async: bool,
    /// The documentation of the function. `None` if the component doesn't carry it.
    pub docs: Option<Arc<str>>,
}

/// A name with a type: a parameter of a function, or a field of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The name, in WIT's kebab-case.
    pub name: Arc<str>,
    /// The type of the parameter or field.
    pub ty: Type,
}

/// A case of a variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// The name, in WIT's kebab-case.
    pub name: Arc<str>,
    /// The type of the payload. `None` if the case has none.
    pub ty: Option<Type>,
}

/// A WIT type with all aliases resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are WIT's own")]
pub enum Type {
    Bool,
    U8,
    S8,
    U16,
    S16,
    U32,
    S32,
    U64,
    S64,
    F32,
    F64,
    Char,
    String,
    ErrorContext,
    List(Arc<Type>),
    /// `list<T, N>`.
    FixedList(Arc<Type>, u32),
    /// `map<K, V>`.
    Map(Arc<Type>, Arc<Type>),
    Option(Arc<Type>),
    Result {
        ok: Option<Arc<Type>>,
        err: Option<Arc<Type>>,
    },
    Tuple(Arc<[Type]>),
    Record(Arc<Named<Vec<Field>>>),
    Variant(Arc<Named<Vec<Case>>>),
    Enum(Arc<Named<Vec<Arc<str>>>>),
    Flags(Arc<Named<Vec<Arc<str>>>>),
    /// An owned handle.
    Own(Resource),
    /// A borrowed handle.
    Borrow(Resource),
    Stream(Option<Arc<Type>>),
    Future(Option<Arc<Type>>),
}

impl Type {
    /// Whether the type contains a handle. If so, its meaning depends on the interface that defines the resource.
    pub fn has_handle(&self) -> bool {
        self.has_part(|ty| matches!(ty, Self::Own(_) | Self::Borrow(_)))
    }

    /// Whether the type contains a stream or future.
    pub fn has_stream(&self) -> bool {
        self.has_part(|ty| matches!(ty, Self::Stream(_) | Self::Future(_)))
    }

    /// Whether the host can relay streams and futures with items of this type from one store to another: numbers, `bool`, `char`, `string`
    /// and `list<u8>`. Wasmtime moves items only between a guest and a Rust type that the host knows in advance (wasmtime#11161).
    pub fn is_relayed(&self) -> bool {
        match self {
            Self::Bool | Self::Char | Self::String | Self::F32 | Self::F64 => true,
            Self::U8 | Self::S8 | Self::U16 | Self::S16 | Self::U32 | Self::S32 | Self::U64 | Self::S64 => true,
            Self::List(item) => **item == Self::U8,
            _ => false,
        }
    }
}

/// The definition of a type that has a name in WIT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<T> {
    /// The name of the type, for messages: `draft`.
    pub name: Arc<str>,
    /// The type's fields, cases or flags.
    pub body: T,
}

/// A resource, identified by the interface that defines it and by its name there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// The interface that defines the resource. `None` for a resource of the world itself.
    pub interface: Option<InterfaceName>,
    /// The name of the resource in that interface.
    pub name: Arc<str>,
}
