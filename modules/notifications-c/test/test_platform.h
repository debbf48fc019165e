// The platform over a real SQLite file with the module's own migrations, and a log that tests can read.

#ifndef TEST_PLATFORM_H
#define TEST_PLATFORM_H

#include <sqlite3.h>

#include "platform.h"

struct test_platform {
    sqlite3 *database;
    char folder[64];
    uint64_t made;
    // Answers every statement as a busy database does.
    bool is_busy;
    // The lines that were logged, joined.
    struct arena arena;
    struct builder logged;
    struct platform platform;
};

// Begins and ends a platform of its own for a test.
void begin(struct test_platform *test);
void end(struct test_platform *test);
// Runs SQL past the module.
void sabotage(struct test_platform *test, const char *sql);
// The one integer that a query returns.
int64_t count(struct test_platform *test, const char *sql);

#endif
