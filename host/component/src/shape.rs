//! What a component's bytes say of it: its imports and exports, as plain values.
//!
//! Types are resolved: aliases are followed and nothing points back into the bytes, so that shapes can be kept, compared across
//! components and sent between threads. Names of types are for people; two types are the same when they are built the same.
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
pub use parts::places;
pub use read::{ShapeError, read};

/// A component from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    /// The interfaces that it needs. The functions that its world imports itself stand under [`InterfaceName::world`].
    pub imports: BTreeMap<InterfaceName, Interface>,
    /// The interfaces that it offers. The functions that its world exports itself stand under [`InterfaceName::world`].
    pub exports: BTreeMap<InterfaceName, Interface>,
    /// Imports that are neither interfaces nor functions, such as a resource of the world's own: such a component can't be linked.
    pub bare_imports: Vec<String>,
    /// Exports that are neither interfaces nor functions: nothing can reach them.
    pub bare_exports: Vec<String>,
}

/// One interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// The interface that it is an instance of, where its import or export has a label in place of the interface's name:
    /// `import primary: alpha:greeting/greet@1.0.0;`.
    pub implements: Option<InterfaceName>,
    /// Its functions by the name that components give them: `say-hello`, `[method]basket.add`.
    pub functions: BTreeMap<String, Function>,
    /// The types that it names, other than the resources it defines. A resource that it uses from another interface stands here as
    /// its owned handle.
    pub types: BTreeMap<String, Type>,
    /// The resources that it defines.
    pub resources: BTreeSet<String>,
    /// Its documentation, where the component carries it.
    pub docs: Option<Arc<str>>,
}

impl Interface {
    /// The interface that it is: the one that it implements, or else the one of its own name. `name` is the name of its import or export.
    pub fn identity<'a>(&'a self, name: &'a InterfaceName) -> &'a InterfaceName {
        self.implements.as_ref().unwrap_or(name)
    }

    /// Whether it holds nothing but types of values. Importing such an interface asks for nothing: types are compared, not linked.
    pub fn is_types_only(&self) -> bool {
        self.functions.is_empty() && self.resources.is_empty()
    }

    /// The types whose names mean nothing: values, where the interface defines no resource. Methods are bound to the very interface that
    /// defines their resource, which nothing can stand in for.
    pub fn types_by_structure(&self) -> impl Iterator<Item = (&String, &Type)> {
        self.types.iter().filter(|(_, ty)| self.is_by_structure(ty))
    }

    fn is_by_structure(&self, ty: &Type) -> bool {
        self.resources.is_empty() && !ty.has_handle()
    }
}

/// One function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Name and type, in order.
    pub parameters: Vec<Field>,
    /// What it returns, if anything.
    pub result: Option<Type>,
    /// Whether it is an `async func`.
    pub is_async: bool,
    /// Its documentation, where the component carries it.
    pub docs: Option<Arc<str>>,
}

/// A name with a type: a parameter, or a record's field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The name, in WIT's kebab-case.
    pub name: Arc<str>,
    /// The type.
    pub ty: Type,
}

/// A case of a variant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// The name, in WIT's kebab-case.
    pub name: Arc<str>,
    /// What it carries, if anything.
    pub ty: Option<Type>,
}

/// A WIT type, resolved.
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
    /// Whether a handle of a resource is anywhere in it: what it is then depends on who defines that resource. The validator bounds the
    /// size of a type with all that it is made of, and so this walk.
    pub fn has_handle(&self) -> bool {
        let maybe = |ty: &Option<Arc<Type>>| ty.as_ref().is_some_and(|ty| ty.has_handle());
        match self {
            Self::Own(_) | Self::Borrow(_) => true,
            Self::List(item) | Self::FixedList(item, _) | Self::Option(item) => item.has_handle(),
            Self::Map(key, value) => key.has_handle() || value.has_handle(),
            Self::Result { ok, err } => maybe(ok) || maybe(err),
            Self::Tuple(types) => types.iter().any(Type::has_handle),
            Self::Record(record) => record.body.iter().any(|field| field.ty.has_handle()),
            Self::Variant(variant) => variant.body.iter().any(|case| case.ty.as_ref().is_some_and(Type::has_handle)),
            Self::Stream(item) | Self::Future(item) => maybe(item),
            _ => false,
        }
    }
}

/// A type that WIT gives a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named<T> {
    /// The type's own name, for people: `draft`.
    pub name: Arc<str>,
    /// What it is made of.
    pub body: T,
}

/// A resource: who defines it, and its name there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// The defining interface.
    pub interface: Option<InterfaceName>,
    /// The resource's name.
    pub name: Arc<str>,
}
