//! The capabilities that every host has.

use super::{Declaration, WASI_2, WASI_3, WasiInterfaces};
use crate::config::OutboundConfig;
use crate::ids::CapabilityName;

const CLOCKS_INTERFACES: [WasiInterfaces; 2] = [
    WasiInterfaces::new("wasi:clocks", WASI_2, &["wall-clock", "monotonic-clock"]),
    WasiInterfaces::new("wasi:clocks", WASI_3, &["system-clock", "monotonic-clock"]),
];
const RANDOM_INTERFACES: [WasiInterfaces; 2] = [
    WasiInterfaces::new("wasi:random", WASI_2, &["random", "insecure", "insecure-seed"]),
    WasiInterfaces::new("wasi:random", WASI_3, &["random", "insecure", "insecure-seed"]),
];
const HTTP_INTERFACES: [WasiInterfaces; 2] = [
    WasiInterfaces::new("wasi:http", WASI_2, &["outgoing-handler"]),
    WasiInterfaces::new("wasi:http", WASI_3, &["client"]),
];
/// Returns the declarations of the built-in capabilities, in the order in which the documentation lists them.
pub(super) fn declarations() -> Vec<Declaration> {
    vec![
        // SQL on the module's own database.
        Declaration {
            keeps_data: true,
            ..own(CapabilityName::SQL, "watertight:sql/sql@1.0.0", include_str!("../../../../../wit/sql/sql.wit"))
        },
        // The log.
        own(
            CapabilityName::LOGGING,
            "wasi:logging/logging@0.1.0-draft",
            include_str!("../../../../../wit/logging/logging.wit"),
        ),
        // The wall clock and the monotonic clock.
        wasi(CapabilityName::CLOCKS, &CLOCKS_INTERFACES),
        // Random numbers.
        wasi(CapabilityName::RANDOM, &RANDOM_INTERFACES),
        // The values of the module's tables `config` and `secrets`.
        own(
            CapabilityName::CONFIG,
            "wasi:config/store@0.2.0-rc.1",
            include_str!("../../../../../wit/config/store.wit"),
        ),
        // Values under keys, in the module's own database.
        Declaration {
            keeps_data: true,
            ..own(
                CapabilityName::KEYVALUE,
                "wasi:keyvalue/store@0.2.0-draft2",
                include_str!("../../../../../wit/keyvalue/store.wit"),
            )
        },
        // Requests to other hosts, as far as the module's table `http` allows them.
        wasi(CapabilityName::HTTP, &HTTP_INTERFACES).settings::<OutboundConfig>(),
        // What is known of the request that a call belongs to.
        own(
            CapabilityName::CONTEXT,
            "watertight:request/context@1.0.0",
            include_str!("../../../../../wit/request/request.wit"),
        ),
    ]
}

/// Declares a capability with one interface whose functions receive the identity of the module that calls.
fn own(name: &str, interface: &str, wit: &'static str) -> Declaration {
    Declaration::new(parsed(name)).interface(parsed(interface)).wit(wit)
}

/// Declares a capability that consists of interfaces of WASI.
fn wasi(name: &str, interfaces: &'static [WasiInterfaces]) -> Declaration {
    Declaration { wasi: interfaces, ..Declaration::new(parsed(name)) }
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Debug>>(name: &str) -> T {
    name.parse().expect("the host's own names are valid")
}
