//! Code that the integration tests and the benchmarks of the host share.
//!
//! A test starts the real binary in a process of its own ([`host`]) on an application ([`app`], [`tagged`]), in one of several setups
//! ([`setup`]), and talks to the host over real sockets ([`client`], [`wire`], [`http2`], [`admin`]). Components are made from text
//! ([`components`]), harmful ones too ([`attacks`], [`refused`]). Benchmarks add measurements and reports ([`mod@bench`]).
//!
//! Only integration tests and benchmarks of `watertight-cli` can start a host, because Cargo builds the binary for them: see
//! [`paths::binary`].

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by panicking; fields and constants are named after what they hold"
)]

pub mod paths;
pub mod components;
pub mod cases;
pub mod types;
pub mod documents;
pub mod statements;
pub mod command;
pub mod host;
pub mod client;
pub mod wire;
pub mod http2;
pub mod admin;
pub mod app;
pub mod setup;
pub mod events;
pub mod tagged;
pub mod attacks;
pub mod refused;
pub mod kiosk;
pub mod builds;
pub mod process;
pub mod open;
pub mod bench;
