// Counts the edges of C code for libFuzzer: those of SQLite.
//
// libFuzzer reads counters that the compiler puts beside each edge, which clang does and GCC does not. GCC calls a function at each edge
// instead. This one counts in a table that libFuzzer reads after each input. The place in the table comes from the address of the edge.

#include <stdint.h>

#define BITS 17

// The function must not count its own edges.
#ifdef __clang__
#define UNCOUNTED __attribute__((no_sanitize("coverage")))
#else
#define UNCOUNTED __attribute__((no_sanitize_coverage))
#endif

__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t counters[1 << BITS];

UNCOUNTED void __wrap___sanitizer_cov_trace_pc(void) {
    // The distance between two addresses of the program is the same in each process.
    uint32_t edge = (uint32_t)((uintptr_t)__builtin_return_address(0) - (uintptr_t)&__wrap___sanitizer_cov_trace_pc);
    counters[(edge * 2654435769u) >> (32 - BITS)]++;
}

// GCC also calls these at comparisons of floating-point numbers. libFuzzer has none.
UNCOUNTED void __sanitizer_cov_trace_cmpf(float one, float other) { (void)one, (void)other; }
UNCOUNTED void __sanitizer_cov_trace_cmpd(double one, double other) { (void)one, (void)other; }
