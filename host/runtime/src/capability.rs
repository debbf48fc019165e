//! The host's implementations of the capabilities `sql`, `keyvalue`, `logging` and `config`, and of the `lifecycle` interfaces.
//!
//! The modules of a compartment share one Wasmtime store, so the store does not identify the caller. The name of the import does:
//! composition (`link`) gives each module's import a name of its own. The generated traits pass the matching [`ModuleIndex`] as the first
//! argument of every function, so a guest cannot act as another module.

mod config;
mod failure;
mod keyvalue;
mod logging;
mod requests;
mod sql;

use wasmtime::component::{Component, HasSelf, Linker};

use crate::store::{InstanceState, ModuleIndex};

mod bindings {
    //! Host bindings, generated from the WIT files that guests are built against.
    #![allow(missing_docs, unreachable_pub, clippy::needless_pass_by_value)]

    wasmtime::component::bindgen!({
        path: ["../../wit/sql", "../../wit/logging", "../../wit/config", "../../wit/keyvalue", "../../wit/lifecycle"],
        inline: "
            package watertight:host;
            world capabilities {
                import watertight:sql/sql@1.0.0;
                import wasi:logging/logging@0.1.0-draft;
                import wasi:config/store@0.2.0-rc.1;
                import wasi:keyvalue/store@0.2.0-draft2;
                import watertight:lifecycle/requests@1.0.0;
                import watertight:lifecycle/failure@1.0.0;
            }
        ",
        world: "watertight:host/capabilities",
        imports: {
            default: async | trappable,
            "wasi:logging/logging": trappable,
            "wasi:config/store": trappable,
            "watertight:lifecycle/requests": trappable,
            "watertight:lifecycle/failure": trappable,
        },
        named_imports: {
            "watertight:sql/sql@1.0.0": crate::store::ModuleIndex,
            "wasi:logging/logging@0.1.0-draft": crate::store::ModuleIndex,
            "wasi:config/store@0.2.0-rc.1": crate::store::ModuleIndex,
            "wasi:keyvalue/store@0.2.0-draft2": crate::store::ModuleIndex,
            "watertight:lifecycle/requests@1.0.0": crate::store::ModuleIndex,
            "watertight:lifecycle/failure@1.0.0": crate::store::ModuleIndex,
        },
        with: { "wasi:keyvalue/store.bucket": crate::capability::keyvalue::Bucket },
    });
}

/// Adds all capabilities and the granted parts of WASI to `linker`.
///
/// `module` maps the name of an import of `component` to the module that the import belongs to.
///
/// # Errors
///
/// Fails if a capability's import belongs to no module, or if Wasmtime rejects a definition.
pub fn add_to_linker(
    linker: &mut Linker<InstanceState>,
    component: &Component,
    module: impl Fn(&str) -> Option<ModuleIndex>,
) -> wasmtime::Result<()> {
    let owner = |import: &str| {
        module(import).ok_or_else(|| wasmtime::Error::msg(format!("import `{import}` belongs to no module")))
    };
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    bindings::named_imports::watertight::sql::sql::add_to_linker::<_, HasSelf<_>>(linker, component, owner, |s| s)?;
    bindings::named_imports::wasi::logging::logging::add_to_linker::<_, HasSelf<_>>(linker, component, owner, |s| s)?;
    bindings::named_imports::wasi::config::store::add_to_linker::<_, HasSelf<_>>(linker, component, owner, |s| s)?;
    bindings::named_imports::wasi::keyvalue::store::add_to_linker::<_, HasSelf<_>>(linker, component, owner, |s| s)?;
    bindings::named_imports::watertight::lifecycle::failure::add_to_linker::<_, HasSelf<_>>(
        linker,
        component,
        owner,
        |s| s,
    )?;
    bindings::named_imports::watertight::lifecycle::requests::add_to_linker::<_, HasSelf<_>>(
        linker,
        component,
        owner,
        |s| s,
    )
}
