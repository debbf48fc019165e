// The notifications module: tells customers what happened, each thing once.
//
// The rules are here, the texts in `template.c`, the SQL in `model.c`; `component.c` makes it a component. The rules know no host and no
// HTTP. The same module in Rust stands in `../notifications`: both must pass `wit/notifications/suite`.
//
// What a function returns lives in the arena that it is given, and in the texts of its arguments.

#ifndef SERVICE_H
#define SERVICE_H

#include "common.h"
#include "model.h"
#include "template.h"

// What somebody is to be told.
struct notice {
    struct text recipient;
    // The template's name.
    struct text template;
    // A value for each of its places.
    const struct field *fields;
    size_t field_count;
};

struct notification_page {
    const struct notification *items;
    size_t count;
    // The cursor of the next page. Empty on the last one.
    struct text next;
};

// Renders, keeps and logs a notice. The key names it for good: the same notice again returns what it made.
bool notify(const struct platform *platform, struct arena *arena, struct notice notice, struct text key, struct notification *told,
            struct failure *failure);
// What a recipient was told, newest first. `limit` and `after` are NULL where they aren't given.
bool list_notifications(const struct platform *platform, struct arena *arena, struct text recipient, const uint32_t *limit,
                        const struct text *after, struct notification_page *page, struct failure *failure);

// A text in quotes, as every build's log has it: one piece of one line, whatever it holds.
struct text quoted(struct arena *arena, struct text text);

#endif
