//! End-to-end tests of the host: the real binary, real components and real sockets. No test accesses the host's internals.
//!
//! A case that starts the shop, or another application that leaves the placement of its modules to the host, takes a [`Setup`] and runs
//! once for each placement. The cases of a shop's customers also run once for each language of its notifications, and some of them with
//! orders that own their routes. The last part of a test's path before its name is the setup: `--test e2e go::`, `--test e2e
//! lifecycle::apart`.
//!
//! [`Setup`]: watertight_testkit::setup::Setup

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

/// Defines a test for each case in one setup. A case is a function that takes the setup.
macro_rules! in_setup {
    ($setup:ident;) => {};
    ($setup:ident; async fn $case:ident; $($rest:tt)*) => {
        #[tokio::test]
        async fn $case() {
            super::$case(watertight_testkit::setup::Setup::$setup).await;
        }
        in_setup! { $setup; $($rest)* }
    };
    ($setup:ident; fn $case:ident; $($rest:tt)*) => {
        #[test]
        fn $case() {
            super::$case(watertight_testkit::setup::Setup::$setup);
        }
        in_setup! { $setup; $($rest)* }
    };
}

/// Defines a test for each case and each placement of modules.
macro_rules! placements {
    ($($cases:tt)*) => {
        mod together {
            in_setup! { TOGETHER; $($cases)* }
        }
        mod apart {
            in_setup! { APART; $($cases)* }
        }
        mod mixed {
            in_setup! { MIXED; $($cases)* }
        }
    };
}

/// Defines a test for each case and each placement of modules, and for each language in which the shop's notifications are written (in
/// Python its payments too).
macro_rules! placements_and_languages {
    ($($cases:tt)*) => {
        placements! { $($cases)* }
        mod go {
            in_setup! { GO; $($cases)* }
        }
        mod javascript {
            in_setup! { JAVASCRIPT; $($cases)* }
        }
        mod python {
            in_setup! { PYTHON; $($cases)* }
        }
    };
}

/// Defines a test for each case with orders that own their routes, in each version of `wasi:http`.
macro_rules! owned_routes {
    ($($cases:tt)*) => {
        mod owned {
            in_setup! { OWNED; $($cases)* }
        }
        mod owned_p3 {
            in_setup! { OWNED_P3; $($cases)* }
        }
    };
}

/// Defines a test for each case in every setup: each placement, each language, and with orders that own their routes.
macro_rules! every_setup {
    ($($cases:tt)*) => {
        placements_and_languages! { $($cases)* }
        owned_routes! { $($cases)* }
    };
}

mod access;
mod admin;
mod answers;
mod clock;
mod collector;
mod command_line;
mod concurrency;
mod connections;
mod documents;
mod flows;
mod frames;
mod hostile;
mod instances;
mod isolation;
mod lifecycle;
mod limits;
mod log;
mod metrics;
mod notes;
mod owned;
mod package;
mod pictures;
mod placement;
mod protocol;
mod restart;
mod scrape;
mod shop;
mod statements;
mod traces;
mod warm;
mod webhooks;
mod wire;
