//! Prints types as WIT writes them, for messages: `list<record line>`, `result<_, string>`.

use std::fmt;

use super::{Function, Resource, Type};

impl fmt::Display for Type {
    /// Prints the type in one line. A named type is printed as its kind and name, without its fields, cases or flags.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("bool"),
            Self::U8 => f.write_str("u8"),
            Self::S8 => f.write_str("s8"),
            Self::U16 => f.write_str("u16"),
            Self::S16 => f.write_str("s16"),
            Self::U32 => f.write_str("u32"),
            Self::S32 => f.write_str("s32"),
            Self::U64 => f.write_str("u64"),
            Self::S64 => f.write_str("s64"),
            Self::F32 => f.write_str("f32"),
            Self::F64 => f.write_str("f64"),
            Self::Char => f.write_str("char"),
            Self::String => f.write_str("string"),
            Self::ErrorContext => f.write_str("error-context"),
            Self::List(element) => write!(f, "list<{element}>"),
            Self::FixedList(element, length) => write!(f, "list<{element}, {length}>"),
            Self::Map(key, value) => write!(f, "map<{key}, {value}>"),
            Self::Option(some) => write!(f, "option<{some}>"),
            Self::Result { ok, err } => match (ok, err) {
                (None, None) => f.write_str("result"),
                (Some(ok), None) => write!(f, "result<{ok}>"),
                (None, Some(err)) => write!(f, "result<_, {err}>"),
                (Some(ok), Some(err)) => write!(f, "result<{ok}, {err}>"),
            },
            Self::Tuple(types) => {
                f.write_str("tuple<")?;
                for (index, ty) in types.iter().enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    write!(f, "{separator}{ty}")?;
                }
                f.write_str(">")
            }
            Self::Record(named) => write!(f, "record {}", named.name),
            Self::Variant(named) => write!(f, "variant {}", named.name),
            Self::Enum(named) => write!(f, "enum {}", named.name),
            Self::Flags(named) => write!(f, "flags {}", named.name),
            Self::Own(resource) => write!(f, "own<{resource}>"),
            Self::Borrow(resource) => write!(f, "borrow<{resource}>"),
            Self::Stream(None) => f.write_str("stream"),
            Self::Stream(Some(element)) => write!(f, "stream<{element}>"),
            Self::Future(None) => f.write_str("future"),
            Self::Future(Some(value)) => write!(f, "future<{value}>"),
        }
    }
}

impl fmt::Display for Function {
    /// Prints the function in one line: `func(name: string) -> result<record greeting, string>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_async { "async func(" } else { "func(" })?;
        for (index, parameter) in self.parameters.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{}: {}", parameter.name, parameter.ty)?;
        }
        f.write_str(")")?;
        self.result.iter().try_for_each(|result| write!(f, " -> {result}"))
    }
}

impl fmt::Display for Resource {
    /// Prints the interface that defines the resource, and the name of the resource there: `a:b/c@1.0.0.cursor`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.interface {
            Some(interface) => write!(f, "{interface}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::shape::Named;

    #[test]
    fn types_print_as_wit() {
        let line = Arc::new(Type::Record(Arc::new(Named { name: "line".into(), body: vec![] })));
        let string = Arc::new(Type::String);
        let cursor =
            Resource { interface: Some("a:b/c@1.0.0".parse().expect("a well-formed name")), name: "cursor".into() };
        for (ty, text) in [
            (Type::List(line.clone()), "list<record line>"),
            (Type::FixedList(string.clone(), 4), "list<string, 4>"),
            (Type::Map(string.clone(), line.clone()), "map<string, record line>"),
            (Type::Result { ok: None, err: None }, "result"),
            (Type::Result { ok: Some(line.clone()), err: None }, "result<record line>"),
            (Type::Result { ok: None, err: Some(string.clone()) }, "result<_, string>"),
            (Type::Result { ok: Some(line), err: Some(string.clone()) }, "result<record line, string>"),
            (Type::Tuple([Type::U8, Type::Option(string)].into()), "tuple<u8, option<string>>"),
            (Type::Own(cursor.clone()), "own<a:b/c@1.0.0.cursor>"),
            (Type::Borrow(Resource { interface: None, ..cursor }), "borrow<cursor>"),
            (Type::Stream(None), "stream"),
            (Type::Future(Some(Arc::new(Type::ErrorContext))), "future<error-context>"),
        ] {
            assert_eq!(ty.to_string(), text);
        }
    }
}
