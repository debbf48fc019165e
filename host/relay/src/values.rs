//! Finds the streams and futures among values, and takes them out of one store and into another.

use wasmtime::component::Val;
use wasmtime::{AsContextMut as _, StoreContextMut};
use watertight_component::shape::{Function, Type};

use crate::ends::{Ends, Role};
use crate::future;
use crate::outside::LooseEnd;
use crate::stream;

/// The parameters or the result of a call on their way from one store to another.
pub struct Crossing<D> {
    values: Vec<Val>,
    /// The streams and futures of the values, in the order in which they are found.
    ends: Vec<LooseEnd<D>>,
    role: Role,
}

impl<D: 'static> Crossing<D> {
    /// Takes `values` out of a store: the parameters of `function`, or its result. `ends` counts the ends in that store.
    ///
    /// # Errors
    ///
    /// Returns [`TooManyEnds`](crate::ends::TooManyEnds), or an error if the values don't fit the function.
    pub fn leave(
        mut store: StoreContextMut<'_, D>,
        function: &Function,
        role: Role,
        mut values: Vec<Val>,
        ends: &Ends,
    ) -> wasmtime::Result<Self> {
        let mut loose = Vec::new();
        each(function, role, &mut values, &mut |ty, value| {
            let store = store.as_context_mut();
            loose.push(match (ty, std::mem::replace(value, Val::Bool(false))) {
                (Type::Stream(item), Val::Stream(stream)) => leave_stream(item.as_deref(), stream, role, store, ends)?,
                (Type::Future(value), Val::Future(future)) => {
                    leave_future(value.as_deref(), future, role, store, ends)?
                }
                _ => return Err(misfit()),
            });
            Ok(())
        })?;
        Ok(Self { values, ends: loose, role })
    }

    /// Takes the values into another store and returns them. `ends` counts the ends in that store.
    ///
    /// # Errors
    ///
    /// Returns [`TooManyEnds`](crate::ends::TooManyEnds), or an error if the values don't fit the function.
    pub fn enter(
        self,
        mut store: StoreContextMut<'_, D>,
        function: &Function,
        ends: &Ends,
    ) -> wasmtime::Result<Vec<Val>> {
        let Self { mut values, ends: loose, role } = self;
        let mut loose = loose.into_iter();
        each(function, role, &mut values, &mut |_, value| {
            *value = loose.next().ok_or_else(misfit)?.enter(store.as_context_mut(), ends)?;
            Ok(())
        })?;
        Ok(values)
    }

    /// Returns the values, which must have no stream or future among them.
    pub fn into_plain(self) -> Vec<Val> {
        debug_assert!(!self.has_ends(), "a stream would be lost");
        self.values
    }

    /// Makes a result of values without streams and futures, from outside all stores.
    pub fn plain_result(values: Vec<Val>) -> Self {
        Self { values, ends: Vec::new(), role: Role::Result }
    }

    /// Returns whether there is a stream or future among the values.
    pub fn has_ends(&self) -> bool {
        !self.ends.is_empty()
    }
}

fn misfit() -> wasmtime::Error {
    wasmtime::Error::msg("a value doesn't fit the type of its function")
}

/// Evaluates an expression for the Rust type `$T` of a WIT type.
macro_rules! with_item {
    ($item:expr, $T:ident => $body:expr) => {
        with_item!(@ $item, $T => $body;
            Type::Bool => bool, Type::U8 => u8, Type::S8 => i8, Type::U16 => u16, Type::S16 => i16, Type::U32 => u32,
            Type::S32 => i32, Type::U64 => u64, Type::S64 => i64, Type::F32 => f32, Type::F64 => f64,
            Type::Char => char, Type::String => String)
    };
    (@ $item:expr, $T:ident => $body:expr; $($ty:pat => $rust:ty),*) => {
        match $item {
            None => { type $T = (); $body }
            $(Some($ty) => { type $T = $rust; $body })*
            Some(Type::List(byte)) if **byte == Type::U8 => { type $T = Vec<u8>; $body }
            Some(other) => Err(wasmtime::Error::msg(format!("items of the type `{other}` can't be relayed"))),
        }
    };
}

fn leave_stream<D: 'static>(
    item: Option<&Type>,
    stream: wasmtime::component::StreamAny,
    role: Role,
    store: StoreContextMut<'_, D>,
    ends: &Ends,
) -> wasmtime::Result<LooseEnd<D>> {
    with_item!(item, T => stream::leave::<T, D>(stream, role, store, ends))
}

fn leave_future<D: 'static>(
    value: Option<&Type>,
    future: wasmtime::component::FutureAny,
    role: Role,
    store: StoreContextMut<'_, D>,
    ends: &Ends,
) -> wasmtime::Result<LooseEnd<D>> {
    with_item!(value, T => future::leave::<T, D>(future, role, store, ends))
}

type Visit<'a> = dyn FnMut(&Type, &mut Val) -> wasmtime::Result<()> + 'a;

/// Visits every stream and future among the parameters or the result of a function.
fn each(function: &Function, role: Role, values: &mut [Val], visit: &mut Visit<'_>) -> wasmtime::Result<()> {
    match role {
        Role::Parameter => {
            let types = function.parameters.iter().map(|parameter| &parameter.ty);
            types.zip(values).try_for_each(|(ty, value)| each_in(ty, value, visit))
        }
        Role::Result => function.result.iter().zip(values).try_for_each(|(ty, value)| each_in(ty, value, visit)),
    }
}

/// Visits every stream and future in a value. The validator bounds the size of its type, and thereby this recursion.
fn each_in(ty: &Type, value: &mut Val, visit: &mut Visit<'_>) -> wasmtime::Result<()> {
    match (ty, value) {
        (Type::Stream(_) | Type::Future(_), value) => visit(ty, value),
        // Lists can be long, so their values are visited only if they can have a stream or future in them.
        (Type::List(item), Val::List(values)) | (Type::FixedList(item, _), Val::FixedLengthList(values))
            if item.has_stream() =>
        {
            values.iter_mut().try_for_each(|value| each_in(item, value, visit))
        }
        (Type::Map(_, ty), Val::Map(entries)) if ty.has_stream() => {
            entries.iter_mut().try_for_each(|(_, value)| each_in(ty, value, visit))
        }
        (Type::Option(some), Val::Option(Some(value))) => each_in(some, value, visit),
        (Type::Result { ok: Some(ty), .. }, Val::Result(Ok(Some(value))))
        | (Type::Result { err: Some(ty), .. }, Val::Result(Err(Some(value)))) => each_in(ty, value, visit),
        (Type::Tuple(types), Val::Tuple(values)) => {
            types.iter().zip(values).try_for_each(|(ty, value)| each_in(ty, value, visit))
        }
        (Type::Record(record), Val::Record(fields)) => {
            let fields = record.body.iter().zip(fields);
            fields.into_iter().try_for_each(|(field, (_, value))| each_in(&field.ty, value, visit))
        }
        (Type::Variant(variant), Val::Variant(name, Some(value))) => {
            let case = variant.body.iter().find(|case| *case.name == **name);
            case.and_then(|case| case.ty.as_ref()).map_or(Ok(()), |ty| each_in(ty, value, visit))
        }
        _ => Ok(()),
    }
}
