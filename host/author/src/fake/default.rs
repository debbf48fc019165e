//! The default value of each WIT type, as JSON: zero, an empty text or list, no option, the first case.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde_json::{Map, Value, json};

use watertight_component::shape::Type;
use watertight_model::ids::json_name;

/// The maximum number of values in a default value. Only lists of fixed length can have many.
const MAX_VALUES: usize = 1 << 16;

/// Returns the default value of a type: false, zero, an empty text, list, map or set of flags, no option, the first case of an enum or
/// variant, and `ok` of a result. `None` if the type has a part without such a value, which is a handle, a stream or a future, or if the
/// value has more than 65,536 parts.
pub fn default_value(ty: &Type) -> Option<Value> {
    of(ty, &mut MAX_VALUES.clone())
}

fn of(ty: &Type, room: &mut usize) -> Option<Value> {
    *room = room.checked_sub(1)?;
    Some(match ty {
        Type::Bool => false.into(),
        Type::U8 | Type::S8 | Type::U16 | Type::S16 | Type::U32 | Type::S32 | Type::U64 | Type::S64 => 0.into(),
        Type::F32 | Type::F64 => 0.0.into(),
        Type::Char => "\0".into(),
        Type::String => "".into(),
        Type::List(item) if **item == Type::U8 => "".into(),
        Type::List(_) | Type::Flags(_) => json!([]),
        Type::FixedList(item, length) => {
            let length = usize::try_from(*length).ok().filter(|length| *length <= *room)?;
            if **item == Type::U8 {
                return Some(BASE64.encode(vec![0; length]).into());
            }
            (0..length).map(|_| of(item, room)).collect::<Option<Vec<_>>>()?.into()
        }
        Type::Map(key, _) if **key == Type::String => json!({}),
        Type::Map(..) => json!([]),
        Type::Option(_) => Value::Null,
        Type::Result { ok, .. } => json!({ "ok": payload(ok.as_deref(), room)? }),
        Type::Tuple(items) => items.iter().map(|item| of(item, room)).collect::<Option<Vec<_>>>()?.into(),
        Type::Record(record) => {
            let field =
                |field: &watertight_component::shape::Field| Some((json_name(&field.name), of(&field.ty, room)?));
            Value::Object(record.body.iter().map(field).collect::<Option<Map<_, _>>>()?)
        }
        Type::Variant(variant) => {
            let case = variant.body.first()?;
            let name = json_name(&case.name);
            match &case.ty {
                None => name.into(),
                Some(ty) => Value::Object(Map::from_iter([(name, of(ty, room)?)])),
            }
        }
        Type::Enum(names) => json_name(names.body.first()?).into(),
        Type::ErrorContext | Type::Own(_) | Type::Borrow(_) | Type::Stream(_) | Type::Future(_) => return None,
    })
}

fn payload(ty: Option<&Type>, room: &mut usize) -> Option<Value> {
    ty.map_or(Some(Value::Null), |ty| of(ty, room))
}
