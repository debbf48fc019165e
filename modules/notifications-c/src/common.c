#include "common.h"

#include <string.h>
#include <time.h>

// The longest idempotency or deduplication key, in bytes.
#define MAX_KEY 128

#define DEFAULT_LIMIT 20
#define MAX_LIMIT 100

bool refuse(struct failure *failure, struct text field, struct text reason) {
    *failure = (struct failure){.kind = FAILURE_INVALID, .field = field, .reason = reason};
    return false;
}

bool check_text(struct arena *arena, struct text field, struct text text, size_t max, struct failure *failure) {
    if (text.size == 0) return refuse(failure, field, TEXT("must not be empty"));
    if (text.size <= max) return true;
    struct builder reason = {.arena = arena};
    add_text(&reason, TEXT("must not be longer than "));
    add_number(&reason, max, 10, 0);
    add_text(&reason, TEXT(" bytes"));
    return refuse(failure, field, built(&reason));
}

bool check_key(struct arena *arena, struct text field, struct text key, struct failure *failure) {
    return check_text(arena, field, key, MAX_KEY, failure);
}

struct text timestamp(struct arena *arena, uint64_t millis) {
    time_t seconds = (time_t)(millis / 1000);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    struct builder text = {.arena = arena};
    add_number(&text, (uint64_t)utc.tm_year + 1900, 10, 4);
    add_byte(&text, '-');
    add_number(&text, (uint64_t)utc.tm_mon + 1, 10, 2);
    add_byte(&text, '-');
    add_number(&text, (uint64_t)utc.tm_mday, 10, 2);
    add_byte(&text, 'T');
    add_number(&text, (uint64_t)utc.tm_hour, 10, 2);
    add_byte(&text, ':');
    add_number(&text, (uint64_t)utc.tm_min, 10, 2);
    add_byte(&text, ':');
    add_number(&text, (uint64_t)utc.tm_sec, 10, 2);
    add_byte(&text, '.');
    add_number(&text, millis % 1000, 10, 3);
    add_byte(&text, 'Z');
    return built(&text);
}

// Crockford's base 32, in order of value.
static const char ALPHABET[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

struct text ulid(struct arena *arena, uint64_t millis, uint64_t high, uint64_t low) {
    // 48 bits of time and 80 of randomness, five for each character.
    uint64_t top = millis << 16 | (high & 0xffff);
    char *id = arena_take(arena, ID_SIZE, 1);
    for (size_t place = ID_SIZE; place-- > 0;) {
        id[place] = ALPHABET[low & 31];
        low = low >> 5 | top << 59;
        top >>= 5;
    }
    return (struct text){id, ID_SIZE};
}

bool is_ulid(struct text text) {
    if (text.size != ID_SIZE || text.data[0] > '7') return false;
    for (size_t place = 0; place < ID_SIZE; place++) {
        if (memchr(ALPHABET, text.data[place], sizeof ALPHABET - 1) == NULL) return false;
    }
    return true;
}

// Base 64 for URLs, without padding.
static const char BASE64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

struct text cursor_of(struct arena *arena, struct text id) {
    struct builder cursor = {.arena = arena};
    unsigned held = 0, bits = 0;
    for (size_t place = 0; place < id.size; place++) {
        held = held << 8 | (unsigned char)id.data[place];
        for (bits += 8; bits >= 6; bits -= 6) add_byte(&cursor, BASE64[held >> (bits - 6) & 63]);
    }
    if (bits > 0) add_byte(&cursor, BASE64[held << (6 - bits) & 63]);
    return built(&cursor);
}

static bool decode(struct arena *arena, struct text cursor, struct text *id) {
    struct builder text = {.arena = arena};
    unsigned held = 0, bits = 0;
    for (size_t place = 0; place < cursor.size; place++) {
        const char *found = memchr(BASE64, cursor.data[place], sizeof BASE64 - 1);
        if (found == NULL) return false;
        held = held << 6 | (unsigned)(found - BASE64);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            add_byte(&text, (char)(held >> bits & 0xff));
        }
    }
    *id = built(&text);
    // Each id has one cursor: stray bits at its end make another text.
    return is_ulid(*id) && text_is(cursor_of(arena, *id), cursor);
}

bool page_read(struct arena *arena, const uint32_t *limit, const struct text *after, struct page *page, struct failure *failure) {
    page->limit = limit == NULL ? DEFAULT_LIMIT : *limit;
    if (page->limit < 1 || page->limit > MAX_LIMIT) return refuse(failure, TEXT("limit"), TEXT("must be between 1 and 100"));
    // Sorts behind every id.
    page->before = TEXT("~");
    if (after == NULL || decode(arena, *after, &page->before)) return true;
    return refuse(failure, TEXT("after"), TEXT("must be a cursor that a page had"));
}
