// What every contract of the shop shares: ids, paging, time, and how a field is checked and refused. No business rule is here.

#ifndef COMMON_H
#define COMMON_H

#include "platform.h"
#include "text.h"

enum failure_kind {
    // A field was understood and can't be accepted. `field` is the path to it in the contract's own names, and `reason` the rest of a
    // sentence that the field begins.
    FAILURE_INVALID,
    // The key belongs to another notice.
    FAILURE_CONFLICT,
    // The database doesn't answer now.
    FAILURE_UNAVAILABLE,
    // The database failed. `cause` is for the log, never for a caller.
    FAILURE_STORAGE,
};

// Why a request is refused. A function that can fail returns false, and has filled in the failure.
struct failure {
    enum failure_kind kind;
    struct text field, reason, cause;
};

bool refuse(struct failure *failure, struct text field, struct text reason);
// Refuses a text that is empty or longer than `max` bytes.
bool check_text(struct arena *arena, struct text field, struct text text, size_t max, struct failure *failure);
// Refuses a key that can't name a request.
bool check_key(struct arena *arena, struct text field, struct text key, struct failure *failure);

// A moment as contracts write it: RFC 3339 in UTC with milliseconds.
struct text timestamp(struct arena *arena, uint64_t millis);
// The id of a moment (https://github.com/ulid/spec). The lowest 16 bits of `high` and all of `low` tell it from others of the same
// millisecond.
struct text ulid(struct arena *arena, uint64_t millis, uint64_t high, uint64_t low);
bool is_ulid(struct text text);

// Which part of a list is asked for, newest first. Lists are cut by the last id that was seen: a page costs the same wherever it starts.
struct page {
    size_t limit;
    // Items have ids below this.
    struct text before;
};

// Reads a contract's `limit` and `after`, each NULL where it isn't given.
bool page_read(struct arena *arena, const uint32_t *limit, const struct text *after, struct page *page, struct failure *failure);
// The cursor of the page after one that ends with this id.
struct text cursor_of(struct arena *arena, struct text id);

#endif
