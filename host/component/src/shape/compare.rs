//! Whether what one component offers under an interface is what another wants of it.
//!
//! Wasmtime, wac and the component model's validator ask for equality: the same parameters, fields, cases and flags, by name and in
//! order; an interface may offer more functions and types than are wanted, and nothing else may differ. This mirrors
//! `SubtypeCx::component_instance_type` of wasmparser, but goes on after the first difference and says where each one is.
//!
//! One thing is looked at otherwise: the names of types. Values are what functions carry, and are the same where they are built the
//! same; so a type that is called otherwise, or that no wanted function carries, is no difference. Linking gives it the wanted name.
//! An interface that defines a resource is the exception: nothing can stand in for it, so its types must have their names.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::sync::Arc;

use super::{Case, Field, Function, Interface, Named, Resource, Type};

/// How many differences one comparison reports at most: whoever reads more has stopped reading.
pub const MAX_DIFFERENCES: usize = 64;

/// How long a text in a [`Difference`] gets, in characters; the rest is cut. Names and lists of them come from untrusted bytes.
const MAX_TEXT: usize = 240;

/// One place where what is offered is not what is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The function, or none where the interface itself lacks something.
    pub function: Option<String>,
    /// The way into a type: parameters, fields and cases by name, `[]` an element of a list or stream, `?` what an option or future
    /// holds, `ok` and `err` a result's sides, a number a place in a tuple: `draft.lines[].quantity`, `result.err.invalid`. Within an
    /// interface's own types it starts with the type's name.
    pub type_path: Option<String>,
    /// What is wanted there.
    pub expected: String,
    /// What is offered there.
    pub found: String,
}

/// Every place where `offered` is not what `wanted` wants, up to [`MAX_DIFFERENCES`]. None means that it can be linked.
pub fn differences(wanted: &Interface, offered: &Interface) -> Vec<Difference> {
    all_differences(wanted, offered, |ty| !wanted.is_by_structure(ty))
}

/// The same where what is wanted is merged with what others want of the same name: then every type must be there by its name, used or not.
pub fn exact_differences(wanted: &Interface, offered: &Interface) -> Vec<Difference> {
    all_differences(wanted, offered, |_| true)
}

fn all_differences(wanted: &Interface, offered: &Interface, by_name: impl Fn(&Type) -> bool) -> Vec<Difference> {
    let mut walk = Walk::default();
    for (name, wanted) in &wanted.functions {
        walk.function = Some(name);
        walk.seen_here.clear();
        match offered.functions.get(name) {
            Some(offered) => walk.function(wanted, offered),
            None => walk.report("this function", "no such function"),
        }
    }
    walk.function = None;
    for resource in wanted.resources.difference(&offered.resources) {
        walk.at(resource, |walk| walk.report("a resource", "no such resource"));
    }
    for (name, wanted) in wanted.types.iter().filter(|(_, ty)| by_name(ty)) {
        walk.at(name, |walk| match offered.types.get(name) {
            Some(offered) => walk.types(wanted, offered),
            None => walk.report(wanted, "no such type"),
        });
    }
    walk.found
}

/// Every place where the two mean different types by one name.
pub fn shared_type_differences(wanted: &Interface, offered: &Interface) -> Vec<Difference> {
    let mut walk = Walk::default();
    for (name, wanted) in &wanted.types {
        if let Some(offered) = offered.types.get(name) {
            walk.at(name, |walk| walk.types(wanted, offered));
        }
    }
    walk.found
}

/// Whether `interface` has that type under that name.
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
    /// The pairs of named types, by address, that were compared for the function under way.
    seen_here: HashSet<(usize, usize)>,
    /// The same for everything so far.
    seen_ever: HashSet<(usize, usize)>,
}

/// A part of a type, a function's parameter included: its name, and its type where it has one.
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

    fn at(&mut self, step: &str, walk: impl FnOnce(&mut Self)) {
        // Names are joined by dots; `[]` and `?` stand at the end of what they look into.
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
        self.at("result", |walk| walk.maybe(wanted.result.as_ref(), offered.result.as_ref(), "no result"));
    }

    fn types(&mut self, wanted: &Type, offered: &Type) {
        match (wanted, offered) {
            (Type::List(wanted), Type::List(offered)) => self.at("[]", |walk| walk.types(wanted, offered)),
            (Type::FixedList(element, length), Type::FixedList(other, other_length)) if length == other_length => {
                self.at("[]", |walk| walk.types(element, other));
            }
            (Type::Map(key, value), Type::Map(other_key, other_value)) => {
                self.at("[key]", |walk| walk.types(key, other_key));
                self.at("[]", |walk| walk.types(value, other_value));
            }
            (Type::Option(wanted), Type::Option(offered)) => self.at("?", |walk| walk.types(wanted, offered)),
            (Type::Result { ok, err }, Type::Result { ok: other_ok, err: other_err }) => {
                self.at("ok", |walk| walk.maybe(ok.as_deref(), other_ok.as_deref(), "no value"));
                self.at("err", |walk| walk.maybe(err.as_deref(), other_err.as_deref(), "no value"));
            }
            (Type::Tuple(wanted_types), Type::Tuple(offered_types)) if wanted_types.len() == offered_types.len() => {
                for (index, (wanted, offered)) in wanted_types.iter().zip(offered_types.iter()).enumerate() {
                    self.at(&index.to_string(), |walk| walk.types(wanted, offered));
                }
            }
            (Type::Record(wanted), Type::Record(offered)) => {
                self.once(wanted, offered, |walk| walk.parts("field", &fields(&wanted.body), &fields(&offered.body)));
            }
            (Type::Variant(wanted), Type::Variant(offered)) => {
                self.once(wanted, offered, |walk| walk.parts("case", &cases(&wanted.body), &cases(&offered.body)));
            }
            (Type::Enum(wanted), Type::Enum(offered)) => {
                self.once(wanted, offered, |walk| walk.parts("case", &names(&wanted.body), &names(&offered.body)));
            }
            (Type::Flags(wanted), Type::Flags(offered)) => {
                self.once(wanted, offered, |walk| walk.parts("flag", &names(&wanted.body), &names(&offered.body)));
            }
            (Type::Own(wanted), Type::Own(offered)) | (Type::Borrow(wanted), Type::Borrow(offered))
                if same_resource(wanted, offered) => {}
            (Type::Stream(wanted), Type::Stream(offered)) => {
                self.at("[]", |walk| walk.maybe(wanted.as_deref(), offered.as_deref(), "no value"));
            }
            (Type::Future(wanted), Type::Future(offered)) => {
                self.at("?", |walk| walk.maybe(wanted.as_deref(), offered.as_deref(), "no value"));
            }
            // What is left is equal only where it has no parts: the numbers, `bool`, `char`, `string`, `error-context`.
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

    /// Walks a pair of named types, unless that was done: what differs in a type is said once for each function that uses it, and
    /// for the interface's own types only where no function said it.
    fn once<T>(&mut self, wanted: &Arc<Named<T>>, offered: &Arc<Named<T>>, walk: impl FnOnce(&mut Self)) {
        let pair = (Arc::as_ptr(wanted).addr(), Arc::as_ptr(offered).addr());
        let new_here = self.seen_here.insert(pair);
        let new_ever = self.seen_ever.insert(pair);
        if if self.function.is_some() { new_here } else { new_ever } {
            walk(self);
        }
    }

    /// Compares fields, cases, flags or parameters: which there are, in which order, and each one's type.
    fn parts(&mut self, noun: &str, wanted: &[Part<'_>], offered: &[Part<'_>]) {
        let in_offered: HashMap<_, _> = offered.iter().copied().collect();
        let in_wanted: HashSet<_> = wanted.iter().map(|(name, _)| *name).collect();
        let mut same_names = wanted.len() == offered.len();
        for (name, ty) in wanted {
            match in_offered.get(name) {
                Some(other) => self.at(name, |walk| walk.maybe(*ty, *other, &format!("a {noun} without a value"))),
                None => {
                    same_names = false;
                    self.at(name, |walk| walk.report(part(noun, (name, *ty)), format!("no such {noun}")));
                }
            }
        }
        for (name, ty) in offered.iter().filter(|(name, _)| !in_wanted.contains(name)) {
            same_names = false;
            self.at(name, |walk| walk.report(format!("no such {noun}"), part(noun, (name, *ty))));
        }
        if same_names && wanted.iter().zip(offered).any(|((wanted, _), (offered, _))| wanted != offered) {
            self.report(order(noun, wanted), order(noun, offered));
        }
    }
}

/// A handle fits when both name one resource: of the same interface, in versions that the linker takes for the same.
fn same_resource(wanted: &Resource, offered: &Resource) -> bool {
    let same_interface = match (&wanted.interface, &offered.interface) {
        (Some(wanted), Some(offered)) => offered.serves(wanted) || wanted.serves(offered),
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
