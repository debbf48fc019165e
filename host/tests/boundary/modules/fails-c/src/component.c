// Fails in every way that there is. The test knows the lines of this file.

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "module.h"

static bool is(const module_string_t *how, const char *name) {
    return how->len == strlen(name) && memcmp(how->ptr, name, how->len) == 0;
}

static __attribute__((noinline)) void fall_through(void) {
    abort();
}

static __attribute__((noinline)) int divide(int by) {
    return 7 / by;
}

bool exports_test_fails_fails_fail(module_string_t *how, module_string_t *ret, exports_test_fails_fails_error_t *err) {
    if (is(how, "bad")) {
        err->tag = EXPORTS_TEST_FAILS_FAILS_ERROR_BAD;
        module_string_dup(&err->val.bad, "the contract knows this");
        return false;
    }
    assert(!is(how, "assert"));
    if (is(how, "abort")) fall_through();
    if (is(how, "print")) {
        fprintf(stderr, "words before the end: %s\n", "printed");
        exit(3);
    }
    if (is(how, "divide")) return divide((int)how->len - 6);
    if (is(how, "bytes")) {
        *ret = (module_string_t){(uint8_t *)"tea \xff", 5};
        return true;
    }
    if (is(how, "pointer")) {
        *ret = (module_string_t){(uint8_t *)0xfffffff0u, 64};
        return true;
    }
    module_string_dup(ret, "well");
    return true;
}

void exports_test_fails_fails_plain(module_string_t *how, module_string_t *ret) {
    *ret = *how;
}

void exports_test_fails_fails_refused(module_string_t *name, module_string_t *ret) {
    *ret = *name;
}
