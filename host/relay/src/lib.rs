//! The relay crate: carries streams and futures between the stores of two compartments.

pub mod ends;
pub mod item;
pub mod outside;
pub mod stream;
pub mod future;
pub mod values;
