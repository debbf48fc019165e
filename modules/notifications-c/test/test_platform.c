#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common.h"
#include "test_platform.h"

static void check(bool is_well, const char *what) {
    if (is_well) return;
    perror(what);
    exit(1);
}

static struct text copy(struct arena *arena, const void *data, size_t size) {
    char *kept = arena_take(arena, size, 1);
    if (size > 0) memcpy(kept, data, size);
    return (struct text){kept, size};
}

static bool fails(struct test_platform *test, struct arena *arena, struct sql_error *error) {
    const char *words = sqlite3_errmsg(test->database);
    *error = (struct sql_error){test->is_busy, copy(arena, words, strlen(words))};
    return false;
}

static sqlite3_stmt *prepare(struct test_platform *test, struct sql_statement statement) {
    sqlite3_stmt *made = NULL;
    if (sqlite3_prepare_v2(test->database, statement.text.data, (int)statement.text.size, &made, NULL) != SQLITE_OK) return NULL;
    for (size_t index = 0; index < statement.parameter_count; index++) {
        const struct sql_value *value = &statement.parameters[index];
        int place = (int)index + 1;
        if (value->kind == SQL_INTEGER) {
            sqlite3_bind_int64(made, place, value->integer);
        } else {
            sqlite3_bind_text(made, place, value->text.data, (int)value->text.size, SQLITE_TRANSIENT);
        }
    }
    return made;
}

static bool query(void *self, struct arena *arena, struct sql_statement statement, struct sql_rows *rows, struct sql_error *error) {
    struct test_platform *test = self;
    sqlite3_stmt *made = test->is_busy ? NULL : prepare(test, statement);
    if (made == NULL) return fails(test, arena, error);
    struct sql_row *found = arena_take(arena, 128, sizeof *found);
    *rows = (struct sql_rows){found, 0};
    while (sqlite3_step(made) == SQLITE_ROW && rows->count < 128) {
        size_t columns = (size_t)sqlite3_column_count(made);
        struct sql_value *values = arena_take(arena, columns, sizeof *values);
        for (size_t column = 0; column < columns; column++) {
            int place = (int)column;
            bool is_text = sqlite3_column_type(made, place) == SQLITE_TEXT;
            values[column].kind = is_text ? SQL_TEXT : SQL_OTHER;
            if (is_text) {
                values[column].text = copy(arena, sqlite3_column_text(made, place), (size_t)sqlite3_column_bytes(made, place));
            }
        }
        found[rows->count++] = (struct sql_row){values, columns};
    }
    return sqlite3_finalize(made) == SQLITE_OK || fails(test, arena, error);
}

static bool execute(void *self, struct arena *arena, struct sql_statement statement, uint64_t *changed, struct sql_error *error) {
    struct test_platform *test = self;
    sqlite3_stmt *made = test->is_busy ? NULL : prepare(test, statement);
    if (made == NULL) return fails(test, arena, error);
    sqlite3_step(made);
    if (sqlite3_finalize(made) != SQLITE_OK) return fails(test, arena, error);
    *changed = (uint64_t)sqlite3_changes(test->database);
    return true;
}

static uint64_t now(void *self) {
    (void)self;
    return (uint64_t)time(NULL) * 1000;
}

// Sorts as it was made, within a millisecond too, so that tests can tell the order of a list.
static struct text new_id(void *self, struct arena *arena) {
    struct test_platform *test = self;
    return ulid(arena, ++test->made, 0, 0);
}

static void write_line(void *self, enum log_level level, struct text context, struct text message) {
    struct test_platform *test = self;
    if (level != LOG_INFO) return;
    add_text(&test->logged, context);
    add_text(&test->logged, TEXT(": "));
    add_text(&test->logged, message);
    add_byte(&test->logged, '\n');
}

void begin(struct test_platform *test) {
    *test = (struct test_platform){0};
    test->logged.arena = &test->arena;
    test->platform = (struct platform){test, query, execute, now, new_id, write_line};
    strcpy(test->folder, "/tmp/notifications-XXXXXX");
    check(mkdtemp(test->folder) != NULL, "mkdtemp");
    char path[96];
    snprintf(path, sizeof path, "%s/db", test->folder);
    check(sqlite3_open(path, &test->database) == SQLITE_OK, "sqlite3_open");
    glob_t migrations;
    check(glob("migrations/*.sql", 0, NULL, &migrations) == 0, "migrations");
    for (size_t index = 0; index < migrations.gl_pathc; index++) {
        FILE *file = fopen(migrations.gl_pathv[index], "r");
        check(file != NULL, migrations.gl_pathv[index]);
        static char sql[1 << 16];
        sql[fread(sql, 1, sizeof sql - 1, file)] = '\0';
        fclose(file);
        sabotage(test, sql);
    }
    globfree(&migrations);
}

void end(struct test_platform *test) {
    char path[96];
    sqlite3_close(test->database);
    snprintf(path, sizeof path, "%s/db", test->folder);
    unlink(path);
    rmdir(test->folder);
    arena_free(&test->arena);
}

void sabotage(struct test_platform *test, const char *sql) {
    check(sqlite3_exec(test->database, sql, NULL, NULL, NULL) == SQLITE_OK, sqlite3_errmsg(test->database));
}

int64_t count(struct test_platform *test, const char *sql) {
    sqlite3_stmt *made;
    check(sqlite3_prepare_v2(test->database, sql, -1, &made, NULL) == SQLITE_OK, sql);
    check(sqlite3_step(made) == SQLITE_ROW, sql);
    int64_t found = sqlite3_column_int64(made, 0);
    sqlite3_finalize(made);
    return found;
}
