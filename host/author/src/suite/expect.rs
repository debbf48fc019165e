//! Expectations: JSON in which an object with one key that begins with `$` stands for something else.
//!
//! `{"$any": …}`, `{"$ulid": …}` and `{"$timestamp": …}` accept what changes from run to run; with a name instead of null they also keep
//! it, and the same name must be the same value again. `{"$length": N}` accepts a list of so many items. `{"$value": NAME}`,
//! `{"$repeat": [TEXT or LIST, TIMES]}` and `{"$join": [TEXT, …]}` stand for a value that can be told.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

/// The longest text that `$repeat` makes, in bytes, and the longest list, in bytes of its JSON.
const MAX_REPEATED: usize = 1 << 20;
/// A moment as contracts write it: `2026-11-23T08:15:30.123Z`.
const TIMESTAMP_LENGTH: usize = 24;

/// Values that a case has kept, by name.
pub(super) type Kept = BTreeMap<String, Value>;

/// A place where an answer is not as expected.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// A JSON pointer into the answer.
    pub at: String,
    /// What the suite says; none where it has nothing there.
    pub expected: Option<Value>,
    /// What the answer has; none where it has nothing there.
    pub found: Option<Value>,
}

/// What stands for something else.
enum Special<'a> {
    Volatile(Kind, Option<&'a str>),
    Length(u64),
    Value(&'a str),
    Repeat(&'a Value, usize),
    Join(&'a [Value]),
}

#[derive(Clone, Copy)]
enum Kind {
    Any,
    Ulid,
    Timestamp,
}

impl Kind {
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

impl<'a> Special<'a> {
    /// What an object stands for; `None` where it stands for itself.
    fn of(object: &'a Map<String, Value>) -> Result<Option<Self>, String> {
        let Some((key, value)) = object.iter().find(|(key, _)| key.starts_with('$')) else { return Ok(None) };
        let wrong = || format!("`{key}` is not used like that: {}", Value::from(object.clone()));
        if object.len() != 1 {
            return Err(wrong());
        }
        let name = || match value {
            Value::Null => Ok(None),
            Value::String(name) => Ok(Some(name.as_str())),
            _ => Err(wrong()),
        };
        Ok(Some(match key.as_str() {
            "$any" => Self::Volatile(Kind::Any, name()?),
            "$ulid" => Self::Volatile(Kind::Ulid, name()?),
            "$timestamp" => Self::Volatile(Kind::Timestamp, name()?),
            "$length" => Self::Length(value.as_u64().ok_or_else(wrong)?),
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
                    "there is no `{key}`: $any, $ulid, $timestamp, $length, $value, $repeat and $join are known"
                ));
            }
        }))
    }
}

/// Checks what a suite says: every `$` is one that is known, and none is open where a value must be told.
pub(super) fn check(value: &Value, may_vary: bool) -> Result<(), String> {
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| check(item, may_vary)),
        Value::Object(object) => match Special::of(object)? {
            None => object.values().try_for_each(|value| check(value, may_vary)),
            Some(Special::Volatile(..) | Special::Length(_)) if !may_vary => {
                Err(format!("this is no value that can be sent: {value}"))
            }
            Some(Special::Join(parts)) => parts.iter().try_for_each(|part| check(part, false)),
            Some(Special::Repeat(part, _)) => check(part, false),
            Some(_) => Ok(()),
        },
        _ => Ok(()),
    }
}

/// The value that is told, with all that stands for something else filled in.
pub(super) fn fill(value: &Value, kept: &Kept) -> Result<Value, String> {
    Ok(match value {
        Value::Array(items) => items.iter().map(|item| fill(item, kept)).collect::<Result<Vec<_>, _>>()?.into(),
        Value::Object(object) => match Special::of(object)? {
            None => {
                let entries = object.iter().map(|(key, value)| Ok((key.clone(), fill(value, kept)?)));
                Value::Object(entries.collect::<Result<_, String>>()?)
            }
            Some(Special::Volatile(..) | Special::Length(_)) => {
                return Err(format!("{value} is no value that can be told"));
            }
            Some(Special::Value(name)) => {
                kept.get(name).cloned().ok_or_else(|| format!("no value was kept as `{name}` before"))?
            }
            Some(Special::Repeat(part, times)) => repeat(&fill(part, kept)?, times)
                .ok_or_else(|| format!("`$repeat` would make more than {MAX_REPEATED} bytes of {part}"))?,
            Some(Special::Join(parts)) => {
                let mut text = String::new();
                for part in parts {
                    let part = fill(part, kept)?;
                    text.push_str(part.as_str().ok_or_else(|| format!("`$join` joins texts, and {part} is none"))?);
                }
                text.into()
            }
        },
        plain => plain.clone(),
    })
}

/// A text or a list so many times; none where that is too large.
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

/// Everything in which `found` is not as expected, in its order; keeps what the expectation names.
pub(super) fn differences(expected: &Value, found: &Value, kept: &mut Kept) -> Result<Vec<Difference>, String> {
    let mut differences = Vec::new();
    compare(expected, found, &mut String::new(), kept, &mut differences)?;
    Ok(differences)
}

fn compare(
    expected: &Value,
    found: &Value,
    at: &mut String,
    kept: &mut Kept,
    out: &mut Vec<Difference>,
) -> Result<(), String> {
    let differs = |expected: &Value, at: &str| Difference {
        at: at.to_owned(),
        expected: Some(expected.clone()),
        found: Some(found.clone()),
    };
    match (expected, found) {
        (Value::Object(object), _) if let Some(special) = Special::of(object)? => {
            let expected = match special {
                Special::Volatile(kind, name) => match name.and_then(|name| kept.get(name)) {
                    Some(before) => before.clone(),
                    None if kind.accepts(found) => {
                        kept.extend(name.map(|name| (name.to_owned(), found.clone())));
                        return Ok(());
                    }
                    None => expected.clone(),
                },
                Special::Length(length) if found.as_array().is_some_and(|items| items.len() as u64 == length) => {
                    return Ok(());
                }
                Special::Length(_) => expected.clone(),
                _ => fill(expected, kept)?,
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

/// One field or item; where only one side has it, that is the difference.
fn inside(
    key: &str,
    expected: Option<&Value>,
    found: Option<&Value>,
    at: &mut String,
    kept: &mut Kept,
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
