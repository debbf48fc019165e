// What a language brings along, each by its own function.

#include <stdio.h>
#include <stdlib.h>

#include "module.h"

static void fill(uint8_t *bytes, size_t size) {
    module_list_u8_t drawn;
    wasi_random_random_get_random_bytes(size, &drawn);
    for (size_t index = 0; index < size; index++) bytes[index] = drawn.ptr[index];
    module_list_u8_free(&drawn);
}

void exports_test_ambient_ambient_uuids(uint32_t count, module_list_string_t *ret) {
    ret->len = count;
    ret->ptr = calloc(count, sizeof *ret->ptr);
    if (ret->ptr == NULL) abort();
    for (uint32_t index = 0; index < count; index++) {
        uint8_t b[16];
        fill(b, sizeof b);
        b[6] = (b[6] & 0x0f) | 0x40;
        b[8] = (b[8] & 0x3f) | 0x80;
        char text[37];
        snprintf(text, sizeof text, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2], b[3], b[4],
                 b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
        module_string_dup(&ret->ptr[index], text);
    }
}

double exports_test_ambient_ambient_random(void) {
    return (double)(wasi_random_random_get_random_u64() >> 11) / 9007199254740992.0;
}

void exports_test_ambient_ambient_bytes(uint32_t count, module_list_u8_t *ret) {
    wasi_random_random_get_random_bytes(count, ret);
}

static double now(void) {
    wasi_clocks_wall_clock_datetime_t moment;
    wasi_clocks_wall_clock_now(&moment);
    return (double)moment.seconds * 1000 + moment.nanoseconds / 1e6;
}

double exports_test_ambient_ambient_now(void) {
    return now();
}

void exports_test_ambient_ambient_dates(module_list_string_t *ret) {
    *ret = (module_list_string_t){NULL, 0};
}

void exports_test_ambient_ambient_elapsed(module_tuple2_f64_f64_t *ret) {
    double begin = now();
    *ret = (module_tuple2_f64_f64_t){0, now() - begin};
}

void exports_test_ambient_ambient_refused(module_string_t *name, module_string_t *ret) {
    module_string_free(name);
    module_string_dup(ret, "it works");
}
