#include "text.h"

#include <stdlib.h>
#include <string.h>

struct block {
    struct block *before;
    max_align_t items[];
};

void *arena_take(struct arena *arena, size_t count, size_t size) {
    if (size != 0 && count > (SIZE_MAX - sizeof(struct block)) / size) abort();
    struct block *block = calloc(1, sizeof(struct block) + count * size);
    if (block == NULL) abort();
    block->before = arena->last;
    arena->last = block;
    return block->items;
}

void arena_free(struct arena *arena) {
    while (arena->last != NULL) {
        struct block *block = arena->last;
        arena->last = block->before;
        free(block);
    }
}

bool text_is(struct text one, struct text other) {
    return one.size == other.size && (one.size == 0 || memcmp(one.data, other.data, one.size) == 0);
}

uint32_t text_next(struct text *rest) {
    // What crosses a component's boundary is valid UTF-8.
    unsigned char first = (unsigned char)rest->data[0];
    size_t size = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    uint32_t point = size == 1 ? first : first & (0xffU >> (size + 1));
    for (size_t index = 1; index < size && index < rest->size; index++) {
        point = point << 6 | ((unsigned char)rest->data[index] & 0x3fU);
    }
    if (size > rest->size) size = rest->size;
    rest->data += size;
    rest->size -= size;
    return point;
}

static void make_room(struct builder *builder, size_t more) {
    if (more <= builder->room - builder->size) return;
    size_t room = 2 * builder->room + more + 32;
    char *data = arena_take(builder->arena, room, 1);
    if (builder->size > 0) memcpy(data, builder->data, builder->size);
    builder->data = data;
    builder->room = room;
}

void add_byte(struct builder *builder, char byte) {
    add_text(builder, (struct text){&byte, 1});
}

void add_text(struct builder *builder, struct text text) {
    make_room(builder, text.size);
    if (text.size > 0) memcpy(builder->data + builder->size, text.data, text.size);
    builder->size += text.size;
}

void add_number(struct builder *builder, uint64_t number, unsigned base, unsigned width) {
    char digits[64];
    size_t start = sizeof digits;
    do {
        digits[--start] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number > 0 || (sizeof digits - start < width && start > 0));
    add_text(builder, (struct text){digits + start, sizeof digits - start});
}

struct text built(const struct builder *builder) {
    return (struct text){builder->data, builder->size};
}
