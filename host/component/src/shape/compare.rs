//! Compares an interface that one component imports with the interface that another offers, and reports every difference.
//!
//! Wasmtime, wac and the validator of the component model require equality: the same parameters, fields, cases and flags, by name and in
//! order. Only additional functions and types may be offered. This file mirrors `SubtypeCx::component_instance_type` of wasmparser, but
//! continues after the first difference and reports the place of each.
//!
//! It deviates in one point: names of types. Functions carry values, and values are equal if they have the same structure. So another
//! type name is no difference, and neither is a missing type that no imported function uses: linking adds the name that is wanted. An
//! interface that defines a resource is the exception. No other interface can replace it, so its types must have their names.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::sync::Arc;

use super::{Case, Field, Function, Interface, Named, Resource, Type};

/// Greatest number of differences that one comparison reports. Nobody reads more.
pub const MAX_DIFFERENCES: usize = 64;

/// Greatest length of a text in a [`Difference`], in characters; the rest is cut. Names and lists of names come from untrusted bytes.
const MAX_TEXT: usize = 240;

/// One place where the offered interface differs from the wanted one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The function that differs. `None` if the difference is in the interface's own types or resources.
    pub function: Option<String>,
    /// The path into a type: `draft.lines[].quantity`, `result.err.invalid`. Parameters, fields and cases stand by name, `[]` is an element
    /// of a list or stream, `?` the content of an option or future, `ok` and `err` the sides of a result, a number a position in a tuple. A
    /// path in an interface's own types starts with the name of the type. `None` means that the function itself differs.
    pub type_path: Option<String>,
    /// What the importing component wants at the place of the difference.
    pub expected: String,
    /// What the exporting component offers at the place of the difference.
    pub found: String,
}

/// Returns the places where `offered` differs from `wanted`, at most [`MAX_DIFFERENCES`]. An empty list means that they can be linked.
pub fn differences(wanted: &Interface, offered: &Interface) -> Vec<Difference> {
    all_differences(wanted, offered, |ty| !wanted.is_structural(ty))
}

/// Returns the differences like [`differences`], and those of type names as well: every type of `wanted` must be there by its name, used
/// or not. This is for an import that is merged with other modules' imports of the same name.
pub fn exact_differences(wanted: &Interface, offered: &Interface) -> Vec<Difference> {
    all_differences(wanted, offered, |_| true)
}

fn all_differences(wanted: &Interface, offered: &Interface, by_name: impl Fn(&Type) -> bool) -> Vec<Difference> {
    let mut walk = Walk::default();
    for (name, wanted) in &wanted.functions {
        walk.function = Some(name);
        walk.seen_in_function.clear();
        match offered.functions.get(name) {
            Some(offered) => walk.function(wanted, offered),
            None => walk.report("this function", "no such function"),
        }
    }
    walk.function = None;
    for resource in wanted.resources.difference(&offered.resources) {
        walk.within(resource, |walk| walk.report("a resource", "no such resource"));
    }
    for (name, wanted) in wanted.types.iter().filter(|(_, ty)| by_name(ty)) {
        walk.within(name, |walk| match offered.types.get(name) {
            Some(offered) => walk.types(wanted, offered),
            None => walk.report(wanted, "no such type"),
        });
    }
    walk.found
}

/// Returns the places where two interfaces define different types under one name. Types that only one of them has are no difference.
pub fn shared_type_differences(wanted: &Interface, offered: &Interface) -> Vec<Difference> {
    let mut walk = Walk::default();
    for (name, wanted) in &wanted.types {
        if let Some(offered) = offered.types.get(name) {
            walk.within(name, |walk| walk.types(wanted, offered));
        }
    }
    walk.found
}

/// Whether `interface` defines the type `wanted` under the name `name`.
pub fn has_type(interface: &Interface, name: &str, wanted: &Type) -> bool {
    interface.types.get(name).is_some_and(|offered| {
        let mut walk = Walk::default();
        walk.types(wanted, offered);
        walk.found.is_empty()
    })
}

#[derive(Default)]
struct Walk<'a> {
    function: Option<&'a str>,
    path: Vec<String>,
    found: Vec<Difference>,
    /// The pairs of named types, by address, that were compared while the current function was compared.
    seen_in_function: HashSet<(usize, usize)>,
    /// The pairs of named types, by address, that were compared since the comparison of the two interfaces began.
    seen: HashSet<(usize, usize)>,
}

/// A part of a type or function with its name: a field, case, flag or parameter, and its type if it has one.
type Part<'a> = (&'a str, Option<&'a Type>);

impl Walk<'_> {
    fn report(&mut self, expected: impl Display, found: impl Display) {
        if self.found.len() < MAX_DIFFERENCES {
            let path = self.path.concat();
            self.found.push(Difference {
                function: self.function.map(short),
                type_path: (!path.is_empty()).then(|| short(&path)),
                expected: short(&expected.to_string()),
                found: short(&found.to_string()),
            });
        }
    }

    fn within(&mut self, step: &str, walk: impl FnOnce(&mut Self)) {
        // Dots join names. `[]` and `?` follow what they look into without a dot.
        let joined = !self.path.is_empty() && !step.starts_with(['[', '?']);
        self.path.push(format!("{}{step}", if joined { "." } else { "" }));
        walk(self);
        self.path.pop();
    }

    fn function(&mut self, wanted: &Function, offered: &Function) {
        let kind = |function: &Function| if function.is_async { "an async function" } else { "a sync function" };
        if wanted.is_async != offered.is_async {
            self.report(kind(wanted), kind(offered));
        }
        self.parts("parameter", &fields(&wanted.parameters), &fields(&offered.parameters));
        self.within("result", |walk| walk.maybe(wanted.result.as_ref(), offered.result.as_ref(), "no result"));
    }

    fn types(&mut self, wanted: &Type, offered: &Type) {
        match (wanted, offered) {
            (Type::List(wanted), Type::List(offered)) => self.within("[]", |walk| walk.types(wanted, offered)),
            (Type::FixedList(element, length), Type::FixedList(other, other_length)) if length == other_length => {
                self.within("[]", |walk| walk.types(element, other));
            }
            (Type::Map(key, value), Type::Map(other_key, other_value)) => {
                self.within("[key]", |walk| walk.types(key, other_key));
                self.within("[]", |walk| walk.types(value, other_value));
            }
            (Type::Option(wanted), Type::Option(offered)) => self.within("?", |walk| walk.types(wanted, offered)),
            (Type::Result { ok, err }, Type::Result { ok: other_ok, err: other_err }) => {
                self.within("ok", |walk| walk.maybe(ok.as_deref(), other_ok.as_deref(), "no value"));
                self.within("err", |walk| walk.maybe(err.as_deref(), other_err.as_deref(), "no value"));
            }
            (Type::Tuple(wanted_types), Type::Tuple(offered_types)) if wanted_types.len() == offered_types.len() => {
                for (index, (wanted, offered)) in wanted_types.iter().zip(offered_types.iter()).enumerate() {
                    self.within(&index.to_string(), |walk| walk.types(wanted, offered));
                }
            }
            (Type::Record(wanted), Type::Record(offered)) => {
                self.compare_once(wanted, offered, |walk| {
                    walk.parts("field", &fields(&wanted.body), &fields(&offered.body));
                });
            }
            (Type::Variant(wanted), Type::Variant(offered)) => {
                self.compare_once(wanted, offered, |walk| {
                    walk.parts("case", &cases(&wanted.body), &cases(&offered.body));
                });
            }
            (Type::Enum(wanted), Type::Enum(offered)) => {
                self.compare_once(wanted, offered, |walk| {
                    walk.parts("case", &names(&wanted.body), &names(&offered.body));
                });
            }
            (Type::Flags(wanted), Type::Flags(offered)) => {
                self.compare_once(wanted, offered, |walk| {
                    walk.parts("flag", &names(&wanted.body), &names(&offered.body));
                });
            }
            (Type::Own(wanted), Type::Own(offered)) | (Type::Borrow(wanted), Type::Borrow(offered))
                if same_resource(wanted, offered) => {}
            (Type::Stream(wanted), Type::Stream(offered)) => {
                self.within("[]", |walk| walk.maybe(wanted.as_deref(), offered.as_deref(), "no value"));
            }
            (Type::Future(wanted), Type::Future(offered)) => {
                self.within("?", |walk| walk.maybe(wanted.as_deref(), offered.as_deref(), "no value"));
            }
            // The types that are left have no parts: numbers, `bool`, `char`, `string`, `error-context`.
            _ if wanted == offered => {}
            _ => self.report(wanted, offered),
        }
    }

    fn maybe(&mut self, wanted: Option<&Type>, offered: Option<&Type>, none: &str) {
        match (wanted, offered) {
            (Some(wanted), Some(offered)) => self.types(wanted, offered),
            (Some(wanted), None) => self.report(wanted, none),
            (None, Some(offered)) => self.report(none, offered),
            (None, None) => {}
        }
    }

    /// Compares a pair of named types with `walk` unless the pair was compared before. A difference within a type is reported once for each
    /// function that uses the type. Among the interface's own types it is reported only if no function has reported it.
    fn compare_once<T>(&mut self, wanted: &Arc<Named<T>>, offered: &Arc<Named<T>>, walk: impl FnOnce(&mut Self)) {
        let pair = (Arc::as_ptr(wanted).addr(), Arc::as_ptr(offered).addr());
        let new_here = self.seen_in_function.insert(pair);
        let new_ever = self.seen.insert(pair);
        if if self.function.is_some() { new_here } else { new_ever } {
            walk(self);
        }
    }

    /// Compares fields, cases, flags or parameters: their names, their order and their types. `noun` says in messages which of these they
    /// are. A part that is missing and another one in its place are one difference: most likely a part was renamed.
    fn parts(&mut self, noun: &str, wanted: &[Part<'_>], offered: &[Part<'_>]) {
        let in_offered: HashMap<_, _> = offered.iter().copied().collect();
        let in_wanted: HashSet<_> = wanted.iter().map(|(name, _)| *name).collect();
        let is_missing = |(name, _): &&Part<'_>| !in_offered.contains_key(name);
        let is_new = |(name, _): &&Part<'_>| !in_wanted.contains(name);
        let mut same_names = wanted.len() == offered.len();
        for (place, (name, ty)) in wanted.iter().enumerate() {
            if let Some(other) = in_offered.get(name) {
                self.within(name, |walk| walk.maybe(*ty, *other, &format!("a {noun} without a value")));
                continue;
            }
            same_names = false;
            let instead = offered.get(place).filter(is_new);
            let found = instead.map_or_else(|| format!("no such {noun}"), |other| part(noun, *other));
            self.within(name, |walk| walk.report(part(noun, (name, *ty)), found));
        }
        for (place, (name, ty)) in offered.iter().enumerate().filter(|(_, part)| is_new(part)) {
            same_names = false;
            if wanted.get(place).filter(is_missing).is_none() {
                self.within(name, |walk| walk.report(format!("no such {noun}"), part(noun, (name, *ty))));
            }
        }
        if same_names && wanted.iter().zip(offered).any(|((wanted, _), (offered, _))| wanted != offered) {
            self.report(order(noun, wanted), order(noun, offered));
        }
    }
}

/// Whether two handles are of the same resource: it has the same name, and the linker accepts one interface's version for the other's.
fn same_resource(wanted: &Resource, offered: &Resource) -> bool {
    let same_interface = match (&wanted.interface, &offered.interface) {
        (Some(wanted), Some(offered)) => offered.can_serve(wanted) || wanted.can_serve(offered),
        (None, None) => true,
        _ => false,
    };
    same_interface && wanted.name == offered.name
}

fn fields(fields: &[Field]) -> Vec<Part<'_>> {
    fields.iter().map(|field| (&*field.name, Some(&field.ty))).collect()
}

fn cases(cases: &[Case]) -> Vec<Part<'_>> {
    cases.iter().map(|case| (&*case.name, case.ty.as_ref())).collect()
}

fn names(names: &[Arc<str>]) -> Vec<Part<'_>> {
    names.iter().map(|name| (&**name, None)).collect()
}

fn part(noun: &str, (name, ty): Part<'_>) -> String {
    match ty {
        Some(ty) if noun == "case" => format!("{noun} `{name}({ty})`"),
        Some(ty) => format!("{noun} `{name}: {ty}`"),
        None => format!("{noun} `{name}`"),
    }
}

fn order(noun: &str, parts: &[Part<'_>]) -> String {
    let names: Vec<_> = parts.iter().map(|(name, _)| *name).collect();
    format!("{noun}s in the order {}", names.join(", "))
}

fn short(text: &str) -> String {
    match text.char_indices().nth(MAX_TEXT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
