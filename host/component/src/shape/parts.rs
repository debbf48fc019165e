//! Searches types for a part with a given property, and returns the path to it.

use std::sync::Arc;

use super::{Function, Interface, Type};

impl Function {
    /// Returns whether a parameter or the result contains a stream or future.
    pub fn has_stream(&self) -> bool {
        self.parameters.iter().any(|parameter| parameter.ty.has_stream())
            || self.result.as_ref().is_some_and(Type::has_stream)
    }

    /// Returns the first part of the parameters and the result for which `wanted` is true, with its path: `draft.lines[]`, `result.ok`.
    /// `None` if there is none.
    pub fn find_part(&self, wanted: impl Fn(&Type) -> bool + Copy) -> Option<(String, &Type)> {
        let parameters = self.parameters.iter().map(|parameter| (&*parameter.name, &parameter.ty));
        let result = self.result.iter().map(|ty| ("result", ty));
        parameters.chain(result).find_map(|(name, ty)| ty.find_part(name.to_owned(), wanted))
    }
}

/// Returns the functions of an interface that have a part for which `wanted` is true, each with the path to the first such part.
pub fn functions_with_part(interface: &Interface, wanted: fn(&Type) -> bool) -> impl Iterator<Item = (&str, String)> {
    let place = move |(name, function): (_, &'_ Function)| Some((String::as_str(name), function.find_part(wanted)?.0));
    interface.functions.iter().filter_map(place)
}

impl Type {
    /// Returns whether `wanted` is true for the type or a part of it. The validator bounds the size of a type with all its parts, and thereby
    /// this recursion.
    pub fn has_part(&self, wanted: impl Fn(&Type) -> bool + Copy) -> bool {
        let within = |ty: &Option<Arc<Type>>| ty.as_ref().is_some_and(|ty| ty.has_part(wanted));
        wanted(self)
            || match self {
                Self::List(item) | Self::FixedList(item, _) | Self::Option(item) => item.has_part(wanted),
                Self::Map(key, value) => key.has_part(wanted) || value.has_part(wanted),
                Self::Result { ok, err } => within(ok) || within(err),
                Self::Tuple(types) => types.iter().any(|ty| ty.has_part(wanted)),
                Self::Record(record) => record.body.iter().any(|field| field.ty.has_part(wanted)),
                Self::Variant(variant) => {
                    variant.body.iter().any(|case| case.ty.as_ref().is_some_and(|ty| ty.has_part(wanted)))
                }
                Self::Stream(item) | Self::Future(item) => within(item),
                _ => false,
            }
    }

    /// Returns the first part of the type for which `wanted` is true, with its path. `None` if there is none. The type itself counts as a
    /// part; `path` is its path.
    ///
    /// The validator bounds the size of a type with all its parts, and thereby this recursion.
    pub fn find_part(&self, path: String, wanted: impl Fn(&Type) -> bool + Copy) -> Option<(String, &Type)> {
        if wanted(self) {
            return Some((path, self));
        }
        let below = |part: &str| format!("{path}.{part}");
        match self {
            Self::List(item) | Self::FixedList(item, _) | Self::Stream(Some(item)) | Self::Future(Some(item)) => {
                item.find_part(format!("{path}[]"), wanted)
            }
            Self::Map(key, value) => {
                key.find_part(format!("{path}[key]"), wanted).or_else(|| value.find_part(format!("{path}[]"), wanted))
            }
            Self::Option(some) => some.find_part(format!("{path}?"), wanted),
            Self::Result { ok, err } => {
                let sides = [("ok", ok), ("err", err)];
                sides.into_iter().find_map(|(name, side)| side.as_deref()?.find_part(below(name), wanted))
            }
            Self::Tuple(types) => {
                types.iter().enumerate().find_map(|(place, ty)| ty.find_part(below(&place.to_string()), wanted))
            }
            Self::Record(record) => record.body.iter().find_map(|field| field.ty.find_part(below(&field.name), wanted)),
            Self::Variant(variant) => {
                variant.body.iter().find_map(|case| case.ty.as_ref()?.find_part(below(&case.name), wanted))
            }
            _ => None,
        }
    }
}
