//! An application of a kiosk that sells what a stock has. The stock is a contract without a module, for tests of fakes.

use crate::components::component_of;

/// The manifest. Neither a folder nor a component of `stock` exists.
pub const MANIFEST: &str = r#"
[app]
name = "kiosk"
routes = ["routes.toml"]
[modules.kiosk]
component = "kiosk.wasm"
calls = ["stock"]
[modules.stock]
component = "stock"
uses = ["sql"]
"#;

/// The routes.
pub const ROUTES: &str = r#"
[[route]]
method = "GET"
path = "/sell/{sku}/{count}"
call = "kiosk/kiosk.sell"
[route.errors]
unavailable = 503
storage = 500
"#;

/// The WIT of the stock.
pub const STOCK: &str = "
package field:stock@1.0.0;
interface stock {
    variant error { unavailable(string), storage(string) }
    record piece { sku: string, note: option<string>, sizes: list<u32> }
    take: func(sku: string, count: u32) -> result<u32, error>;
    look: func(sku: string) -> piece;
}
";

/// The WIT of the kiosk.
pub const KIOSK: &str = "
package field:kiosk@1.0.0;
interface kiosk {
    variant error { unavailable(string), storage(string) }
    sell: func(sku: string, count: u32) -> result<u32, error>;
}
";

/// The core module of the kiosk: `sell` calls `take` with its own arguments, and returns what that answers.
const CORE: &str = r#"(module
    (import "field:stock/stock@1.0.0" "take" (func $take (param i32 i32 i32 i32)))
    (memory (export "memory") 1)
    (global $next (mut i32) (i32.const 4096))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        (global.set $next (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
        (global.get $next)
        (global.set $next (i32.add (global.get $next) (local.get 3))))
    (func (export "field:kiosk/kiosk@1.0.0#sell") (param i32 i32 i32) (result i32)
        (call $take (local.get 0) (local.get 1) (local.get 2) (i32.const 16)) (i32.const 16)))"#;

/// Builds the component of the kiosk.
///
/// # Panics
///
/// If the texts of this file don't fit each other.
pub fn component() -> Vec<u8> {
    component_for(STOCK, KIOSK)
}

/// Builds the component of the kiosk for other texts of the two contracts, in which functions have the same core types.
///
/// # Panics
///
/// If the texts don't fit the core module.
pub fn component_for(stock: &str, kiosk: &str) -> Vec<u8> {
    let nested = |text: &str, name: &str| {
        let (_, body) = text.split_once(';').expect("it begins with the package");
        format!("package field:{name}@1.0.0 {{ {body} }}")
    };
    let world = "package field:k; world component { import field:stock/stock@1.0.0; export field:kiosk/kiosk@1.0.0; }";
    component_of(&format!("{world}\n{}\n{}", nested(stock, "stock"), nested(kiosk, "kiosk")), "component", CORE)
}
