//! The `watertight` binary.

fn main() {}
