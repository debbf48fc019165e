//! The fields of a query or of a form (`application/x-www-form-urlencoded`), and the values that they become.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use wasmtime::component::Val;

use super::RequestFault;
use watertight_graph::routes::{BoundForm, FieldValue, FormField, ParameterSource, Route};
use watertight_model::config::UnknownInput;

/// The maximum number of fields of one query or form.
const MAX_FIELDS: usize = 64;

/// Where fields stand in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Query,
    Form,
}

impl Place {
    /// Returns what a field is called there.
    fn field(self) -> &'static str {
        match self {
            Self::Query => "query field",
            Self::Form => "field",
        }
    }

    fn fault(self, name: &str, index: Option<usize>, detail: impl Into<String>) -> RequestFault {
        match self {
            Self::Query => RequestFault::query(name, detail),
            Self::Form => RequestFault::field(name, index, detail),
        }
    }
}

/// The fields of a query or form that a route knows, in the order in which they were given.
pub(super) struct GivenFields<'a> {
    place: Place,
    fields: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// Parses the query of a request into the fields that the route knows.
pub(super) fn of_query<'a>(route: &Route, query: &'a str, faults: &mut Vec<RequestFault>) -> GivenFields<'a> {
    let mut given = GivenFields { place: Place::Query, fields: Vec::new() };
    if query.is_empty() {
        return given;
    }
    let known = |name: &str| {
        route.parameters.iter().find_map(|parameter| match &parameter.source {
            ParameterSource::Query(field) if field.name == name => Some(field),
            ParameterSource::WholeQuery(fields) => fields.iter().find(|field| field.name == name),
            _ => None,
        })
    };
    given.parse(query, known, route.unknown_input, faults);
    given
}

impl<'a> GivenFields<'a> {
    /// Parses a form into those of `known` that it gives. Unknown, repeated and malformed fields become faults; a route that ignores
    /// unknown input skips unknown fields.
    pub(super) fn of(
        text: &'a str,
        known: &[FormField],
        unknown: UnknownInput,
        faults: &mut Vec<RequestFault>,
    ) -> Self {
        let mut given = Self { place: Place::Form, fields: Vec::new() };
        given.parse(text, |name| known.iter().find(|field| field.name == name), unknown, faults);
        given
    }

    fn parse<'f>(
        &mut self,
        text: &'a str,
        known: impl Fn(&str) -> Option<&'f FormField>,
        unknown: UnknownInput,
        faults: &mut Vec<RequestFault>,
    ) {
        let is_lenient = unknown == UnknownInput::Ignore;
        let place = self.place;
        for (count, field) in text.split('&').filter(|field| !field.is_empty()).enumerate() {
            if count == MAX_FIELDS {
                faults.push(place.fault("", None, format!("more than {MAX_FIELDS} {}s", place.field())));
                break;
            }
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            let (Some(name), Some(value)) = (form_decode(name), form_decode(value)) else {
                // A name that is not UTF-8 cannot be the name of a known field.
                if !is_lenient || form_decode(name).is_some_and(|name| known(&name).is_some()) {
                    faults.push(place.fault(name, None, "it is not UTF-8"));
                }
                continue;
            };
            match known(&name) {
                None if is_lenient => {}
                None => faults.push(place.fault(&name, None, format!("there is no such {}", place.field()))),
                Some(FormField { value: FieldValue::One(_), .. }) if self.all(&name).next().is_some() => {
                    faults.push(place.fault(&name, None, "it is given twice"));
                }
                Some(_) => self.fields.push((name, value)),
            }
        }
    }

    /// Creates the fields of a form from names and texts.
    pub(super) fn of_form(fields: Vec<(Cow<'a, str>, Cow<'a, str>)>) -> Self {
        Self { place: Place::Form, fields }
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.fields.iter().filter(move |(field, _)| field == name).map(|(_, value)| &**value)
    }

    /// Returns the value of a field.
    ///
    /// # Errors
    ///
    /// The field is missing, or its text doesn't fit.
    pub(super) fn value(&self, field: &FormField) -> Result<Val, RequestFault> {
        let FormField { name, value, .. } = field;
        match value {
            FieldValue::Many(codec) => {
                let decode = |(index, text)| {
                    codec.decode_text(text).map_err(|detail| self.place.fault(name, Some(index), detail))
                };
                self.all(name).enumerate().map(decode).collect::<Result<_, _>>().map(Val::List)
            }
            FieldValue::One(codec) if let Some(text) = self.all(name).next() => {
                codec.decode_text(text).map_err(|detail| self.place.fault(name, None, detail))
            }
            _ => field.absent_value().ok_or_else(|| self.place.fault(name, None, "it is missing")),
        }
    }

    /// Returns the values that a form gives: that of the record, or of each parameter. The list is empty or incomplete if there are faults.
    pub(super) fn bound(&self, form: &BoundForm, faults: &mut Vec<RequestFault>) -> Vec<Val> {
        bound(form, form.fields.iter().map(|field| self.value(field)), faults)
    }

    /// Returns the record of `fields`. Adds the faults of those that have no value, and returns `None` then.
    pub(super) fn record(&self, fields: &[FormField], faults: &mut Vec<RequestFault>) -> Option<Val> {
        record(fields, sound(fields.iter().map(|field| self.value(field)), faults))
    }
}

/// Returns the values that a form gives, of which `values` has one for each field: that of the record, or of each parameter. Adds the faults
/// of fields. The list is empty or incomplete then.
pub(super) fn bound(
    form: &BoundForm,
    values: impl Iterator<Item = Result<Val, RequestFault>>,
    faults: &mut Vec<RequestFault>,
) -> Vec<Val> {
    let values = sound(values, faults);
    if form.is_spread { values } else { record(&form.fields, values).into_iter().collect() }
}

/// Returns the values that have no fault, and adds the faults of the others.
fn sound(values: impl Iterator<Item = Result<Val, RequestFault>>, faults: &mut Vec<RequestFault>) -> Vec<Val> {
    values.filter_map(|value| value.map_err(|fault| faults.push(fault)).ok()).collect()
}

/// Returns the record of `fields`. `None` if some have no value.
fn record(fields: &[FormField], values: Vec<Val>) -> Option<Val> {
    let names = fields.iter().map(|field| field.wit.to_string());
    (values.len() == fields.len()).then(|| Val::Record(names.zip(values).collect()))
}

/// Decodes a name or a value of a query or form. Returns `None` if it is not UTF-8.
fn form_decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('+') {
        return percent_decode_str(text).decode_utf8().ok();
    }
    let spaced = text.replace('+', " ");
    Some(percent_decode_str(&spaced).decode_utf8().ok()?.into_owned().into())
}
