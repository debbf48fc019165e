//! Compares JSON with the expectations of a suite or a fake: JSON in which an object with a single key such as `$any` is a placeholder.
//!
//! `{"$any": …}`, `{"$ulid": …}` and `{"$timestamp": …}` match values that change from run to run. The operand is null, or a name under
//! which the value is kept and must occur again. `{"$length": N}` matches a list of N items, and `{"$has": {…}}` an object with at least
//! these fields. `{"$value": NAME}`, `{"$repeat": [TEXT or LIST, TIMES]}` and `{"$join": [TEXT, …]}` stand for one definite value. In the
//! answer of a fake, `$ulid` and `$timestamp` make a new value.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Map, Value};

/// The maximum size of the result of `$repeat`, in bytes: of the text, or of the list's JSON.
const MAX_REPEATED: usize = 1 << 20;
/// The length of a timestamp as contracts write it: `2026-11-23T08:15:30.123Z`.
const TIMESTAMP_LENGTH: usize = 24;

/// The values that a test case has kept under names, to be compared with later answers.
pub(crate) type KeptValues = BTreeMap<String, Value>;

/// A place in an answer that differs from what the suite expects.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The place, as a JSON pointer into the answer.
    pub at: String,
    /// The expected value. `None` if the expectation has nothing at this place.
    pub expected: Option<Value>,
    /// The value found. `None` if the answer has nothing at this place.
    pub found: Option<Value>,
}

/// A placeholder in a suite's JSON, such as `{"$any": null}`.
enum Placeholder<'a> {
    Volatile(VolatileKind, Option<&'a str>),
    Length(u64),
    Has(&'a Map<String, Value>),
    Value(&'a str),
    Repeat(&'a Value, usize),
    Join(&'a [Value]),
}

#[derive(Clone, Copy)]
enum VolatileKind {
    Any,
    Ulid,
    Timestamp,
}

impl VolatileKind {
    /// Makes a new value of this kind. `None` if any value is of this kind.
    fn make(self) -> Option<Value> {
        match self {
            Self::Any => None,
            Self::Ulid => Some(ulid::Ulid::generate().to_string().into()),
            Self::Timestamp => Some(humantime::format_rfc3339_millis(SystemTime::now()).to_string().into()),
        }
    }

    fn accepts(self, value: &Value) -> bool {
        match self {
            Self::Any => true,
            Self::Ulid => value.as_str().is_some_and(is_ulid),
            Self::Timestamp => value.as_str().is_some_and(|text| {
                text.len() == TIMESTAMP_LENGTH && text.ends_with('Z') && humantime::parse_rfc3339(text).is_ok()
            }),
        }
    }
}

fn is_ulid(text: &str) -> bool {
    let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'A'..=b'Z') && !b"ILOU".contains(&byte);
    text.len() == ulid::ULID_LEN && text.as_bytes()[0] <= b'7' && text.bytes().all(digit)
}

impl<'a> Placeholder<'a> {
    /// Parses an object as a placeholder. `None` if it is an ordinary object.
    fn of(object: &'a Map<String, Value>) -> Result<Option<Self>, String> {
        let Some((key, value)) = object.iter().find(|(key, _)| key.starts_with('$')) else { return Ok(None) };
        let wrong = || format!("`{key}` can't be used like this: {}", Value::from(object.clone()));
        if object.len() != 1 {
            return Err(wrong());
        }
        let name = || match value {
            Value::Null => Ok(None),
            Value::String(name) => Ok(Some(name.as_str())),
            _ => Err(wrong()),
        };
        Ok(Some(match key.as_str() {
            "$any" => Self::Volatile(VolatileKind::Any, name()?),
            "$ulid" => Self::Volatile(VolatileKind::Ulid, name()?),
            "$timestamp" => Self::Volatile(VolatileKind::Timestamp, name()?),
            "$length" => Self::Length(value.as_u64().ok_or_else(wrong)?),
            "$has" => Self::Has(value.as_object().ok_or_else(wrong)?),
            "$value" => Self::Value(value.as_str().ok_or_else(wrong)?),
            "$repeat" => {
                let [part @ (Value::String(_) | Value::Array(_)), times] =
                    value.as_array().ok_or_else(wrong)?.as_slice()
                else {
                    return Err(wrong());
                };
                let times = times.as_u64().and_then(|times| usize::try_from(times).ok()).ok_or_else(wrong)?;
                repeat(part, times).ok_or_else(wrong)?;
                Self::Repeat(part, times)
            }
            "$join" => Self::Join(value.as_array().ok_or_else(wrong)?),
            _ => {
                return Err(format!(
                    "`{key}` is not a placeholder: use $any, $ulid, $timestamp, $length, $has, $value, $repeat or $join"
                ));
            }
        }))
    }
}

/// Checks the placeholders of a suite's JSON: each must be valid. With `may_vary` false, each must stand for one definite value.
pub(crate) fn check(value: &Value, may_vary: bool) -> Result<(), String> {
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| check(item, may_vary)),
        Value::Object(object) => match Placeholder::of(object)? {
            None => object.values().try_for_each(|value| check(value, may_vary)),
            Some(Placeholder::Volatile(..) | Placeholder::Length(_) | Placeholder::Has(_)) if !may_vary => {
                Err(format!("the placeholder {value} matches many values, so it can't be sent"))
            }
            Some(Placeholder::Join(parts)) => parts.iter().try_for_each(|part| check(part, false)),
            Some(Placeholder::Repeat(part, _)) => check(part, false),
            Some(Placeholder::Has(fields)) => fields.values().try_for_each(|value| check(value, true)),
            Some(_) => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Adds the names under which the placeholders of some JSON keep values to `names`.
pub(crate) fn add_kept_names(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| add_kept_names(item, names)),
        Value::Object(object) => match Placeholder::of(object) {
            Ok(Some(Placeholder::Volatile(_, Some(name)))) => drop(names.insert(name.to_owned())),
            _ => object.values().for_each(|value| add_kept_names(value, names)),
        },
        _ => {}
    }
}

/// Adds the names that `$value` placeholders of some JSON use to `names`.
pub(crate) fn add_used_names(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| add_used_names(item, names)),
        Value::Object(object) => match Placeholder::of(object) {
            Ok(Some(Placeholder::Value(name))) => drop(names.insert(name.to_owned())),
            _ => object.values().for_each(|value| add_used_names(value, names)),
        },
        _ => {}
    }
}

/// Replaces each placeholder in a suite's JSON by the value that it stands for. `kept` has the values for `$value`.
pub(crate) fn resolve_placeholders(value: &Value, kept: &KeptValues) -> Result<Value, String> {
    resolve(value, kept, &|_| None)
}

/// Replaces each placeholder in the answer of a fake by the value that it stands for, or by a new value.
pub(crate) fn resolve_answer(value: &Value, kept: &KeptValues) -> Result<Value, String> {
    resolve(value, kept, &VolatileKind::make)
}

fn resolve(value: &Value, kept: &KeptValues, make: &dyn Fn(VolatileKind) -> Option<Value>) -> Result<Value, String> {
    Ok(match value {
        Value::Array(items) => {
            items.iter().map(|item| resolve(item, kept, make)).collect::<Result<Vec<_>, _>>()?.into()
        }
        Value::Object(object) => match Placeholder::of(object)? {
            None => {
                let entries = object.iter().map(|(key, value)| Ok((key.clone(), resolve(value, kept, make)?)));
                Value::Object(entries.collect::<Result<_, String>>()?)
            }
            Some(Placeholder::Volatile(kind, None)) if let Some(made) = make(kind) => made,
            Some(Placeholder::Volatile(..) | Placeholder::Length(_) | Placeholder::Has(_)) => {
                return Err(format!(
                    "the placeholder {value} matches many values, so it can't stand where one value is needed"
                ));
            }
            Some(Placeholder::Value(name)) => {
                kept.get(name).cloned().ok_or_else(|| format!("no earlier answer gave a value the name `{name}`"))?
            }
            Some(Placeholder::Repeat(part, times)) => repeat(&resolve(part, kept, make)?, times)
                .ok_or_else(|| format!("`$repeat` would make a value of more than {MAX_REPEATED} bytes of {part}"))?,
            Some(Placeholder::Join(parts)) => {
                let mut text = String::new();
                for part in parts {
                    let part = resolve(part, kept, make)?;
                    text.push_str(
                        part.as_str().ok_or_else(|| format!("`$join` joins texts, and {part} is not a text"))?,
                    );
                }
                text.into()
            }
        },
        plain => plain.clone(),
    })
}

/// Repeats a text or a list `times` times. `None` if the result is larger than [`MAX_REPEATED`], or if `part` is neither a text nor a list.
fn repeat(part: &Value, times: usize) -> Option<Value> {
    let fits = |bytes: usize| bytes.saturating_mul(times) <= MAX_REPEATED;
    match part {
        Value::String(text) => fits(text.len()).then(|| text.repeat(times).into()),
        Value::Array(items) => {
            fits(part.to_string().len()).then(|| std::iter::repeat_n(items, times).flatten().cloned().collect())
        }
        _ => None,
    }
}

/// Returns all differences between an expectation and a value, in the order of the expectation. Adds the values for which the expectation
/// has a name to `kept`.
pub(crate) fn differences(expected: &Value, found: &Value, kept: &mut KeptValues) -> Result<Vec<Difference>, String> {
    let mut differences = Vec::new();
    compare(expected, found, &mut String::new(), kept, &mut differences)?;
    Ok(differences)
}

fn compare(
    expected: &Value,
    found: &Value,
    at: &mut String,
    kept: &mut KeptValues,
    out: &mut Vec<Difference>,
) -> Result<(), String> {
    let differs = |expected: &Value, at: &str| Difference {
        at: at.to_owned(),
        expected: Some(expected.clone()),
        found: Some(found.clone()),
    };
    match (expected, found) {
        (Value::Object(object), _) if let Some(special) = Placeholder::of(object)? => {
            let expected = match special {
                Placeholder::Volatile(kind, name) => match name.and_then(|name| kept.get(name)) {
                    Some(before) => before.clone(),
                    None if kind.accepts(found) => {
                        kept.extend(name.map(|name| (name.to_owned(), found.clone())));
                        return Ok(());
                    }
                    None => expected.clone(),
                },
                Placeholder::Length(length) if found.as_array().is_some_and(|items| items.len() as u64 == length) => {
                    return Ok(());
                }
                Placeholder::Has(fields) if let Value::Object(found) = found => {
                    for (key, expected) in fields {
                        inside(key, Some(expected), found.get(key), at, kept, out)?;
                    }
                    return Ok(());
                }
                Placeholder::Length(_) | Placeholder::Has(_) => expected.clone(),
                _ => resolve_placeholders(expected, kept)?,
            };
            if expected != *found {
                out.push(differs(&expected, at));
            }
        }
        (Value::Object(expected), Value::Object(found)) => {
            let extra = found.keys().filter(|key| !expected.contains_key(*key));
            for key in expected.keys().chain(extra) {
                inside(key, expected.get(key), found.get(key), at, kept, out)?;
            }
        }
        (Value::Array(expected), Value::Array(found)) => {
            for index in 0..expected.len().max(found.len()) {
                inside(&index.to_string(), expected.get(index), found.get(index), at, kept, out)?;
            }
        }
        _ if expected == found => {}
        _ => out.push(differs(expected, at)),
    }
    Ok(())
}

/// Compares one field of an object, or one item of a list. It is a difference if only one side has the field or item.
fn inside(
    key: &str,
    expected: Option<&Value>,
    found: Option<&Value>,
    at: &mut String,
    kept: &mut KeptValues,
    out: &mut Vec<Difference>,
) -> Result<(), String> {
    let outside = at.len();
    at.push('/');
    at.push_str(&key.replace('~', "~0").replace('/', "~1"));
    match (expected, found) {
        (Some(expected), Some(found)) => compare(expected, found, at, kept, out)?,
        (expected, found) => {
            out.push(Difference { at: at.clone(), expected: expected.cloned(), found: found.cloned() });
        }
    }
    at.truncate(outside);
    Ok(())
}
