//! Compares two schemas: whether each value of one is a value of the other, and where not.
//!
//! A request must be understood by the new application: each value of the old schema has to be one of the new. An answer must be understood
//! by old clients: each value of the new schema has to be one of the old, apart from further fields of objects.

use std::collections::{BTreeMap, HashSet};

use serde_json::Number;

use super::Found;
use crate::format::{Additional, Kind, Kinds, OpenApi, Schema};

/// The greatest number of schemas that one comparison looks at. A document from elsewhere may have types that repeat without end.
const MAX_STEPS: usize = 100_000;

/// The way of the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Clients send them.
    Request,
    /// Clients get them.
    Answer,
}

/// Spells a name without what distinguishes `camelCase` from `snake_case`.
pub(super) fn fold(name: &str) -> String {
    name.chars().filter(|c| *c != '_').flat_map(char::to_lowercase).collect()
}

/// Follows references to the schema that they mean.
pub(super) fn resolve<'a>(document: &'a OpenApi, schema: &'a Schema) -> &'a Schema {
    let mut found = schema;
    for _ in 0..document.components.schemas.len() {
        match found.target().and_then(|name| document.components.schemas.get(name)) {
            Some(next) => found = next,
            None => break,
        }
    }
    found
}

/// What a schema means.
#[derive(Debug, PartialEq)]
enum View<'a> {
    Null,
    Boolean,
    Integer(Integer),
    Number {
        is_double: bool,
    },
    /// A text. The meaning is that of its keywords for the format, the encoding and the media type.
    Text([Option<&'a str>; 3]),
    /// One of several cases, by name, each with its payload.
    Cases(BTreeMap<&'a str, Option<&'a Schema>>),
    List {
        items: &'a Schema,
        is_set: bool,
        length: Option<u64>,
    },
    Tuple(&'a [Schema]),
    Map(&'a Schema),
    Record(&'a Schema),
    /// Keywords that the host doesn't write.
    Other(&'a Schema),
}

#[derive(Debug, PartialEq)]
struct Integer {
    minimum: i128,
    maximum: i128,
    /// Whether it is written as a string.
    is_text: bool,
    is_wide: bool,
}

/// Returns what a schema means, and whether `null` is a value of it, too.
fn view<'a>(document: &'a OpenApi, schema: &'a Schema) -> (View<'a>, bool) {
    let schema = resolve(document, schema);
    let is_null = |schema: &Schema| schema.kinds == Some(Kinds::One(Kind::Null));
    if !schema.one_of.is_empty() {
        let others: Vec<&Schema> = schema.one_of.iter().filter(|one| !is_null(one)).collect();
        let has_null = others.len() < schema.one_of.len();
        if let ([one], true) = (&others[..], has_null) {
            return (view(document, one).0, true);
        }
        let case = |one: &&'a Schema| case_of(resolve(document, one));
        let cases = others.iter().map(case).collect::<Option<BTreeMap<_, _>>>();
        return (cases.map_or(View::Other(schema), View::Cases), has_null);
    }
    let (kind, has_null) = match &schema.kinds {
        Some(Kinds::One(kind)) => (*kind, false),
        Some(Kinds::Any(kinds)) => match &kinds[..] {
            [kind, Kind::Null] | [Kind::Null, kind] => (*kind, true),
            _ => return (View::Other(schema), false),
        },
        None => return (View::Other(schema), false),
    };
    (of_kind(schema, kind), has_null)
}

fn of_kind(schema: &Schema, kind: Kind) -> View<'_> {
    let format = schema.format.as_deref();
    let is_wide = matches!(format, Some("int64" | "uint64"));
    match kind {
        Kind::Null => View::Null,
        Kind::Boolean => View::Boolean,
        Kind::Integer => View::Integer(Integer {
            minimum: schema.minimum.as_ref().map_or(i128::MIN, whole),
            maximum: schema.maximum.as_ref().map_or(i128::MAX, whole),
            is_text: false,
            is_wide,
        }),
        Kind::String if is_wide => View::Integer(match format {
            Some("uint64") => Integer { minimum: 0, maximum: u64::MAX.into(), is_text: true, is_wide },
            _ => Integer { minimum: i64::MIN.into(), maximum: i64::MAX.into(), is_text: true, is_wide },
        }),
        Kind::Number => View::Number { is_double: format != Some("float") },
        Kind::String if schema.constant.is_some() || !schema.names.is_empty() => {
            View::Cases(schema.constant.iter().chain(&schema.names).map(|name| (name.as_str(), None)).collect())
        }
        Kind::String => View::Text([format, schema.content_encoding.as_deref(), schema.content_media_type.as_deref()]),
        Kind::Array if !schema.prefix_items.is_empty() => View::Tuple(&schema.prefix_items),
        Kind::Array => match &schema.items {
            Some(items) => View::List { items, is_set: schema.unique_items, length: schema.min_items },
            None => View::Other(schema),
        },
        Kind::Object => match &schema.additional_properties {
            Some(Additional::These(values)) if schema.properties.is_empty() => View::Map(values),
            _ => View::Record(schema),
        },
    }
}

fn whole(number: &Number) -> i128 {
    let float = || number.as_f64().unwrap_or_default() as i128;
    number.as_i64().map(i128::from).or(number.as_u64().map(i128::from)).unwrap_or_else(float)
}

/// Returns the name and the payload of a case. `None` if the schema is none.
fn case_of(schema: &Schema) -> Option<(&str, Option<&Schema>)> {
    if let Some(name) = &schema.constant {
        return Some((name, None));
    }
    let mut properties = schema.properties.iter();
    match (properties.next(), properties.next()) {
        (Some((name, payload)), None) => Some((name, Some(payload))),
        _ => None,
    }
}

impl View<'_> {
    /// Says for a message what the values are.
    fn describe(&self, has_null: bool) -> String {
        let text = match self {
            Self::Null => "null".to_owned(),
            Self::Boolean => "a boolean".to_owned(),
            Self::Integer(Integer { minimum, maximum, is_text, .. }) => {
                let form = if *is_text { ", as a string" } else { "" };
                format!("an integer from {minimum} to {maximum}{form}")
            }
            Self::Number { is_double: true } => "a 64-bit number".to_owned(),
            Self::Number { is_double: false } => "a 32-bit number".to_owned(),
            Self::Text([None, None, None]) => "a string".to_owned(),
            Self::Text([Some("char"), ..]) => "a character".to_owned(),
            Self::Text([_, Some(encoding), _]) => format!("bytes in {encoding}"),
            Self::Text([.., Some(_)]) => "a file".to_owned(),
            Self::Text(_) => "a string of a format".to_owned(),
            Self::Cases(_) => "one of several cases".to_owned(),
            Self::List { is_set: true, .. } => "a list without repetition".to_owned(),
            Self::List { length: Some(length), .. } => format!("a list of {length}"),
            Self::List { .. } => "a list".to_owned(),
            Self::Tuple(items) => format!("a tuple of {}", items.len()),
            Self::Map(_) => "a map".to_owned(),
            Self::Record(_) => "an object".to_owned(),
            Self::Other(_) => "something else".to_owned(),
        };
        if has_null { format!("{text}, or null") } else { text }
    }
}

/// A comparison of schemas.
pub(super) struct Walk<'a> {
    side: Side,
    /// The document whose values must be understood: the old one for requests, the new one for answers.
    from: &'a OpenApi,
    /// The document by whose schemas they must be understood.
    to: &'a OpenApi,
    folds_names: bool,
    /// Whether the values are plain text, as in a query. Each of them fits a string then.
    is_plain_text: bool,
    place: Vec<String>,
    /// The pairs of named schemas that were compared before.
    seen: HashSet<(String, String)>,
    steps: usize,
    found: &'a mut Found,
}

impl<'a> Walk<'a> {
    pub(super) fn new(side: Side, old: &'a OpenApi, new: &'a OpenApi, folds_names: bool, found: &'a mut Found) -> Self {
        let (from, to) = if side == Side::Request { (old, new) } else { (new, old) };
        let (place, seen) = (Vec::new(), HashSet::new());
        Self { side, from, to, folds_names, is_plain_text: false, place, seen, steps: 0, found }
    }

    /// Compares values that are plain text, as those of a query are.
    pub(super) fn of_text(self) -> Self {
        Self { is_plain_text: true, ..self }
    }

    /// Compares the schemas of a part of the operation. `place` names the part.
    pub(super) fn at(mut self, place: &str, old: &'a Schema, new: &'a Schema) {
        self.place.push(place.to_owned());
        let (from, to) = if self.side == Side::Request { (old, new) } else { (new, old) };
        self.compare(from, to);
    }

    /// Returns the place with what is said of it.
    fn say(&self, what: &str) -> String {
        let (part, path) = self.place.split_first().expect("a comparison begins at a part");
        match path.concat() {
            path if path.is_empty() => format!("{part}: {what}"),
            path => format!("{part}, `{}`: {what}", path.trim_start_matches('.')),
        }
    }

    fn breaks(&mut self, what: &str) {
        let text = self.say(what);
        self.found.breaks(text);
    }

    fn allows(&mut self, what: &str) {
        let text = self.say(what);
        self.found.allows(text);
    }

    fn within(&mut self, step: String, walk: impl FnOnce(&mut Self)) {
        self.place.push(step);
        walk(self);
        self.place.pop();
    }

    /// Says what values were, and what they are.
    fn changed(&mut self, from: &str, to: &str, breaks: bool) {
        let (was, is) = if self.side == Side::Request { (from, to) } else { (to, from) };
        let text = format!("it is {is}, and was {was}");
        if breaks { self.breaks(&text) } else { self.allows(&text) }
    }

    fn compare(&mut self, from: &'a Schema, to: &'a Schema) {
        self.steps += 1;
        if let (Some(from), Some(to)) = (from.target(), to.target())
            && !self.seen.insert((from.to_owned(), to.to_owned()))
        {
            return;
        }
        if self.steps > MAX_STEPS {
            return self.breaks("it is too large to be compared");
        }
        let ((from, from_null), (to, to_null)) = (view(self.from, from), view(self.to, to));
        match (from_null, to_null, self.side) {
            (true, false, Side::Request) => self.breaks("it may not be null any more"),
            (true, false, Side::Answer) => self.breaks("it may be null"),
            (false, true, Side::Request) => self.allows("it may be null"),
            (false, true, Side::Answer) => self.allows("it is never null any more"),
            _ => {}
        }
        self.views(&from, &to);
    }

    fn views(&mut self, from: &View<'a>, to: &View<'a>) {
        let texts = || (from.describe(false), to.describe(false));
        match (from, to) {
            (View::Record(from), View::Record(to)) => self.records(from, to),
            (View::Cases(from), View::Cases(to)) => self.cases(from, to),
            (View::Map(from), View::Map(to)) => self.within("[]".to_owned(), |walk| walk.compare(from, to)),
            (View::Tuple(from), View::Tuple(to)) if from.len() == to.len() => {
                for (index, (from, to)) in from.iter().zip(*to).enumerate() {
                    self.within(format!("[{index}]"), |walk| walk.compare(from, to));
                }
            }
            (
                View::List { items: from_items, is_set: from_set, length: from_length },
                View::List { items: to_items, is_set: to_set, length: to_length },
            ) if to_length.is_none() || from_length == to_length => {
                if from_set != to_set {
                    let (from, to) = texts();
                    self.changed(&from, &to, *to_set);
                }
                self.within("[]".to_owned(), |walk| walk.compare(from_items, to_items));
            }
            (View::Integer(one), View::Integer(other)) => {
                let is_within = other.minimum <= one.minimum && one.maximum <= other.maximum;
                // The host reads 64-bit integers in both forms, and writes them in one.
                let is_read = self.side == Side::Request && other.is_wide;
                let has_form = one.is_text == other.is_text || is_read;
                let is_same = (one.minimum, one.maximum) == (other.minimum, other.maximum)
                    && (one.is_text == other.is_text || is_read);
                if !is_same {
                    let (from, to) = texts();
                    self.changed(&from, &to, !(is_within && has_form));
                }
            }
            (View::Number { is_double: from_double }, View::Number { is_double: to_double }) => {
                if from_double != to_double {
                    let (from, to) = texts();
                    self.changed(&from, &to, *from_double);
                }
            }
            (from, to) if from == to => {}
            (from, to) => {
                let is_plain = *to == View::Text([None; 3]);
                let is_text = match from {
                    View::Text([format, None, None]) => *format == Some("char"),
                    View::Cases(cases) => cases.values().all(Option::is_none),
                    View::Boolean | View::Integer(_) | View::Number { .. } => self.is_plain_text,
                    _ => false,
                };
                let is_number = matches!((from, to), (View::Integer(one), View::Number { .. }) if !one.is_text);
                let (from, to) = texts();
                self.changed(&from, &to, !(is_plain && is_text || is_number));
            }
        }
    }

    fn key(&self, name: &str) -> String {
        if self.folds_names { fold(name) } else { name.to_owned() }
    }

    fn records(&mut self, from: &'a Schema, to: &'a Schema) {
        let fields = |schema: &'a Schema, walk: &Self| -> Vec<(String, &'a String, &'a Schema, bool)> {
            let field =
                |(name, field): (&'a String, &'a Schema)| (walk.key(name), name, field, schema.required.contains(name));
            schema.properties.iter().map(field).collect()
        };
        let (given, wanted) = (fields(from, self), fields(to, self));
        for (key, name, field, is_required) in &wanted {
            let step = format!(".{name}");
            let Some((_, _, own, is_given)) = given.iter().find(|(own, ..)| own == key) else {
                match (self.side, is_required) {
                    (Side::Request, true) => self.within(step, |walk| walk.breaks("it is new and required")),
                    (Side::Request, false) => self.within(step, |walk| walk.allows("it is new")),
                    (Side::Answer, _) => self.within(step, |walk| walk.breaks("it is gone")),
                }
                continue;
            };
            self.within(step, |walk| {
                match (walk.side, is_given, is_required) {
                    (Side::Request, false, true) => walk.breaks("it is required now"),
                    (Side::Request, true, false) => walk.allows("it is optional now"),
                    (Side::Answer, false, true) => walk.breaks("it may be absent"),
                    (Side::Answer, true, false) => walk.allows("it is never absent any more"),
                    _ => {}
                }
                walk.compare(own, field);
            });
        }
        for (_, name, ..) in given.iter().filter(|(key, ..)| wanted.iter().all(|(other, ..)| other != key)) {
            self.within(format!(".{name}"), |walk| match walk.side {
                Side::Request => walk.breaks("it is not accepted any more"),
                Side::Answer => walk.allows("it is new"),
            });
        }
    }

    fn cases(&mut self, from: &BTreeMap<&'a str, Option<&'a Schema>>, to: &BTreeMap<&'a str, Option<&'a Schema>>) {
        let find = |cases: &BTreeMap<&'a str, Option<&'a Schema>>, name: &str, walk: &Self| {
            let key = walk.key(name);
            cases.iter().find(|(other, _)| walk.key(other) == key).map(|(_, payload)| *payload)
        };
        for (name, payload) in from {
            let Some(known) = find(to, name, self) else {
                self.breaks(&match self.side {
                    Side::Request => format!("the case `{name}` is not accepted any more"),
                    Side::Answer => format!("the case `{name}` is new"),
                });
                continue;
            };
            match (payload, known) {
                (Some(from), Some(to)) => self.within(format!(".{name}"), |walk| walk.compare(from, to)),
                (None, None) => {}
                (payload, _) => {
                    let (with, without) = ("has a payload", "has no payload");
                    let gains = payload.is_some() == (self.side == Side::Answer);
                    self.breaks(&format!("the case `{name}` {}", if gains { with } else { without }));
                }
            }
        }
        for name in to.keys().filter(|name| find(from, name, self).is_none()).copied().collect::<Vec<_>>() {
            self.allows(&match self.side {
                Side::Request => format!("the case `{name}` is accepted"),
                Side::Answer => format!("the case `{name}` does not occur any more"),
            });
        }
    }
}
