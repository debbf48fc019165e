#include "template.h"

#include <string.h>

// The longest value of a place, in bytes.
#define MAX_VALUE 256

// The text of a constant. Not `TEXT`: older compilers take no compound literal in the initializer of a constant.
#define CONSTANT(literal) {(literal), sizeof(literal) - 1}

const struct template TEMPLATES[] = {
    {
        .name = CONSTANT("order-placed"),
        .places = {CONSTANT("order"), CONSTANT("total")},
        .place_count = 2,
        .text = CONSTANT("Thank you! Your order {order} over {total} was placed."),
    },
    {
        .name = CONSTANT("order-cancelled"),
        .places = {CONSTANT("order"), CONSTANT("total")},
        .place_count = 2,
        .text = CONSTANT("Your order {order} over {total} was cancelled. What was charged is given back."),
    },
};

const size_t TEMPLATE_COUNT = sizeof TEMPLATES / sizeof TEMPLATES[0];

const struct template *template_find(struct arena *arena, struct text name, struct failure *failure) {
    struct builder reason = {.arena = arena};
    add_text(&reason, TEXT("must be one of: "));
    for (size_t index = 0; index < TEMPLATE_COUNT; index++) {
        if (text_is(TEMPLATES[index].name, name)) return &TEMPLATES[index];
        if (index > 0) add_text(&reason, TEXT(", "));
        add_text(&reason, TEMPLATES[index].name);
    }
    refuse(failure, TEXT("template"), built(&reason));
    return NULL;
}

static const struct field *named(const struct field *fields, size_t count, struct text name) {
    for (size_t index = 0; index < count; index++) {
        if (text_is(fields[index].name, name)) return &fields[index];
    }
    return NULL;
}

static bool has_place(const struct template *template, struct text name) {
    for (size_t index = 0; index < template->place_count; index++) {
        if (text_is(template->places[index], name)) return true;
    }
    return false;
}

static struct text places_of(const struct template *template, struct arena *arena) {
    struct builder reason = {.arena = arena};
    add_text(&reason, TEXT("must be one of: "));
    for (size_t index = 0; index < template->place_count; index++) {
        if (index > 0) add_text(&reason, TEXT(", "));
        add_text(&reason, template->places[index]);
    }
    return built(&reason);
}

static bool has_control(struct text text) {
    while (text.size > 0) {
        uint32_t point = text_next(&text);
        if (point < 0x20 || (point >= 0x7f && point < 0xa0)) return true;
    }
    return false;
}

static bool refuse_part(struct arena *arena, size_t index, struct text part, struct text reason, struct failure *failure) {
    struct builder field = {.arena = arena};
    add_text(&field, TEXT("fields["));
    add_number(&field, index, 10, 0);
    add_text(&field, TEXT("]."));
    add_text(&field, part);
    return refuse(failure, built(&field), reason);
}

bool template_arrange(const struct template *template, struct arena *arena, const struct field *fields, size_t count,
                      struct field arranged[MAX_PLACES], struct failure *failure) {
    for (size_t index = 0; index < count; index++) {
        const struct field *field = &fields[index];
        if (!has_place(template, field->name)) {
            return refuse_part(arena, index, TEXT("name"), places_of(template, arena), failure);
        }
        if (named(fields, index, field->name) != NULL) {
            return refuse_part(arena, index, TEXT("name"), TEXT("must not be given twice"), failure);
        }
        if (field->value.size > MAX_VALUE) {
            return refuse_part(arena, index, TEXT("value"), TEXT("must not be longer than 256 bytes"), failure);
        }
        // So that a notice is one line of the log, and one line of the database per field.
        if (has_control(field->value)) {
            return refuse_part(arena, index, TEXT("value"), TEXT("must not have control characters"), failure);
        }
    }
    for (size_t index = 0; index < template->place_count; index++) {
        const struct field *field = named(fields, count, template->places[index]);
        if (field == NULL) {
            struct builder reason = {.arena = arena};
            add_text(&reason, TEXT("must have a field named "));
            add_text(&reason, template->places[index]);
            return refuse(failure, TEXT("fields"), built(&reason));
        }
        arranged[index] = *field;
    }
    return true;
}

struct text template_render(const struct template *template, struct arena *arena, const struct field arranged[MAX_PLACES]) {
    struct builder rendered = {.arena = arena};
    const char *rest = template->text.data, *end = rest + template->text.size;
    while (rest < end) {
        const char *open = memchr(rest, '{', (size_t)(end - rest));
        const char *close = open == NULL ? NULL : memchr(open, '}', (size_t)(end - open));
        if (close == NULL) break;
        add_text(&rendered, (struct text){rest, (size_t)(open - rest)});
        struct text place = {open + 1, (size_t)(close - open) - 1};
        const struct field *field = named(arranged, template->place_count, place);
        if (field != NULL) add_text(&rendered, field->value);
        rest = close + 1;
    }
    add_text(&rendered, (struct text){rest, (size_t)(end - rest)});
    return built(&rendered);
}
