//! Compiles `src/edges.c` for the fuzzer.

fn main() {
    println!("cargo:rerun-if-changed=src/edges.c");
    #[cfg(feature = "libfuzzer")]
    {
        cc::Build::new().file("src/edges.c").compile("edges");
        // libFuzzer has this function too, and ends the process in it.
        println!("cargo:rustc-link-arg-bins=-Wl,--wrap=__sanitizer_cov_trace_pc");
    }
}
