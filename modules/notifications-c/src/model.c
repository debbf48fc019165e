#include "model.h"

#define COLUMNS "id, recipient, template, text, created_at, fields"
#define COLUMN_COUNT 6

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

// Tells what passes from what doesn't.
static bool told(struct sql_error error, struct failure *failure) {
    *failure = error.is_passing
                   ? (struct failure){.kind = FAILURE_UNAVAILABLE, .reason = TEXT("the database is busy")}
                   : (struct failure){.kind = FAILURE_STORAGE, .reason = TEXT("the database failed"), .cause = error.message};
    return false;
}

bool insert(const struct platform *platform, struct arena *arena, const struct notification *kept, struct text key, bool *is_new,
            struct failure *failure) {
    const struct sql_value parameters[] = {
        SQL_OF_TEXT(kept->id),         SQL_OF_TEXT(kept->recipient), SQL_OF_TEXT(kept->template), SQL_OF_TEXT(kept->text),
        SQL_OF_TEXT(kept->created_at), SQL_OF_TEXT(kept->fields),    SQL_OF_TEXT(key),
    };
    struct sql_statement statement = {
        TEXT("insert into notifications (" COLUMNS ", deduplication_key) values (?1, ?2, ?3, ?4, ?5, ?6, ?7) "
             "on conflict (deduplication_key) do nothing"),
        parameters,
        COUNT(parameters),
    };
    uint64_t changed;
    struct sql_error error;
    if (!platform->execute(platform->self, arena, statement, &changed, &error)) return told(error, failure);
    *is_new = changed == 1;
    return true;
}

static bool read(struct sql_row row, struct notification *kept, struct failure *failure) {
    struct text *const columns[COLUMN_COUNT] = {&kept->id,   &kept->recipient,  &kept->template,
                                                &kept->text, &kept->created_at, &kept->fields};
    bool fits = row.count == COLUMN_COUNT;
    for (size_t column = 0; fits && column < COLUMN_COUNT; column++) {
        fits = row.values[column].kind == SQL_TEXT;
        *columns[column] = row.values[column].text;
    }
    // The values themselves stay out of the log.
    return fits || told((struct sql_error){false, TEXT("storage: a row has other columns than were asked for")}, failure);
}

bool find_by_key(const struct platform *platform, struct arena *arena, struct text key, struct notification *known, bool *found,
                 struct failure *failure) {
    const struct sql_value parameters[] = {SQL_OF_TEXT(key)};
    struct sql_statement statement = {
        TEXT("select " COLUMNS " from notifications where deduplication_key = ?1"),
        parameters,
        COUNT(parameters),
    };
    struct sql_rows rows;
    struct sql_error error;
    if (!platform->query(platform->self, arena, statement, &rows, &error)) return told(error, failure);
    *found = rows.count > 0;
    return !*found || read(rows.rows[0], known, failure);
}

bool list(const struct platform *platform, struct arena *arena, struct text recipient, struct page page, struct notification **items,
          size_t *count, struct failure *failure) {
    const struct sql_value parameters[] = {
        SQL_OF_TEXT(recipient),
        SQL_OF_TEXT(page.before),
        SQL_OF_INTEGER((int64_t)page.limit + 1),
    };
    struct sql_statement statement = {
        TEXT("select " COLUMNS " from notifications where recipient = ?1 and id < ?2 order by id desc limit ?3"),
        parameters,
        COUNT(parameters),
    };
    struct sql_rows rows;
    struct sql_error error;
    if (!platform->query(platform->self, arena, statement, &rows, &error)) return told(error, failure);
    *items = arena_take(arena, rows.count, sizeof **items);
    *count = rows.count;
    for (size_t index = 0; index < rows.count; index++) {
        if (!read(rows.rows[index], &(*items)[index], failure)) return false;
    }
    return true;
}

struct text fields_to_column(struct arena *arena, const struct field *fields, size_t count) {
    struct builder column = {.arena = arena};
    for (size_t index = 0; index < count; index++) {
        add_text(&column, fields[index].name);
        add_byte(&column, '=');
        add_text(&column, fields[index].value);
        add_byte(&column, '\n');
    }
    return built(&column);
}
