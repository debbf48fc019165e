//! What a component's bytes say of it: its imports and exports, as plain values.
//!
//! Types are resolved: aliases are followed and nothing points back into the bytes, so that shapes can be kept, compared across
//! components and sent between threads. Names of types are for people; two types are the same when they are built the same.
//!
//! Nothing here compiles or runs a component.

mod compare;
mod print;
mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::InterfaceName;

pub use compare::{Difference, MAX_DIFFERENCES, differences};
pub use read::{ShapeError, read};

/// A component from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    /// The interfaces that it needs.
    pub imports: BTreeMap<InterfaceName, Interface>,
    /// The interfaces that it offers.
    pub exports: BTreeMap<InterfaceName, Interface>,
    /// Imports that are no named interface (bare functions, instances without a package): such a component can't be linked.
    pub bare_imports: Vec<String>,
    /// Exports that are no named interface: nothing can reach them.
    pub bare_exports: Vec<String>,
}

/// One interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
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
    /// Whether it holds nothing but types of values. Importing such an interface asks for nothing: types are compared, not linked.
    pub fn is_types_only(&self) -> bool {
        self.functions.is_empty() && self.resources.is_empty()
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
