//! Describes the functions of a world for `values.py`, which checks the values that a module hands over.

use serde_json::{Value, json};
use wit_parser::FunctionKind;

use crate::contract::{Types, functions};
use crate::world::World;

/// Returns the types and functions of a world, with the names of WIT.
pub(super) fn describe(world: &World) -> Value {
    let (resolve, _) = world.resolved();
    let mut types = Types::new(world, str::to_owned);
    let mut described = Vec::new();
    for one in functions(world) {
        let function = one.function;
        let resource = function.kind.resource().and_then(|id| resolve.types[id].name.clone());
        let is_constructor = matches!(function.kind, FunctionKind::Constructor(_));
        let is_method = matches!(function.kind, FunctionKind::Method(_) | FunctionKind::AsyncMethod(_));
        let name = if is_constructor { "[constructor]" } else { function.item_name() };
        // The first parameter of a method is the resource itself. What a constructor returns is none of the module's values.
        let parameters = function.params.iter().skip(usize::from(is_method));
        let parameters = parameters.map(|one_of| (&one_of.name, types.reference(one_of.ty, one.is_export)));
        let parameters: Vec<_> = parameters.collect();
        let result = function.result.filter(|_| !is_constructor).map(|ty| types.reference(ty, one.is_export));
        described.push(json!({
            "export": one.is_export, "interface": one.interface.is_some().then_some(&one.item), "resource": resource, "name": name,
            "parameters": parameters, "result": result,
        }));
    }
    json!({ "types": types.into_json(), "functions": described })
}
