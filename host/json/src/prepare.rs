//! Prepares WIT types for conversion: adds JSON names, sorts names for lookup, and refuses what JSON can't carry.
//!
//! A prepared type is bounded in depth and size, so that code that walks it may recurse.

use std::fmt;

use wasmtime::component::Val;

use super::scalar::Integer;
use super::{MAX_TYPE_DEPTH, MAX_TYPE_SIZE, MAX_VIOLATIONS, Unsupported};
use watertight_component::shape::Type;
use watertight_model::config::{JsonStyle, NameCase, WideIntegers};

/// Greatest number of names that a message lists.
const MAX_LISTED: usize = 12;

/// A WIT type, prepared for conversion: it has the JSON names, and its names are sorted for lookup.
#[derive(Debug)]
pub(super) enum Node {
    Bool,
    Integer(Integer),
    /// A 64-bit integer that is written as a string.
    IntegerText(Integer),
    F32,
    F64,
    Char,
    String,
    /// `list<u8>`; with a length, `list<u8, N>`.
    Bytes(Option<usize>),
    List(Box<Node>),
    FixedList(Box<Node>, usize),
    /// A map with string keys; holds the type of its values.
    Object(Box<Node>),
    /// A map with keys that are not strings; holds the types of key and value.
    Pairs(Box<(Node, Node)>),
    Option(Box<Node>),
    /// An option of an option, as a field of a record: absent, null or there. Holds the inner option.
    Absent(Box<Node>),
    /// A result as two cases: `ok`, then `err`.
    Result(Cases),
    Tuple(Box<[Node]>),
    Record(Fields),
    Variant(Cases),
    Enum(Names),
    Flags(Names),
}

impl Node {
    /// Returns the value that an absent field of this type has: `none` for an option type. Other types have no such value, and give `None`.
    pub(super) fn absent_value(&self) -> Option<Val> {
        matches!(self, Self::Option(_) | Self::Absent(_)).then_some(Val::Option(None))
    }
}

impl fmt::Display for Node {
    /// Writes for a message which JSON the type accepts, such as `a list of 3 items`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("true or false"),
            Self::Integer(integer) | Self::IntegerText(integer) => integer.fmt(f),
            Self::F32 => f.write_str("a number in the range of 32-bit floats"),
            Self::F64 => f.write_str("a number in the range of 64-bit floats"),
            Self::Char => f.write_str("a string of exactly one character"),
            Self::String => f.write_str("a string"),
            Self::Bytes(None) => f.write_str("a string of padded base64"),
            Self::Bytes(Some(length)) => write!(f, "a string of padded base64 for {length} bytes"),
            Self::List(_) => f.write_str("a list"),
            Self::FixedList(_, length) => write!(f, "a list of {length} items"),
            Self::Object(_) | Self::Record(_) => f.write_str("an object"),
            Self::Pairs(_) => f.write_str("a list of pairs of key and value"),
            Self::Option(inner) => write!(f, "null or {inner}"),
            Self::Absent(inner) => inner.fmt(f),
            Self::Result(_) => f.write_str("an object with `ok` or `err`"),
            Self::Tuple(items) => write!(f, "a list of {} items", items.len()),
            Self::Variant(cases) => write!(f, "one of the cases {}", cases.names),
            Self::Enum(names) => write!(f, "one of {names}"),
            Self::Flags(names) => write!(f, "a list of names from {names}"),
        }
    }
}

/// The name of a field, case or flag, as WIT writes it and as JSON writes it.
#[derive(Debug)]
pub(super) struct Name {
    /// The name in WIT: `first-name`.
    pub(super) wit: Box<str>,
    /// The name in JSON: `first_name`.
    pub(super) json: Box<str>,
}

/// The names of a type's fields, cases or flags, in the order of the type, with an index for lookup.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) list: Box<[Name]>,
    by_wit: Box<[usize]>,
    by_json: Box<[usize]>,
}

impl Names {
    fn new<'a>(names: impl Iterator<Item = &'a str>, case: NameCase) -> Self {
        let list: Box<[Name]> = names.map(|wit| Name { wit: wit.into(), json: case.spell(wit).into() }).collect();
        let mut by_wit: Box<[usize]> = (0..list.len()).collect();
        let mut by_json = by_wit.clone();
        by_wit.sort_by(|&a, &b| list[a].wit.cmp(&list[b].wit));
        by_json.sort_by(|&a, &b| list[a].json.cmp(&list[b].json));
        Self { list, by_wit, by_json }
    }

    /// Returns the index of the field, case or flag whose WIT name is `name`. `None` if there is none.
    pub(super) fn find_wit(&self, name: &str) -> Option<usize> {
        let found = self.by_wit.binary_search_by(|&index| (*self.list[index].wit).cmp(name));
        found.ok().map(|place| self.by_wit[place])
    }

    /// Returns the index of the field, case or flag whose JSON name is `name`. `None` if there is none. The one at index `guess` is
    /// compared first.
    pub(super) fn find_json(&self, name: &str, guess: usize) -> Option<usize> {
        if self.list.get(guess).is_some_and(|entry| *entry.json == *name) {
            return Some(guess);
        }
        let found = self.by_json.binary_search_by(|&index| (*self.list[index].json).cmp(name));
        found.ok().map(|place| self.by_json[place])
    }

    /// Returns two WIT names that are equal in JSON. `None` if all JSON names differ.
    fn collision(&self) -> Option<(&str, &str)> {
        let mut pairs = self.by_json.windows(2).map(|pair| (&self.list[pair[0]], &self.list[pair[1]]));
        pairs.find(|(a, b)| a.json == b.json).map(|(a, b)| (&*a.wit, &*b.wit))
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.list.iter().take(MAX_LISTED).enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}`{}`", name.json)?;
        }
        match self.list.len().checked_sub(MAX_LISTED) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, " and {more} more"),
        }
    }
}

/// The fields of a record, or of the object that carries a function's parameters.
#[derive(Debug)]
pub(super) struct Fields {
    pub(super) names: Names,
    pub(super) nodes: Box<[Node]>,
    /// The JSON text before each field's value: `{"name":` for the first field, `,"name":` for the others.
    pub(super) heads: Box<[Box<str>]>,
}

/// The cases of a variant or result.
#[derive(Debug)]
pub(super) struct Cases {
    pub(super) names: Names,
    pub(super) payloads: Box<[Option<Node>]>,
    /// The JSON text before each case's payload: `{"name":`.
    pub(super) heads: Box<[Box<str>]>,
}

impl Cases {
    fn new(names: Names, payloads: Box<[Option<Node>]>) -> Self {
        let heads = names.list.iter().map(|name| head('{', name)).collect();
        Self { names, payloads, heads }
    }
}

fn head(opening: char, name: &Name) -> Box<str> {
    // `Debug` writes the characters of WIT names as JSON does: they need no escapes. Other names are refused.
    format!("{opening}{:?}:", name.json).into()
}

/// Prepares WIT types for conversion, and collects the parts that JSON can't carry.
pub(super) struct TypePreparer {
    unsupported: Vec<Unsupported>,
    path: String,
    depth: usize,
    size: usize,
    style: JsonStyle,
}

impl TypePreparer {
    pub(super) fn new(style: JsonStyle) -> Self {
        Self { unsupported: Vec::new(), path: String::new(), depth: 0, size: 0, style }
    }

    /// Prepares one type for conversion. The paths of parts that JSON can't carry start with `place`.
    pub(super) fn root(&mut self, place: &str, ty: &Type) -> Node {
        self.within(place, |prepare| prepare.node(ty))
    }

    /// Prepares the type of a field for conversion, as [`Self::root`] does.
    pub(super) fn root_field(&mut self, place: &str, ty: &Type) -> Node {
        self.within(place, |prepare| prepare.field(ty))
    }

    /// Prepares named types for conversion as the fields of a record.
    pub(super) fn fields<'a>(&mut self, fields: impl Iterator<Item = (&'a str, &'a Type)> + Clone) -> Fields {
        let names = self.names(fields.clone().map(|(name, _)| name));
        let step = |name: &str, path: &str| if path.is_empty() { name.to_owned() } else { format!(".{name}") };
        let nodes = fields
            .map(|(name, ty)| {
                let step = step(name, &self.path);
                self.within(&step, |prepare| prepare.field(ty))
            })
            .collect();
        let opening = |index: usize| if index == 0 { '{' } else { ',' };
        let heads = names.list.iter().enumerate().map(|(index, name)| head(opening(index), name)).collect();
        Fields { names, nodes, heads }
    }

    /// Prepares the type of a field for conversion. Only a field may be an option of an option: it is absent, null or there.
    fn field(&mut self, ty: &Type) -> Node {
        if let Type::Option(inner) = ty
            && let Type::Option(innermost) = &**inner
            && !matches!(**innermost, Type::Option(_))
        {
            return Node::Absent(Box::new(self.node(inner)));
        }
        self.node(ty)
    }

    /// Returns `prepared`, or else the parts that JSON can't carry.
    pub(super) fn finish<T>(self, prepared: T) -> Result<T, Vec<Unsupported>> {
        if self.unsupported.is_empty() { Ok(prepared) } else { Err(self.unsupported) }
    }

    fn node(&mut self, ty: &Type) -> Node {
        self.size += 1;
        if self.size > MAX_TYPE_SIZE {
            return self.refuse(format!("the type is made of more than {MAX_TYPE_SIZE} types"));
        }
        if self.depth == MAX_TYPE_DEPTH {
            return self.refuse(format!("types nest more than {MAX_TYPE_DEPTH} deep"));
        }
        self.depth += 1;
        let node = self.shallow(ty);
        self.depth -= 1;
        node
    }

    fn shallow(&mut self, ty: &Type) -> Node {
        match ty {
            Type::Bool => Node::Bool,
            Type::U8 => Node::Integer(Integer::U8),
            Type::S8 => Node::Integer(Integer::S8),
            Type::U16 => Node::Integer(Integer::U16),
            Type::S16 => Node::Integer(Integer::S16),
            Type::U32 => Node::Integer(Integer::U32),
            Type::S32 => Node::Integer(Integer::S32),
            Type::U64 => self.wide(Integer::U64),
            Type::S64 => self.wide(Integer::S64),
            Type::F32 => Node::F32,
            Type::F64 => Node::F64,
            Type::Char => Node::Char,
            Type::String => Node::String,
            Type::List(item) if **item == Type::U8 => Node::Bytes(None),
            Type::List(item) => Node::List(Box::new(self.step("[]", item))),
            Type::FixedList(item, length) => self.fixed_list(item, *length),
            Type::Map(key, value) => self.map(key, value),
            Type::Option(inner) if matches!(**inner, Type::Option(_)) => {
                self.refuse("an option directly in an option: only a field can be absent, null or there".to_owned())
            }
            Type::Option(inner) => Node::Option(Box::new(self.node(inner))),
            Type::Result { ok, err } => {
                let cases = [("ok", ok.as_deref()), ("err", err.as_deref())];
                Node::Result(self.cases(cases.into_iter()))
            }
            Type::Tuple(items) => {
                Node::Tuple(items.iter().enumerate().map(|(index, ty)| self.step(&format!(".{index}"), ty)).collect())
            }
            Type::Record(record) => {
                Node::Record(self.fields(record.body.iter().map(|field| (&*field.name, &field.ty))))
            }
            Type::Variant(variant) => {
                Node::Variant(self.cases(variant.body.iter().map(|case| (&*case.name, case.ty.as_ref()))))
            }
            Type::Enum(names) => Node::Enum(self.names(names.body.iter().map(|name| &**name))),
            Type::Flags(names) => Node::Flags(self.names(names.body.iter().map(|name| &**name))),
            Type::Own(resource) | Type::Borrow(resource) => {
                self.refuse(format!("a handle of the resource `{}`", resource.name))
            }
            Type::Stream(_) => self.refuse("a stream".to_owned()),
            Type::Future(_) => self.refuse("a future".to_owned()),
            Type::ErrorContext => self.refuse("an error context".to_owned()),
        }
    }

    fn wide(&self, integer: Integer) -> Node {
        match self.style.int64 {
            WideIntegers::Number => Node::Integer(integer),
            WideIntegers::String => Node::IntegerText(integer),
        }
    }

    fn fixed_list(&mut self, item: &Type, length: u32) -> Node {
        let length = length as usize;
        match item {
            Type::U8 => Node::Bytes(Some(length)),
            item => Node::FixedList(Box::new(self.step("[]", item)), length),
        }
    }

    fn map(&mut self, key: &Type, value: &Type) -> Node {
        let value = self.step("[]", value);
        let key = match self.step("[key]", key) {
            Node::String => return Node::Object(Box::new(value)),
            key @ (Node::Bool | Node::Integer(_) | Node::IntegerText(_) | Node::Char) => key,
            _ => self.refuse("a map whose keys are neither strings, characters, integers nor booleans".to_owned()),
        };
        Node::Pairs(Box::new((key, value)))
    }

    fn cases<'a>(&mut self, cases: impl Iterator<Item = (&'a str, Option<&'a Type>)> + Clone) -> Cases {
        let names = self.names(cases.clone().map(|(name, _)| name));
        let payloads = cases.map(|(name, ty)| ty.map(|ty| self.step(&format!(".{name}"), ty))).collect();
        Cases::new(names, payloads)
    }

    fn names<'a>(&mut self, names: impl Iterator<Item = &'a str>) -> Names {
        let names = Names::new(names, self.style.case);
        if let Some((a, b)) = names.collision() {
            self.refuse(format!("`{a}` and `{b}` have the same name in JSON"));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if let Some(odd) = names.list.iter().find(|name| name.json.is_empty() || !name.json.chars().all(plain)) {
            self.refuse(format!("{:?} is not a valid WIT name", odd.wit));
        }
        names
    }

    fn step(&mut self, step: &str, ty: &Type) -> Node {
        self.within(step, |prepare| prepare.node(ty))
    }

    fn within<T>(&mut self, step: &str, inner: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        self.path.push_str(step);
        let value = inner(self);
        self.path.truncate(length);
        value
    }

    /// Records that JSON can't carry the part of the type at the current path. The returned node is a placeholder.
    fn refuse(&mut self, reason: String) -> Node {
        if self.unsupported.len() < MAX_VIOLATIONS {
            self.unsupported.push(Unsupported { path: self.path.clone(), reason });
        }
        Node::Bool
    }
}
