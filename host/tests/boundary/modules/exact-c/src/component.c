// Gives back what it gets. What a function is given is its own, so it may be given back as it is.

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "module.h"

static module_string_t printed(const char *format, ...) __attribute__((format(printf, 1, 2)));

static module_string_t printed(const char *format, ...) {
    char digits[64];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(digits, sizeof digits, format, arguments);
    va_end(arguments);
    module_string_t text;
    module_string_dup_n(&text, digits, (size_t)length);
    return text;
}

// Copies a text to where a C library can read it.
static void terminated(module_string_t *text, char copy[64]) {
    snprintf(copy, 64, "%.*s", (int)text->len, (const char *)text->ptr);
    module_string_free(text);
}

int64_t exports_test_exact_values_signed(int64_t n) {
    return n;
}

uint64_t exports_test_exact_values_unsigned(uint64_t n) {
    return n;
}

void exports_test_exact_values_words(int64_t n, module_string_t *ret) {
    *ret = printed("%" PRId64, n);
}

void exports_test_exact_values_unsigned_words(uint64_t n, module_string_t *ret) {
    *ret = printed("%" PRIu64, n);
}

int64_t exports_test_exact_values_parsed(module_string_t *text) {
    char copy[64];
    terminated(text, copy);
    return strtoll(copy, NULL, 10);
}

uint64_t exports_test_exact_values_unsigned_parsed(module_string_t *text) {
    char copy[64];
    terminated(text, copy);
    return strtoull(copy, NULL, 10);
}

void exports_test_exact_values_in_record(exports_test_exact_values_money_t *n, exports_test_exact_values_money_t *ret) {
    *ret = *n;
}

void exports_test_exact_values_in_short_record(exports_test_exact_values_one_t *n, exports_test_exact_values_one_t *ret) {
    *ret = *n;
}

void exports_test_exact_values_in_variant(exports_test_exact_values_amount_t *n, exports_test_exact_values_amount_t *ret) {
    *ret = *n;
}

void exports_test_exact_values_in_mixed(exports_test_exact_values_mixed_t *n, exports_test_exact_values_mixed_t *ret) {
    *ret = *n;
}

void exports_test_exact_values_in_narrow(exports_test_exact_values_narrow_t *n, exports_test_exact_values_narrow_t *ret) {
    *ret = *n;
}

void exports_test_exact_values_in_plain(exports_test_exact_values_plain_t *n, exports_test_exact_values_plain_t *ret) {
    *ret = *n;
}

void exports_test_exact_values_in_floating(exports_test_exact_values_floating_t *n, uint32_t *maybe_m, exports_test_exact_values_floating_t *ret) {
    (void)maybe_m;
    *ret = *n;
}

void exports_test_exact_values_in_tuple(module_tuple3_s64_u64_u8_t *n, module_tuple3_s64_u64_u8_t *ret) {
    *ret = *n;
}

bool exports_test_exact_values_in_option(int64_t *maybe_n, int64_t *ret) {
    if (maybe_n != NULL) *ret = *maybe_n;
    return maybe_n != NULL;
}

bool exports_test_exact_values_in_unsigned_option(uint64_t *maybe_n, uint64_t *ret) {
    if (maybe_n != NULL) *ret = *maybe_n;
    return maybe_n != NULL;
}

void exports_test_exact_values_in_list(module_list_s64_t *n, module_list_s64_t *ret) {
    *ret = *n;
}

void exports_test_exact_values_in_unsigned_list(module_list_u64_t *n, module_list_u64_t *ret) {
    *ret = *n;
}

void exports_test_exact_values_in_list_of_records(exports_test_exact_values_list_money_t *n, exports_test_exact_values_list_money_t *ret) {
    *ret = *n;
}

void exports_test_exact_values_in_list_of_results(exports_test_exact_values_list_result_s64_u64_t *n, exports_test_exact_values_list_result_s64_u64_t *ret) {
    *ret = *n;
}

bool exports_test_exact_values_as_result(exports_test_exact_values_result_s64_u64_t *n, int64_t *ret, uint64_t *err) {
    *(n->is_err ? err : (uint64_t *)ret) = n->is_err ? n->val.err : (uint64_t)n->val.ok;
    return !n->is_err;
}

bool exports_test_exact_values_as_error(int64_t n, uint64_t *ret, int64_t *err) {
    (void)ret;
    *err = n;
    return false;
}

bool exports_test_exact_values_as_problem(exports_test_exact_values_problem_t *n, int64_t *ret, exports_test_exact_values_problem_t *err) {
    (void)ret;
    *err = *n;
    return false;
}

uint32_t exports_test_exact_values_half(uint32_t n) {
    return n;
}

int32_t exports_test_exact_values_signed_half(int32_t n) {
    return n;
}

double exports_test_exact_values_real(double n) {
    return n;
}

float exports_test_exact_values_single(float n) {
    return n;
}

void exports_test_exact_values_in_many(int64_t a, uint64_t b, int64_t c, uint64_t d, int64_t e, uint64_t f, int64_t g, uint64_t h, int64_t i, uint64_t j, int64_t k, uint64_t l, int64_t m, uint64_t n, int64_t o, uint64_t p, int64_t q, module_list_string_t *ret) {
    ret->len = 17;
    ret->ptr = calloc(ret->len, sizeof *ret->ptr);
    if (ret->ptr == NULL) abort();
    const int64_t signed_ones[] = {a, c, e, g, i, k, m, o, q};
    const uint64_t unsigned_ones[] = {b, d, f, h, j, l, n, p};
    for (size_t index = 0; index < ret->len; index++) {
        ret->ptr[index] = index % 2 == 0 ? printed("%" PRId64, signed_ones[index / 2]) : printed("%" PRIu64, unsigned_ones[index / 2]);
    }
}

// Encodes a character in UTF-8.
static module_string_t character(uint32_t point) {
    if (point < 0x80) return printed("%c", (int)point);
    char bytes[] = {(char)(0xf0 | point >> 18), (char)(0x80 | (point >> 12 & 63)), (char)(0x80 | (point >> 6 & 63)),
                    (char)(0x80 | (point & 63))};
    module_string_t text;
    module_string_dup_n(&text, bytes, sizeof bytes);
    return text;
}

#define JOINED(ret, list, format, ...)                                                                                   \
    do {                                                                                                                  \
        char text[128] = "";                                                                                              \
        for (size_t index = 0, at = 0; index < (list)->len; index++) {                                                    \
            at += (size_t)snprintf(text + at, sizeof text - at, index > 0 ? "," format : format, __VA_ARGS__);            \
        }                                                                                                                 \
        module_string_dup(ret, text);                                                                                     \
    } while (0)

void exports_test_exact_values_in_small(int8_t a, uint8_t b, int16_t c, uint16_t d, int32_t e, uint32_t f, bool g, uint32_t h,
                                        module_list_u8_t *i, module_list_s32_t *j, module_list_bool_t *k, module_list_string_t *ret) {
    ret->len = 11;
    ret->ptr = calloc(ret->len, sizeof *ret->ptr);
    if (ret->ptr == NULL) abort();
    ret->ptr[0] = printed("%d", a);
    ret->ptr[1] = printed("%u", b);
    ret->ptr[2] = printed("%d", c);
    ret->ptr[3] = printed("%u", d);
    ret->ptr[4] = printed("%" PRId32, e);
    ret->ptr[5] = printed("%" PRIu32, f);
    module_string_dup(&ret->ptr[6], g ? "true" : "false");
    ret->ptr[7] = character(h);
    JOINED(&ret->ptr[8], i, "%u", i->ptr[index]);
    JOINED(&ret->ptr[9], j, "%" PRId32, j->ptr[index]);
    JOINED(&ret->ptr[10], k, "%s", k->ptr[index] ? "true" : "false");
    module_list_u8_free(i);
    module_list_s32_free(j);
    module_list_bool_free(k);
}
