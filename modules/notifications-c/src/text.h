// Texts that are not terminated, and the memory of a call.

#ifndef TEXT_H
#define TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Bytes of UTF-8 that somebody else keeps.
struct text {
    const char *data;
    size_t size;
};

// The text of a string literal.
#define TEXT(literal) ((struct text){(literal), sizeof(literal) - 1})

// What a call allocates. All of it is freed at once. A zeroed arena is an empty one.
struct arena {
    struct block *last;
};

// Returns zeroed memory for `count` items. Ends the program where there is none.
void *arena_take(struct arena *arena, size_t count, size_t size);
void arena_free(struct arena *arena);

bool text_is(struct text one, struct text other);
// Takes the first character from a text that isn't empty.
uint32_t text_next(struct text *rest);

// A text that grows in an arena. A builder with nothing but its arena is an empty one.
struct builder {
    struct arena *arena;
    char *data;
    size_t size, room;
};

void add_byte(struct builder *builder, char byte);
void add_text(struct builder *builder, struct text text);
// Adds an integer in a base up to 16, with zeros before it up to `width` digits.
void add_number(struct builder *builder, uint64_t number, unsigned base, unsigned width);
struct text built(const struct builder *builder);

#endif
