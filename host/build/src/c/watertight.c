// Written by `watertight build`. A failed assertion and `abort` are reported to the host, which writes them to the module's log. The build
// renames the calls of the C library's functions to these, which bring no WASI into the component.

#include "WORLD.h"

#include <string.h>

// The length of a report in bytes. The host keeps the first 2 KiB.
#define MAX_REPORT 1024

static char words[MAX_REPORT];
static size_t length;

static void say(const char *text) {
    while (*text != '\0' && length < MAX_REPORT) words[length++] = *text++;
}

static _Noreturn void fail(watertight_lifecycle_failure_place_t *place) {
    WORLD_string_t report = {(uint8_t *)words, length};
    watertight_lifecycle_failure_report(&report, place);
    __builtin_trap();
}

_Noreturn void watertight_assert_fail(const char *condition, const char *file, int line, const char *function) {
    length = 0;
    say("assertion failed in ");
    say(function ? function : "?");
    say(": ");
    say(condition);
    watertight_lifecycle_failure_place_t place = {{(uint8_t *)file, strlen(file)}, (uint32_t)line, 0};
    fail(&place);
}

_Noreturn void watertight_abort(void) {
    length = 0;
    say("abort() was called");
    fail(NULL);
}

// The bindings call this function to keep a file in the program that describes the world. The build describes it in another way.
void __component_type_object_force_link_WORLD(void) {}
