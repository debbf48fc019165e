#include "host.h"

#include "common.h"
#include "module.h"

static module_string_t lent(struct text text) {
    return (module_string_t){(uint8_t *)text.data, text.size};
}

// Copies a text of the host's into the arena.
static struct text copied(struct arena *arena, module_string_t text) {
    struct builder copy = {.arena = arena};
    add_text(&copy, (struct text){(const char *)text.ptr, text.len});
    return built(&copy);
}

static struct text joined(struct arena *arena, struct text first, module_string_t second) {
    struct builder text = {.arena = arena};
    add_text(&text, first);
    add_text(&text, (struct text){(const char *)second.ptr, second.len});
    return built(&text);
}

static bool told(struct arena *arena, watertight_sql_sql_error_t *cause, struct sql_error *error) {
    static const struct text KINDS[] = {
        [WATERTIGHT_SQL_SQL_CONSTRAINT_KIND_UNIQUE] = {"constraint Unique: ", 19},
        [WATERTIGHT_SQL_SQL_CONSTRAINT_KIND_FOREIGN_KEY] = {"constraint ForeignKey: ", 23},
        [WATERTIGHT_SQL_SQL_CONSTRAINT_KIND_NOT_NULL] = {"constraint NotNull: ", 20},
        [WATERTIGHT_SQL_SQL_CONSTRAINT_KIND_CHECK] = {"constraint Check: ", 18},
        [WATERTIGHT_SQL_SQL_CONSTRAINT_KIND_OTHER] = {"constraint Other: ", 18},
    };
    *error = (struct sql_error){0};
    switch (cause->tag) {
    case WATERTIGHT_SQL_SQL_ERROR_CONSTRAINT:
        error->message = joined(arena, KINDS[cause->val.constraint.kind], cause->val.constraint.detail);
        break;
    case WATERTIGHT_SQL_SQL_ERROR_SYNTAX:
        error->message = joined(arena, TEXT("bad statement: "), cause->val.syntax);
        break;
    case WATERTIGHT_SQL_SQL_ERROR_BUSY:
        *error = (struct sql_error){true, TEXT("the database is busy")};
        break;
    case WATERTIGHT_SQL_SQL_ERROR_TIMEOUT:
        *error = (struct sql_error){true, TEXT("the statement ran out of time")};
        break;
    case WATERTIGHT_SQL_SQL_ERROR_TOO_LARGE:
        error->message = TEXT("the statement or its result is too large");
        break;
    case WATERTIGHT_SQL_SQL_ERROR_CLOSED:
        error->message = TEXT("the transaction has ended");
        break;
    default:
        error->message = joined(arena, TEXT("storage: "), cause->val.storage);
    }
    watertight_sql_sql_error_free(cause);
    return false;
}

static watertight_sql_sql_list_value_t parameters_of(struct arena *arena, struct sql_statement statement) {
    watertight_sql_sql_value_t *values = arena_take(arena, statement.parameter_count, sizeof *values);
    for (size_t index = 0; index < statement.parameter_count; index++) {
        const struct sql_value *given = &statement.parameters[index];
        switch (given->kind) {
        case SQL_INTEGER:
            values[index].tag = WATERTIGHT_SQL_SQL_VALUE_INTEGER;
            values[index].val.integer = given->integer;
            break;
        case SQL_TEXT:
            values[index].tag = WATERTIGHT_SQL_SQL_VALUE_TEXT;
            values[index].val.text = lent(given->text);
            break;
        default:
            values[index].tag = WATERTIGHT_SQL_SQL_VALUE_NULL;
        }
    }
    return (watertight_sql_sql_list_value_t){values, statement.parameter_count};
}

static struct sql_value value_of(struct arena *arena, const watertight_sql_sql_value_t *value) {
    switch (value->tag) {
    case WATERTIGHT_SQL_SQL_VALUE_NULL:
        return (struct sql_value){.kind = SQL_NULL};
    case WATERTIGHT_SQL_SQL_VALUE_INTEGER:
        return SQL_OF_INTEGER(value->val.integer);
    case WATERTIGHT_SQL_SQL_VALUE_TEXT:
        return SQL_OF_TEXT(copied(arena, value->val.text));
    default:
        return (struct sql_value){.kind = SQL_OTHER};
    }
}

static bool query(void *self, struct arena *arena, struct sql_statement statement, struct sql_rows *rows, struct sql_error *error) {
    (void)self;
    module_string_t text = lent(statement.text);
    watertight_sql_sql_list_value_t parameters = parameters_of(arena, statement);
    watertight_sql_sql_list_row_t found;
    watertight_sql_sql_error_t cause;
    if (!watertight_sql_sql_query(&text, &parameters, &found, &cause)) return told(arena, &cause, error);
    struct sql_row *copies = arena_take(arena, found.len, sizeof *copies);
    for (size_t index = 0; index < found.len; index++) {
        const watertight_sql_sql_row_t *row = &found.ptr[index];
        struct sql_value *values = arena_take(arena, row->len, sizeof *values);
        for (size_t column = 0; column < row->len; column++) values[column] = value_of(arena, &row->ptr[column]);
        copies[index] = (struct sql_row){values, row->len};
    }
    *rows = (struct sql_rows){copies, found.len};
    watertight_sql_sql_list_row_free(&found);
    return true;
}

static bool execute(void *self, struct arena *arena, struct sql_statement statement, uint64_t *changed, struct sql_error *error) {
    (void)self;
    module_string_t text = lent(statement.text);
    watertight_sql_sql_list_value_t parameters = parameters_of(arena, statement);
    watertight_sql_sql_error_t cause;
    return watertight_sql_sql_execute(&text, &parameters, changed, &cause) || told(arena, &cause, error);
}

static uint64_t now(void *self) {
    (void)self;
    wasi_clocks_wall_clock_datetime_t moment;
    wasi_clocks_wall_clock_now(&moment);
    return moment.seconds * 1000 + moment.nanoseconds / 1000000;
}

static struct text new_id(void *self, struct arena *arena) {
    return ulid(arena, now(self), wasi_random_random_get_random_u64(), wasi_random_random_get_random_u64());
}

static void write_line(void *self, enum log_level level, struct text context, struct text message) {
    (void)self;
    module_string_t context_text = lent(context), message_text = lent(message);
    wasi_logging_logging_log(level == LOG_INFO ? WASI_LOGGING_LOGGING_LEVEL_INFO : WASI_LOGGING_LOGGING_LEVEL_ERROR, &context_text,
                             &message_text);
}

const struct platform HOST = {NULL, query, execute, now, new_id, write_line};
