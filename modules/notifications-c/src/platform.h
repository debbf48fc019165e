// What the rules need of a platform: the host's capabilities in a component (`host.c`), an SQLite file in tests.

#ifndef PLATFORM_H
#define PLATFORM_H

#include "text.h"

// The length of an id, a ULID.
#define ID_SIZE 26

enum sql_kind { SQL_NULL, SQL_INTEGER, SQL_TEXT, SQL_OTHER };

// A value that a statement takes or returns.
struct sql_value {
    enum sql_kind kind;
    int64_t integer;
    struct text text;
};

#define SQL_OF_TEXT(value) ((struct sql_value){.kind = SQL_TEXT, .text = (value)})
#define SQL_OF_INTEGER(value) ((struct sql_value){.kind = SQL_INTEGER, .integer = (value)})

struct sql_statement {
    struct text text;
    const struct sql_value *parameters;
    size_t parameter_count;
};

struct sql_row {
    const struct sql_value *values;
    size_t count;
};

struct sql_rows {
    const struct sql_row *rows;
    size_t count;
};

// Why a statement failed. Its text is for the log, never for a caller.
struct sql_error {
    // Whether the same statement may succeed in a moment.
    bool is_passing;
    struct text message;
};

enum log_level { LOG_INFO, LOG_ERROR };

struct platform {
    // The first argument of every function.
    void *self;
    // Runs a statement that only reads. What it returns is in the arena. Returns false with the error where it fails.
    bool (*query)(void *self, struct arena *arena, struct sql_statement statement, struct sql_rows *rows, struct sql_error *error);
    // Runs a statement that writes, and says how many rows it changed.
    bool (*execute)(void *self, struct arena *arena, struct sql_statement statement, uint64_t *changed, struct sql_error *error);
    // Returns the milliseconds since 1970.
    uint64_t (*now)(void *self);
    // Returns a new id in the arena.
    struct text (*new_id)(void *self, struct arena *arena);
    // Writes one line.
    void (*log)(void *self, enum log_level level, struct text context, struct text message);
};

#endif
