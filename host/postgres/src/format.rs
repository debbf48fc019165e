//! The texts that values of PostgreSQL become which have no type of their own in `watertight:sql`.
//!
//! Times are RFC 3339, `numeric` is decimal digits, arrays are JSON.

use tokio_postgres::types::Type;
use watertight_sql::Value;

const MICROS_A_SECOND: i64 = 1_000_000;
const SECONDS_A_DAY: i64 = 86_400;
/// Days from 1970-01-01 to 2000-01-01, from which PostgreSQL counts.
const EPOCH_DAYS: i64 = 10_957;

/// A real as SQLite writes it into a text: always with a point or an exponent.
pub(crate) fn real(number: f64) -> String {
    format!("{number:?}")
}

/// A date, time or UUID from its binary form. `None` for infinity, and for years that RFC 3339 does not have.
pub(crate) fn scalar(kind: &Type, bytes: &[u8]) -> Option<String> {
    match *kind {
        Type::DATE => date(i32::from_be_bytes(bytes.try_into().ok()?).into()),
        Type::TIME => Some(clock(i64::from_be_bytes(bytes.try_into().ok()?))),
        Type::TIMESTAMP => timestamp(i64::from_be_bytes(bytes.try_into().ok()?), ""),
        Type::TIMESTAMPTZ => timestamp(i64::from_be_bytes(bytes.try_into().ok()?), "Z"),
        Type::UUID => uuid(bytes),
        _ => None,
    }
}

/// `2026-12-01` from days since 2000-01-01.
fn date(days: i64) -> Option<String> {
    // The smallest and greatest numbers stand for infinity, and are far outside of the range.
    let (year, month, day) = civil(days.checked_add(EPOCH_DAYS)?)?;
    Some(format!("{year:04}-{month:02}-{day:02}"))
}

/// `2026-12-01T10:00:00.5` from microseconds since 2000-01-01.
fn timestamp(micros: i64, zone: &str) -> Option<String> {
    let day = SECONDS_A_DAY * MICROS_A_SECOND;
    let date = date(micros.div_euclid(day))?;
    Some(format!("{date}T{}{zone}", clock(micros.rem_euclid(day))))
}

/// `10:00:00.5` from microseconds since midnight.
fn clock(micros: i64) -> String {
    let (seconds, fraction) = (micros / MICROS_A_SECOND, micros % MICROS_A_SECOND);
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if fraction == 0 { clock } else { format!("{clock}.{fraction:06}").trim_end_matches('0').to_owned() }
}

/// Year, month and day of the proleptic Gregorian calendar, from days since 1970-01-01, for the years 1 to 9999.
fn civil(days: i64) -> Option<(i64, i64, i64)> {
    // A year that begins in March has its leap day at the end.
    let days = days.checked_add(719_468)?;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (1..=9_999).contains(&year).then_some((year, month, day))
}

fn uuid(bytes: &[u8]) -> Option<String> {
    let bytes: &[u8; 16] = bytes.try_into().ok()?;
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    Some(text)
}

/// The decimal digits of a binary `numeric`. `None` for NaN and infinity.
pub(crate) fn numeric(bytes: &[u8]) -> Option<String> {
    let mut words = bytes.as_chunks().0.iter().map(|word| u16::from_be_bytes(*word));
    let (count, weight, sign, scale) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let digits: Vec<u16> = words.by_ref().take(count.into()).collect();
    if digits.len() != usize::from(count) || !matches!(sign, 0 | 0x4000) || digits.iter().any(|digit| *digit > 9_999) {
        return None;
    }
    // Each digit has four decimal places. `weight` is the power of 10,000 of the first one.
    let weight = i32::from(weight.cast_signed());
    let digit = |power: i32| usize::try_from(weight - power).ok().and_then(|at| digits.get(at)).copied().unwrap_or(0);
    let mut text = if sign == 0 { String::new() } else { "-".to_owned() };
    text.push_str(&digit(weight.max(0)).to_string());
    for power in (0..weight.max(0)).rev() {
        text.push_str(&format!("{:04}", digit(power)));
    }
    if scale > 0 {
        text.push('.');
        let start = text.len();
        for place in 0..=(i32::from(scale) - 1) / 4 {
            text.push_str(&format!("{:04}", digit(-1 - place)));
        }
        text.truncate(start + usize::from(scale));
    }
    Some(text)
}

/// JSON text of a binary array. `decode` gives the elements' values. `None` if one has no form.
pub(crate) fn array(element: &Type, bytes: &[u8], decode: &dyn Fn(&Type, &[u8]) -> Option<Value>) -> Option<String> {
    let mut rest = bytes;
    let dimensions = take_i32(&mut rest)?;
    let (_has_nulls, _element) = (take_i32(&mut rest)?, take_i32(&mut rest)?);
    let mut lengths = Vec::new();
    // PostgreSQL's own bound.
    for _ in 0..usize::try_from(dimensions).ok().filter(|count| *count <= 6)? {
        lengths.push(usize::try_from(take_i32(&mut rest)?).ok()?);
        let _lower_bound = take_i32(&mut rest)?;
    }
    let mut out = String::new();
    match lengths.as_slice() {
        [] => out.push_str("[]"),
        lengths => level(lengths, &mut rest, element, decode, &mut out)?,
    }
    Some(out)
}

/// Writes one dimension. There are at most 6 of them.
fn level(
    lengths: &[usize],
    rest: &mut &[u8],
    element: &Type,
    decode: &dyn Fn(&Type, &[u8]) -> Option<Value>,
    out: &mut String,
) -> Option<()> {
    let (count, inner) = lengths.split_first()?;
    out.push('[');
    for at in 0..*count {
        if at > 0 {
            out.push(',');
        }
        if inner.is_empty() {
            let length = take_i32(rest)?;
            match usize::try_from(length) {
                Err(_) => out.push_str("null"),
                Ok(length) => {
                    let (value, after) = rest.split_at_checked(length)?;
                    *rest = after;
                    json(decode(element, value)?, element, out)?;
                }
            }
        } else {
            level(inner, rest, element, decode, out)?;
        }
    }
    out.push(']');
    Some(())
}

fn json(value: Value, element: &Type, out: &mut String) -> Option<()> {
    match value {
        Value::Null => out.push_str("null"),
        Value::Integer(number) if *element == Type::BOOL => out.push_str(if number == 0 { "false" } else { "true" }),
        Value::Integer(number) => out.push_str(&number.to_string()),
        Value::Real(number) if number.is_finite() => out.push_str(&serde_json::to_string(&number).ok()?),
        Value::Text(text) if [Type::JSON, Type::JSONB].contains(element) => out.push_str(&text),
        Value::Text(text) => out.push_str(&serde_json::to_string(&text).ok()?),
        Value::Real(_) | Value::Blob(_) => return None,
    }
    Some(())
}

fn take_i32(rest: &mut &[u8]) -> Option<i32> {
    let (word, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    Some(i32::from_be_bytes(*word))
}
