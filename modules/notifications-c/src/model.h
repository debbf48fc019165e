// How notifications are kept: the SQL between them and rows.

#ifndef MODEL_H
#define MODEL_H

#include "common.h"
#include "template.h"

// A notification that was rendered and kept.
struct notification {
    // A ULID.
    struct text id;
    struct text recipient;
    // The template's name.
    struct text template;
    // The text as rendered.
    struct text text;
    struct text created_at;
    // What it was rendered from: see `fields_to_column`.
    struct text fields;
};

// Keeps a notification under its key. `is_new` is false, and nothing is kept, where the key names one already.
bool insert(const struct platform *platform, struct arena *arena, const struct notification *kept, struct text key, bool *is_new,
            struct failure *failure);
// Finds the notification that this key names. `found` is false where it names none.
bool find_by_key(const struct platform *platform, struct arena *arena, struct text key, struct notification *known, bool *found,
                 struct failure *failure);
// What a recipient was told, newest first: one more than the page shows, which tells whether there is a next one.
bool list(const struct platform *platform, struct arena *arena, struct text recipient, struct page page, struct notification **items,
          size_t *count, struct failure *failure);

// Arranged fields as one text. Two lists of fields give the same only where they are the same: no value has a line break.
struct text fields_to_column(struct arena *arena, const struct field *fields, size_t count);

#endif
