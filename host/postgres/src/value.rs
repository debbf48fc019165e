//! Values of `watertight:sql` as parameters and results of PostgreSQL.
//!
//! Numbers, texts and bytes travel in binary. A text for a column of another type (a date, a UUID, JSON) travels as text, so
//! that the server reads it. What has no form is an error that names the parameter or column and its type.

use std::error::Error;

use bytes::BytesMut;
use tokio_postgres::types::{Format, FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};
use watertight_sql::{SqlError, Value};

use super::format;

/// A parameter of a statement.
#[derive(Debug)]
pub(crate) struct Parameter(Option<Encoded>);

/// A value in the form in which it travels.
#[derive(Debug)]
enum Encoded {
    Bool(bool),
    Int2(i16),
    Int4(i32),
    Int8(i64),
    Float4(f32),
    Float8(f64),
    Bytes(Vec<u8>),
    Text(String),
}

impl Parameter {
    /// Prepares `value` for a parameter of type `kind`. `number` is the parameter's, counted from 1.
    ///
    /// # Errors
    /// `Syntax` if the value has no form in this type.
    pub(crate) fn new(number: usize, value: Value, kind: &Type) -> Result<Self, SqlError> {
        encode(value, base(kind)).map(Self).map_err(|what| {
            SqlError::Syntax(format!(
                "the parameter ?{number} is {what}, which has no form in the type `{}`",
                kind.name()
            ))
        })
    }
}

/// The type that a domain is made of, or the type itself.
fn base(kind: &Type) -> &Type {
    let mut kind = kind;
    while let Kind::Domain(inner) = kind.kind() {
        kind = inner;
    }
    kind
}

/// Returns the value's form in the type, or `None` for a null.
fn encode(value: Value, kind: &Type) -> Result<Option<Encoded>, &'static str> {
    let text = [Type::TEXT, Type::VARCHAR, Type::BPCHAR, Type::NAME].contains(kind);
    Ok(Some(match value {
        Value::Null => return Ok(None),
        // SQLite has no NaN and stores a null.
        Value::Real(number) if number.is_nan() => return Ok(None),
        Value::Integer(number) => match *kind {
            Type::BOOL if number == 0 || number == 1 => Encoded::Bool(number == 1),
            Type::INT2 => Encoded::Int2(number.try_into().map_err(|_| "an integer out of range")?),
            Type::INT4 => Encoded::Int4(number.try_into().map_err(|_| "an integer out of range")?),
            Type::INT8 => Encoded::Int8(number),
            #[expect(clippy::cast_precision_loss, reason = "as SQLite converts an integer for a REAL column")]
            Type::FLOAT8 => Encoded::Float8(number as f64),
            #[expect(clippy::cast_precision_loss, reason = "as SQLite converts an integer for a REAL column")]
            Type::FLOAT4 => Encoded::Float4(number as f32),
            Type::NUMERIC => Encoded::Text(number.to_string()),
            _ if text => Encoded::Text(number.to_string()),
            _ => return Err("an integer"),
        },
        Value::Real(number) => match *kind {
            Type::FLOAT8 => Encoded::Float8(number),
            #[expect(clippy::cast_possible_truncation, reason = "the column has this precision")]
            Type::FLOAT4 => Encoded::Float4(number as f32),
            // As SQLite does for an INTEGER column, a whole number is an integer.
            Type::INT2 | Type::INT4 | Type::INT8 => {
                return encode(Value::Integer(whole(number).ok_or("a number with a fraction")?), kind);
            }
            Type::NUMERIC if number.is_finite() => Encoded::Text(number.to_string()),
            _ if text => Encoded::Text(format::real(number)),
            _ => return Err("a real number"),
        },
        Value::Text(_) if *kind == Type::BYTEA => return Err("a text"),
        Value::Text(text) => Encoded::Text(text),
        Value::Blob(bytes) if *kind == Type::BYTEA => Encoded::Bytes(bytes),
        Value::Blob(_) => return Err("a blob"),
    }))
}

/// Returns a number without a fraction as an integer.
fn whole(number: f64) -> Option<i64> {
    // 2^63 is the first number above the range, and a float has it exactly.
    let most = 9_223_372_036_854_775_808.0;
    #[expect(clippy::cast_possible_truncation, reason = "the number is whole and within the range")]
    (number.fract() == 0.0 && (-most..most).contains(&number)).then_some(number as i64)
}

impl ToSql for Parameter {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let Some(value) = &self.0 else { return Ok(IsNull::Yes) };
        match value {
            Encoded::Bool(value) => value.to_sql(kind, out),
            Encoded::Int2(value) => value.to_sql(kind, out),
            Encoded::Int4(value) => value.to_sql(kind, out),
            Encoded::Int8(value) => value.to_sql(kind, out),
            Encoded::Float4(value) => value.to_sql(kind, out),
            Encoded::Float8(value) => value.to_sql(kind, out),
            Encoded::Bytes(value) => value.as_slice().to_sql(kind, out),
            Encoded::Text(value) => value.as_str().to_sql(kind, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        // `new` has chosen the form by the type.
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        match self.0 {
            Some(Encoded::Text(_)) => Format::Text,
            _ => Format::Binary,
        }
    }

    to_sql_checked!();
}

/// A value of a row in the form in which it travels.
pub(crate) struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Returns a value of a row. `None` if a value of this type has no form in `watertight:sql`, or this value has none.
pub(crate) fn decode(kind: &Type, raw: &Raw<'_>) -> Option<Value> {
    let bytes = raw.0;
    let kind = base(kind);
    Some(match *kind {
        Type::BOOL => Value::Integer(i64::from(*bytes.first()? != 0)),
        Type::INT2 => Value::Integer(i16::from_be_bytes(bytes.try_into().ok()?).into()),
        Type::INT4 => Value::Integer(i32::from_be_bytes(bytes.try_into().ok()?).into()),
        Type::INT8 => Value::Integer(i64::from_be_bytes(bytes.try_into().ok()?)),
        Type::OID => Value::Integer(u32::from_be_bytes(bytes.try_into().ok()?).into()),
        Type::FLOAT4 => real(f32::from_be_bytes(bytes.try_into().ok()?).into()),
        Type::FLOAT8 => real(f64::from_be_bytes(bytes.try_into().ok()?)),
        Type::BYTEA => Value::Blob(bytes.to_owned()),
        Type::NUMERIC => number(&format::numeric(bytes)?),
        // The first byte of binary `jsonb` is its version.
        Type::JSONB => Value::Text(text(bytes.split_first().filter(|(version, _)| **version == 1)?.1)?),
        Type::DATE | Type::TIMESTAMP | Type::TIMESTAMPTZ | Type::TIME | Type::UUID => {
            Value::Text(format::scalar(kind, bytes)?)
        }
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::JSON | Type::UNKNOWN => {
            Value::Text(text(bytes)?)
        }
        // The type of a parameter or column that is NULL without a cast.
        Type::VOID => Value::Null,
        _ => match kind.kind() {
            Kind::Enum(_) => Value::Text(text(bytes)?),
            Kind::Array(element) => Value::Text(format::array(element, bytes, &decode_bytes)?),
            _ => return None,
        },
    })
}

fn decode_bytes(kind: &Type, bytes: &[u8]) -> Option<Value> {
    decode(kind, &Raw(bytes))
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

/// SQLite has no NaN: a computed one is a null.
fn real(number: f64) -> Value {
    if number.is_nan() { Value::Null } else { Value::Real(number) }
}

/// A `numeric` as SQLite has it: an integer if it has no fraction and fits, the nearest real otherwise.
fn number(text: &str) -> Value {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    match whole.parse() {
        Ok(number) if fraction.bytes().all(|digit| digit == b'0') => Value::Integer(number),
        _ => text.parse().map_or(Value::Null, real),
    }
}
