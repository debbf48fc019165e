//! The interfaces of `watertight:lifecycle` that modules import. They need no grant.

mod failure;
mod requests;

use wasmtime::component::HasSelf;

use super::CapabilityLinker;

mod bindings {
    //! Host bindings, generated from the WIT file that guests are built against.
    #![allow(missing_docs, unreachable_pub, clippy::needless_pass_by_value)]

    wasmtime::component::bindgen!({
        path: "../../wit/lifecycle",
        inline: "
            package watertight:host;
            world capability {
                import watertight:lifecycle/requests@1.0.0;
                import watertight:lifecycle/failure@1.0.0;
            }
        ",
        world: "watertight:host/capability",
        imports: { default: trappable },
        named_imports: {
            "watertight:lifecycle/requests@1.0.0": crate::ModuleIndex,
            "watertight:lifecycle/failure@1.0.0": crate::ModuleIndex,
        },
    });
}

pub(super) fn add_to_linker(linker: &mut CapabilityLinker<'_>) -> wasmtime::Result<()> {
    let (to, component, module) = linker.named();
    bindings::named_imports::watertight::lifecycle::failure::add_to_linker::<_, HasSelf<_>>(
        to,
        component,
        module,
        |state| state,
    )?;
    bindings::named_imports::watertight::lifecycle::requests::add_to_linker::<_, HasSelf<_>>(
        to,
        component,
        module,
        |state| state,
    )
}
