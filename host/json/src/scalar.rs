//! Parses integers, floats and characters from text, with range checks. Only messages allocate.

use std::fmt;

use wasmtime::component::Val;

/// An integer type of WIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Integer {
    U8,
    S8,
    U16,
    S16,
    U32,
    S32,
    U64,
    S64,
}

impl Integer {
    /// Whether a JSON string may stand for the integer too. That holds for 64-bit integers: programs whose numbers are all floats can't
    /// represent every one of them.
    pub(super) fn is_wide(self) -> bool {
        matches!(self, Self::U64 | Self::S64)
    }

    /// Parses an integer in JSON's notation: no `+`, no leading zero, no fraction, no exponent. Returns `None` for any other text and for
    /// integers beyond the type's range.
    pub(super) fn parse(self, text: &str) -> Option<Val> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let canonical = !digits.is_empty()
            && digits.bytes().all(|b| b.is_ascii_digit())
            && (digits.len() == 1 || !digits.starts_with('0'));
        if !canonical {
            return None;
        }
        let magnitude = i128::from(digits.parse::<u64>().ok()?);
        self.value(if negative { -magnitude } else { magnitude })
    }

    fn value(self, number: i128) -> Option<Val> {
        Some(match self {
            Self::U8 => Val::U8(number.try_into().ok()?),
            Self::S8 => Val::S8(number.try_into().ok()?),
            Self::U16 => Val::U16(number.try_into().ok()?),
            Self::S16 => Val::S16(number.try_into().ok()?),
            Self::U32 => Val::U32(number.try_into().ok()?),
            Self::S32 => Val::S32(number.try_into().ok()?),
            Self::U64 => Val::U64(number.try_into().ok()?),
            Self::S64 => Val::S64(number.try_into().ok()?),
        })
    }

    fn range(self) -> (i128, i128) {
        match self {
            Self::U8 => (0, u8::MAX.into()),
            Self::S8 => (i8::MIN.into(), i8::MAX.into()),
            Self::U16 => (0, u16::MAX.into()),
            Self::S16 => (i16::MIN.into(), i16::MAX.into()),
            Self::U32 => (0, u32::MAX.into()),
            Self::S32 => (i32::MIN.into(), i32::MAX.into()),
            Self::U64 => (0, u64::MAX.into()),
            Self::S64 => (i64::MIN.into(), i64::MAX.into()),
        }
    }
}

impl fmt::Display for Integer {
    /// Writes for a message which integers the type accepts: `an integer from 0 to 255`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most) = self.range();
        write!(f, "an integer from {least} to {most}")
    }
}

/// Returns the `f32` nearest to a number in JSON's notation, or `None` if the number is beyond the type's range.
pub(super) fn parse_f32(text: &str) -> Option<Val> {
    text.parse().ok().filter(|number: &f32| number.is_finite()).map(Val::Float32)
}

/// Returns the `f64` nearest to a number in JSON's notation, or `None` if the number is beyond the type's range.
pub(super) fn parse_f64(text: &str) -> Option<Val> {
    text.parse().ok().filter(|number: &f64| number.is_finite()).map(Val::Float64)
}

/// Returns the character of a text that has exactly one, and `None` for any other text.
pub(super) fn parse_char(text: &str) -> Option<Val> {
    let mut chars = text.chars();
    let first = chars.next()?;
    chars.next().is_none().then_some(Val::Char(first))
}

/// Returns a number that is different for different keys of one map; `None` for keys of types that have no such number, such as strings.
pub(super) fn identity(key: &Val) -> Option<i128> {
    Some(match key {
        Val::Bool(value) => i128::from(*value),
        Val::U8(value) => i128::from(*value),
        Val::S8(value) => i128::from(*value),
        Val::U16(value) => i128::from(*value),
        Val::S16(value) => i128::from(*value),
        Val::U32(value) => i128::from(*value),
        Val::S32(value) => i128::from(*value),
        Val::U64(value) => i128::from(*value),
        Val::S64(value) => i128::from(*value),
        Val::Char(value) => i128::from(u32::from(*value)),
        _ => return None,
    })
}
