//! Converts WIT types to schemas, as the JSON bridge reads and writes their values, and collects the named ones.
//!
//! The host accepts more than the schemas of requests say: 64-bit integers in either form, and cases without a payload as an object. The
//! schemas have the form that the host writes itself.

use std::collections::BTreeMap;

use super::names::assign_names;
use super::site::{Site, TypeDocs};
use crate::format::{Additional, Kind, OpenApi, Schema};
use watertight_component::shape::{Case, Field, Type};
use watertight_model::config::{JsonStyle, WideIntegers};
use watertight_model::ids::InterfaceName;

/// The form of JSON in which a value is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// In a request, where a field of an option type may be absent.
    Request,
    /// In an answer, which has all fields.
    Answer,
}

/// A named schema that a document needs.
#[derive(Debug)]
pub(super) struct Entry {
    /// The name that the schema has if no other one has it.
    pub(super) name: String,
    /// The interface that has the type. `None` if none has: a world has it.
    pub(super) origin: Option<InterfaceName>,
    pub(super) style: JsonStyle,
    schema: Schema,
    /// The schema without descriptions.
    bare: Schema,
}

/// The named schemas of a document that is being made. Schemas refer to them by their index, until [`Schemas::finish`] gives names.
#[derive(Debug, Default)]
pub(super) struct Schemas {
    entries: Vec<Entry>,
    /// The indexes of the entries, by [`Entry::name`].
    by_name: BTreeMap<String, Vec<usize>>,
}

impl Schemas {
    /// Returns the schema of a type. The bridge has bounded the depth and size of the type.
    pub(super) fn of(&mut self, site: Site<'_>, ty: &Type) -> Schema {
        match ty {
            Type::Bool => Schema::of(Kind::Boolean),
            Type::U8 => unsigned("uint8", u8::MAX.into()),
            Type::U16 => unsigned("uint16", u16::MAX.into()),
            Type::U32 => unsigned("uint32", u32::MAX.into()),
            Type::S8 => signed("int8", i8::MIN.into(), i8::MAX.into()),
            Type::S16 => signed("int16", i16::MIN.into(), i16::MAX.into()),
            Type::S32 => signed("int32", i32::MIN.into(), i32::MAX.into()),
            Type::U64 | Type::S64 if site.style.int64 == WideIntegers::String => wide_text(*ty == Type::S64),
            Type::U64 => unsigned("uint64", u64::MAX),
            Type::S64 => signed("int64", i64::MIN, i64::MAX),
            Type::F32 => formatted(Kind::Number, "float"),
            Type::F64 => formatted(Kind::Number, "double"),
            Type::Char => Schema { min_length: Some(1), max_length: Some(1), ..formatted(Kind::String, "char") },
            Type::String => Schema::of(Kind::String),
            Type::List(item) if **item == Type::U8 => bytes(None),
            Type::FixedList(item, length) if **item == Type::U8 => bytes(Some((*length).into())),
            Type::List(item) => Schema::list(self.of(site, item)),
            Type::FixedList(item, length) => sized(Schema::list(self.of(site, item)), (*length).into()),
            Type::Map(key, value) => self.map(site, key, value),
            Type::Option(inner) => self.of(site, inner).or_null(),
            Type::Result { ok, err } => {
                let side = |name: &str, ty: Option<&Type>, schemas: &mut Self| {
                    let payload = ty.map_or_else(|| Schema::of(Kind::Null), |ty| schemas.of(site, ty));
                    case(name.to_owned(), payload)
                };
                let sides = [side("ok", ok.as_deref(), self), side("err", err.as_deref(), self)];
                Schema { one_of: sides.into(), ..Schema::default() }
            }
            Type::Tuple(items) => self.tuple(site, items),
            Type::Record(record) => {
                self.named(site, ty, &record.name, |schemas, docs| schemas.record(site, &record.body, docs))
            }
            Type::Variant(variant) => self.named(site, ty, &variant.name, |schemas, docs| {
                let cases = variant.body.iter().map(|case| schemas.case(site, case, docs));
                Schema { one_of: cases.collect(), ..Schema::default() }
            }),
            Type::Enum(names) => self.named(site, ty, &names.name, |_, docs| Schema {
                description: docs.list(site.style, &names.body),
                ..one_of_names(site, &names.body)
            }),
            Type::Flags(names) => self.named(site, ty, &names.name, |_, docs| Schema {
                description: docs.list(site.style, &names.body),
                unique_items: true,
                ..Schema::list(one_of_names(site, &names.body))
            }),
            // No route carries these.
            Type::Own(_) | Type::Borrow(_) | Type::Stream(_) | Type::Future(_) | Type::ErrorContext => {
                Schema::default()
            }
        }
    }

    /// Returns the schema of an object with these fields.
    pub(super) fn record(&mut self, site: Site<'_>, fields: &[Field], docs: TypeDocs<'_>) -> Schema {
        let mut schema = Schema::of(Kind::Object);
        for Field { name, ty } in fields {
            let property = self.of(site, field_type(ty)).described(docs.part(name));
            let name = site.style.case.spell(name);
            if !may_be_absent(ty, site.form) {
                schema.required.push(name.clone());
            }
            schema.properties.insert(name, property);
        }
        schema
    }

    fn case(&mut self, site: Site<'_>, one: &Case, docs: TypeDocs<'_>) -> Schema {
        let name = site.style.case.spell(&one.name);
        let schema = match &one.ty {
            None => Schema::constant(name),
            Some(ty) => case(name, self.of(site, ty)),
        };
        schema.described(docs.part(&one.name))
    }

    fn tuple(&mut self, site: Site<'_>, items: &[Type]) -> Schema {
        let prefix_items: Vec<Schema> = items.iter().map(|item| self.of(site, item)).collect();
        let length = prefix_items.len() as u64;
        sized(Schema { prefix_items, ..Schema::of(Kind::Array) }, length)
    }

    fn map(&mut self, site: Site<'_>, key: &Type, value: &Type) -> Schema {
        let value = self.of(site, value);
        if *key == Type::String {
            let values = Additional::These(Box::new(value));
            return Schema { additional_properties: Some(values), ..Schema::of(Kind::Object) };
        }
        let pair = Schema { prefix_items: vec![self.of(site, key), value], ..Schema::of(Kind::Array) };
        Schema::list(sized(pair, 2))
    }

    /// Returns a reference to the schema of a named type, which `make` makes.
    fn named(
        &mut self,
        site: Site<'_>,
        ty: &Type,
        name: &str,
        make: impl FnOnce(&mut Self, TypeDocs<'_>) -> Schema,
    ) -> Schema {
        let origin = site.origin(name, ty);
        let docs = site.docs(origin, name);
        let schema = make(self, docs);
        let details = schema.description.clone();
        let parts: Vec<&str> = docs.own().into_iter().chain(details.as_deref()).collect();
        let text = Some(parts.join("\n\n")).filter(|text| !text.is_empty());
        let name = match site.form {
            Form::Request if differs_in_requests(ty) => format!("{name}.request"),
            _ => name.to_owned(),
        };
        self.refer_to(name, origin, site.style, Schema { description: text, ..schema })
    }

    /// Returns a reference to a named schema, which is added if the document doesn't have it yet. Two schemas of one interface that differ
    /// only in one of them having no descriptions are one: a module in another language may lack the documentation.
    pub(super) fn refer_to(
        &mut self,
        name: String,
        origin: Option<&InterfaceName>,
        style: JsonStyle,
        schema: Schema,
    ) -> Schema {
        let mut bare = schema.clone();
        bare.for_each(&mut |schema| schema.description = None);
        let (is_bare, same) = (bare == schema, self.by_name.entry(name.clone()).or_default());
        let found = same.iter().copied().find(|place| {
            let entry = &self.entries[*place];
            let is_same = entry.schema == schema || (entry.bare == bare && (is_bare || entry.schema == entry.bare));
            is_same && entry.origin.as_ref() == origin
        });
        let place = found.unwrap_or(self.entries.len());
        if found.is_none() {
            same.push(place);
            self.entries.push(Entry { name, origin: origin.cloned(), style, schema, bare });
        } else if self.entries[place].schema == bare {
            self.entries[place].schema = schema;
        }
        Schema { reference: Some(place.to_string()), ..Schema::default() }
    }

    /// Gives the named schemas their names, and adds them to the document.
    pub(super) fn finish(self, document: &mut OpenApi) {
        let names = assign_names(&self.entries);
        let schemas = names.iter().cloned().zip(self.entries.into_iter().map(|entry| entry.schema));
        document.components.schemas.extend(schemas);
        document.for_each_schema(&mut |schema| {
            let place = schema.reference.as_ref().and_then(|text| text.parse::<usize>().ok());
            if let Some(place) = place {
                schema.reference = Schema::named(&names[place]).reference;
            }
        });
    }
}

/// Returns the type of a field that is there: for an option of an option, the inner option.
fn field_type(ty: &Type) -> &Type {
    match ty {
        Type::Option(inner) if matches!(**inner, Type::Option(_)) => inner,
        ty => ty,
    }
}

/// Whether a field of this type may be absent. An answer leaves out only an option of an option.
fn may_be_absent(ty: &Type, form: Form) -> bool {
    match ty {
        Type::Option(inner) => form == Form::Request || matches!(**inner, Type::Option(_)),
        _ => false,
    }
}

/// Whether the JSON of a type may lack fields in requests that answers have.
fn differs_in_requests(ty: &Type) -> bool {
    let is_different = |ty: &Type| may_be_absent(ty, Form::Request) && !may_be_absent(ty, Form::Answer);
    ty.has_part(|part| match part {
        Type::Record(record) => record.body.iter().any(|field| is_different(&field.ty)),
        _ => false,
    })
}

fn formatted(kind: Kind, format: &str) -> Schema {
    Schema { format: Some(format.to_owned()), ..Schema::of(kind) }
}

fn unsigned(format: &str, maximum: u64) -> Schema {
    Schema { minimum: Some(0.into()), maximum: Some(maximum.into()), ..formatted(Kind::Integer, format) }
}

fn signed(format: &str, minimum: i64, maximum: i64) -> Schema {
    Schema { minimum: Some(minimum.into()), maximum: Some(maximum.into()), ..formatted(Kind::Integer, format) }
}

/// Returns the schema of a 64-bit integer that is written as a string.
fn wide_text(is_signed: bool) -> Schema {
    let (format, pattern) = if is_signed { ("int64", "^-?[0-9]+$") } else { ("uint64", "^[0-9]+$") };
    Schema { pattern: Some(pattern.to_owned()), ..formatted(Kind::String, format) }
}

/// Returns the schema of bytes in base64. `length` is their number, if it is fixed.
fn bytes(length: Option<u64>) -> Schema {
    let text = length.map(|length| length.div_ceil(3) * 4);
    let encoding = Some("base64".to_owned());
    Schema { content_encoding: encoding, min_length: text, max_length: text, ..Schema::of(Kind::String) }
}

fn sized(list: Schema, length: u64) -> Schema {
    Schema { min_items: Some(length), max_items: Some(length), ..list }
}

/// Returns the schema of a case with a payload: an object with one field.
fn case(name: String, payload: Schema) -> Schema {
    Schema {
        properties: [(name.clone(), payload)].into(),
        required: vec![name],
        additional_properties: Some(Additional::Allowed(false)),
        ..Schema::of(Kind::Object)
    }
}

fn one_of_names(site: Site<'_>, names: &[std::sync::Arc<str>]) -> Schema {
    let names = names.iter().map(|name| site.style.case.spell(name)).collect();
    Schema { names, ..Schema::of(Kind::String) }
}
